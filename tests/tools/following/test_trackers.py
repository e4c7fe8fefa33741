"""Trackers have every training whole and once, whatever was killed, resumed or down in between."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import ClassMetrics, EngineRecord, Metrics, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.following.tracking import tracking
from nnunet_mcp.tools.watching.snapshot import snapshot
from tests.kit.lab import FEW, Lab, free_port, until
from tests.kit.phantom import write_phantom
from tests.tools.following.played import add, follower, followers, run_in, running

# tensorboard and MLflow bring libraries that warn when they are imported here.
pytestmark = pytest.mark.filterwarnings("ignore")
FIRST, SECOND = "d001-2d-f0-aaaa", "d001-2d-f0-bbbb"
MODEL = "Dataset001_Tiny/nnUNetTrainer__nnUNetPlans__2d/fold_0"
OUTCOME = ModelOutcome(
    ok=True,
    metrics=Metrics(dice=0.8, iou=0.7, validation_loss=0.0),
    per_class=(ClassMetrics(label="block", dice=0.8, iou=0.7),),
)


@pytest.fixture
def planned(settings: Settings) -> Settings:
    """A dataset with plans, and a fold folder as the worker makes it."""
    files = DatasetFiles(settings.folders, "Dataset001_Tiny")
    files.preprocessed.mkdir(parents=True)
    labels = {"labels": {"background": 0, "block": 1}}
    (files.preprocessed / "dataset.json").write_text(json.dumps(labels), encoding="utf-8")
    plans = {"plans_name": "nnUNetPlans", "configurations": {"2d": {"patch_size": [32, 48], "batch_size": 12}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    (settings.folder("results") / MODEL).mkdir(parents=True)
    return settings


def killed_at_the_third_epoch(settings: Settings) -> RunDir:
    """A run of five epochs that saved after three."""
    began = running().model_copy(update={"started_at": 1_700_000_000.0})
    return run_in(settings, began, epochs=(0.9, 0.8, 0.7, 0.66, 0.65), run_id=FIRST)


def resumed(settings: Settings) -> RunDir:
    """The run that goes on from there, and trains two epochs again."""
    run = run_in(settings, running(), run_id=SECOND, resume=True, created_at=time.time() + 60)
    add(run, [(0, 0.9), (1, 0.8), (2, 0.7)], restored=True)
    add(run, [(3, 0.6), (4, 0.5), (5, 0.4)])
    return run


def succeed(run: RunDir, outcome: ModelOutcome = OUTCOME) -> None:
    stage = run.stage("train_fold_0")
    write_model(stage.outcome_file, outcome)
    write_model(stage.state_file, StageState(status="success", ended_at=1_700_086_400.0))


def scalars(events: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, as steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(events)).Reload()
    return {tag: [(one.step, round(one.value, 4)) for one in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_an_older_run_leaves_what_the_run_that_resumed_it_told(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNUNET_MCP_TRACK", "tensorboard")
    settings = Settings()
    first = killed_at_the_third_epoch(settings)
    tracking("tensorboard", settings).tell(snapshot(settings, FIRST))
    resumed(settings)
    tracking("tensorboard", settings).tell(snapshot(settings, SECOND))
    write_model(first.stage("train_fold_0").state_file, StageState(status="cancelled"))
    write_model(first.engine_file, EngineRecord(supervisor=mark_of(os.getpid()).model_copy(update={"boot_id": "-"})))

    late = tracking("tensorboard", settings).tell(snapshot(settings, FIRST))  # its follower's target was down

    losses = scalars(settings.state_dir / "tensorboard" / MODEL / FIRST)["loss/train"]
    assert late and losses == [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (5, 0.5), (6, 0.4)]


def test_classes_whose_names_differ_in_other_letters_have_curves_of_their_own(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNUNET_MCP_TRACK", "tensorboard")
    names = ("сердце", "печень", "mean", "block")
    labels = {"labels": {"background": 0, **{name: value for value, name in enumerate(names, start=1)}}}
    file = DatasetFiles(planned.folders, "Dataset001_Tiny").preprocessed / "dataset.json"
    file.write_text(json.dumps(labels), encoding="utf-8")
    run = run_in(planned, running(), run_id=FIRST)
    add(run, [(0, 0.9)], per_class=(0.1, 0.2, 0.3, 0.4))
    lines = tuple(ClassMetrics(label=name, dice=value / 8, iou=0.1) for value, name in enumerate(names))
    succeed(run, OUTCOME.model_copy(update={"per_class": lines}))

    settings = Settings()
    assert tracking("tensorboard", settings).tell(snapshot(settings, FIRST))

    shown = scalars(settings.state_dir / "tensorboard" / MODEL / FIRST)
    own = ("______ 1", "______ 2", "mean 3", "block")
    assert [shown[f"pseudo_dice/{name}"][0][1] for name in (*own, "mean")] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert [shown[f"dice/{name}"][0][1] for name in (*own, "mean")] == [0.0, 0.125, 0.25, 0.375, 0.8]


def test_tensorboard_has_each_epoch_once_with_its_last_values(
    planned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = planned.folder("results") / "my runs"
    monkeypatch.setenv("NNUNET_MCP_TRACK", f"tensorboard:{folder}")
    events = folder / MODEL / FIRST

    def shown() -> dict[str, list[tuple[int, float]]]:
        return scalars(events)

    first = killed_at_the_third_epoch(planned)
    process = follower(first, "tensorboard")
    assert until(lambda: events.is_dir() and len(shown().get("loss/train", [])) == 5)
    add(first, [(3, 0.64), (4, 0.63)])  # as a job of Slurm that starts again in the same run
    assert until(lambda: shown()["loss/train"][3:] == [(4, 0.64), (5, 0.63)])
    process.kill()
    process.wait()
    write_model(first.stage("train_fold_0").state_file, StageState(status="interrupted"))
    second = resumed(planned)
    succeed(second)
    assert follower(second, "tensorboard").wait(timeout=60) == 0

    found = shown()
    assert found["loss/train"] == [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6), (5, 0.5), (6, 0.4)]
    assert found["pseudo_dice/block"] == [(step, 0.5) for step in range(1, 7)]
    assert (found["dice/block"], found["dice/mean"]) == ([(6, 0.8)], [(6, 0.8)])
    assert {"loss/val", "pseudo_dice/mean", "pseudo_dice/moving_average", "learning_rate", "epoch_s"} <= found.keys()
    table = EventAccumulator(str(events)).Reload().Tensors("parameters")[0].tensor_proto.string_val[0].decode()
    assert "| patch_size | [32, 48] |" in table and "| configuration | 2d |" in table
    assert [path.name for path in events.parent.iterdir()] == [FIRST]


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """A real one, killed in the end."""
    words = ("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    store = ("--backend-store-uri", f"sqlite:///{folder}/store.db", "--artifacts-destination", str(folder / "files"))
    with (folder / "server.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, *store], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        _kill_tree(process.pid)
        process.wait()


def _kill_tree(pid: int) -> None:
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.kill()


@pytest.mark.heavy
def test_mlflow_has_each_epoch_once_although_its_server_was_down(
    planned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    port = free_port()
    monkeypatch.setenv("NNUNET_MCP_TRACK", f"mlflow:http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    client = MlflowClient(f"http://127.0.0.1:{port}")

    def runs() -> list[Any]:
        try:
            found = client.search_experiments(filter_string="name = 'Dataset001_Tiny'")
            return list(client.search_runs([one.experiment_id for one in found])) if found else []
        except Exception:  # the server is not up yet
            return []

    def losses() -> list[tuple[int, float]]:
        [run] = runs() or [None]
        if run is None:
            return []
        return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss/train")]

    first = killed_at_the_third_epoch(planned)
    process = follower(first, "mlflow")
    assert until(lambda: first.untold("mlflow") is not None)  # nothing listens yet
    with mlflow_server(tmp_path, port):
        assert until(lambda: len(losses()) == 5, timeout_s=120)
    process.kill()
    process.wait()
    write_model(first.stage("train_fold_0").state_file, StageState(status="interrupted"))
    second = resumed(planned)
    process = follower(second, "mlflow")
    assert until(lambda: second.untold("mlflow") is not None)
    succeed(second)
    with mlflow_server(tmp_path, port):
        assert process.wait(timeout=180) == 0
        assert losses() == [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.66), (5, 0.65), (6, 0.4)]
        [run] = runs()

    assert (run.info.status, run.data.metrics["dice/block"], run.data.metrics["dice/mean"]) == ("FINISHED", 0.8, 0.8)
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_086_400_000)
    assert (run.data.params["patch_size"], run.data.params["configuration"]) == ("[32, 48]", "2d")
    assert second.untold("mlflow") is None


@pytest.mark.heavy
def test_a_real_training_is_in_both_trackers_with_its_worst_case(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lab = Lab(tmp_path / "work", {**FEW, "NNUNET_MCP_TRACK": "tensorboard, mlflow"})
    write_phantom(lab.folder / "raw" / "Dataset001_Phantom", cases=5, shape=(24, 24, 24))
    result = lab.train(dataset_id=1, configuration="2d", fold="0", device="cpu", trainer="ShortTrainer")
    assert result["status"] == "success" and until(lambda: followers(lab.folder) == [], timeout_s=120)

    state = lab.settings.state_dir
    [events] = (state / "tensorboard" / "Dataset001_Phantom").glob("*/fold_0/*")
    shown = EventAccumulator(str(events), size_guidance={"images": 0}).Reload()
    client = MlflowClient(f"sqlite:///{state}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("Dataset001_Phantom")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert [one.step for one in shown.Scalars("loss/train")] == [1, 2]
    assert len(client.get_metric_history(run.info.run_id, "loss/train")) == 2
    assert shown.Scalars("dice/mean")[0].value == pytest.approx(result["metrics"]["dice"], abs=1e-4)
    assert run.data.metrics["dice/mean"] == pytest.approx(result["metrics"]["dice"], abs=1e-4)
    assert shown.Images("worst_case")[0].encoded_image_string.startswith(b"\x89PNG")
    assert [found.path for found in client.list_artifacts(run.info.run_id)] == ["worst_case.png"]
    assert run.data.params["trainer"] == "ShortTrainer"
