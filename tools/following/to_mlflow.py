"""Trainings as runs of MLflow: an experiment per dataset, a run per fold."""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...files import make_folder
from ...schemas.records import Epoch, Status
from .tracked import End, Training, per_epoch

# A server that is down is tried again later, so that the process looks at the run in between.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient

KEY = "nnunet_mcp.key"
# Every epoch has it.
SURE = "learning_rate"
ENDED: dict[Status, str] = {"success": "FINISHED", "cancelled": "KILLED"}
# MLflow's own limit for one call (mlflow/utils/validation.py, MAX_METRICS_PER_BATCH).
METRICS_PER_CALL = 1000
PARAMETER_CHARACTERS = 500


class MLflow:
    """A server, or a folder of its own with a database and the pictures."""

    def __init__(self, where: str) -> None:
        self._artifacts: str | None = None
        if "://" not in where:
            folder = Path(os.path.abspath(Path(where).expanduser()))  # noqa: PTH100 - resolve() would follow links
            make_folder(folder)
            self._artifacts, where = (folder / "artifacts").as_uri(), f"sqlite:///{folder / 'mlflow.db'}"
        self._client = MlflowClient(where)
        self._runs: dict[str, str] = {}

    def begin(self, training: Training) -> int:
        """Find the run of an earlier attempt by its key, else make one."""
        experiment = self._experiment(training.dataset)
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{training.key}'", max_results=1)
        run = found[0] if found else self._new(experiment, training)
        self._runs[training.key] = run.info.run_id
        if run.info.status != "RUNNING":
            self._client.update_run(run.info.run_id, status="RUNNING")
        return max((metric.step for metric in self._client.get_metric_history(run.info.run_id, SURE)), default=0)

    def _experiment(self, dataset: str) -> str:
        found = self._client.get_experiment_by_name(dataset)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(dataset, artifact_location=self._artifacts))

    def _new(self, experiment: str, training: Training) -> Run:
        began = int(training.started_at * 1000)
        run = self._client.create_run(experiment, began, {KEY: training.key}, training.title)
        params = [Param(name, value[:PARAMETER_CHARACTERS]) for name, value in training.parameters.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return run

    def epochs(self, training: Training, epochs: Sequence[Epoch]) -> None:
        """Each is a step, counted from 1."""
        now = int(time.time() * 1000)
        for part in _parts(epochs):
            metrics = [
                Metric(name, value, now, epoch.epoch + 1)
                for epoch in part
                for name, value in per_epoch(epoch, training).items()
            ]
            self._client.log_batch(self._runs[training.key], metrics=metrics)

    def end(self, training: Training, end: End) -> None:
        """The Dice, the picture and how it ended."""
        run, at = self._runs[training.key], int(end.at * 1000)
        metrics = [Metric(f"dice/{name}", value, at, 0) for name, value in end.dice.items()]
        self._client.log_batch(run, metrics=metrics)
        if end.picture is not None:
            with tempfile.TemporaryDirectory() as folder:
                picture = Path(folder) / "worst_case.png"
                picture.write_bytes(end.picture)
                self._client.log_artifact(run, str(picture))
        self._client.set_terminated(run, ENDED.get(end.status, "FAILED"), at)


def _parts(epochs: Sequence[Epoch]) -> Iterator[Sequence[Epoch]]:
    """As many epochs as one call takes."""
    most = max(1, METRICS_PER_CALL // (6 + len(epochs[0].pseudo_dice_per_class)))
    for start in range(0, len(epochs), most):
        yield epochs[start : start + most]
