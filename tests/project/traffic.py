"""What one call of a tool touches: the files of ours whose code runs, and how often it opens each file of a run.

`python -m tests.project.traffic` prints that as JSON, for `house.traffic`. It has a process of its own: an audit hook
stays for good, and what other tests have imported or looked up before must not count.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
from mcp import Client

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.jobs import TrainingJob
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import EngineRecord, Epoch, Metrics, Outcome, Progress, RunRecord, StageSpec, StageState
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from tests.kit.tiny import make_dataset, record_of, stage
from tests.project.house import FOLDERS, PACKAGE, ROOT, House

FOLDS = tuple(f"train_fold_{number}" for number in range(5))
STAGES = (stage("preprocess"), *(stage(name, "preprocess") for name in FOLDS), stage("cross_validation", *FOLDS))
READERS = ("nnunet_progress", "nnunet_results", "nnunet_runs", "nnunet_dashboard_data")
NUMBERS = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice", "seconds")


class Steps:
    """The files of ours in which a function runs, in any thread, while `on`."""

    def __init__(self) -> None:
        self.on = False
        self.files: set[str] = set()

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if self.on and event == "call" and frame.f_code.co_name != "<module>":
            file = our_file(frame.f_code.co_filename)
            if file:
                self.files.add(file)

    @contextmanager
    def watched(self) -> Iterator[None]:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


class Opened:
    """How often each file of a folder is opened to be read, while `folder` is set."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or self.folder is None or not isinstance(arguments[0], str | os.PathLike):
            return
        path, flags = str(arguments[0]), arguments[2]
        if path.startswith(f"{self.folder}/") and not flags & (os.O_WRONLY | os.O_RDWR | os.O_DIRECTORY):
            self.counts[path.removeprefix(f"{self.folder}/")] += 1


@cache
def our_file(name: str) -> str | None:
    """The file as it is called from the root of the project; None: another project's, or a test's."""
    path = os.path.realpath(name)
    inside = path.removeprefix(f"{ROOT}/")
    return inside if inside != path and inside.partition("/")[0] in (PACKAGE, *FOLDERS) else None


def import_everything() -> None:
    """So that nothing that runs at an import counts as a step."""
    for name in House().modules:
        if not name.endswith("__main__") and ".worker" not in name:
            importlib.import_module(name)


def workspace(folder: Path) -> Settings:
    """Settings of an empty workspace, in the environment too."""
    for name in [name for name in os.environ if name.startswith(("NNUNET_MCP_", "nnUNet_"))]:
        del os.environ[name]
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    os.environ.update(NNUNET_MCP_GPUS="0", NNUNET_MCP_HOST_LOCKS=str(folder))
    settings = Settings()
    settings.create_folders()
    return settings


def recorded(settings: Settings, run_id: str, *, finished: bool) -> RunDir:
    """A run of five folds: finished, or in its second fold with this process as supervisor and worker."""
    record = record_of(settings, *STAGES, run_id=run_id, created_at=time.time() - 600)
    run, here = StateDir.of(settings).run(run_id), mark_of(os.getpid())
    run.path.mkdir(parents=True)
    write_model(run.run_file, _of_all_folds(record))
    write_model(
        run.engine_file, EngineRecord(supervisor=here.model_copy(update={"start_time": 1.0}) if finished else here)
    )
    done = STAGES if finished else STAGES[:2]
    for spec in done:
        _end(run, spec)
    if not finished:
        now = run.stage(FOLDS[1])
        _train(run, FOLDS[1], 3)
        write_model(now.state_file, StageState(status="running", started_at=time.time() - 60, process=here))
        write_model(now.progress_file, Progress(phase="training", heartbeat=time.time(), epochs=10))
    return run


def _of_all_folds(record: RunRecord) -> RunRecord:
    assert isinstance(record.job, TrainingJob)
    request = record.job.request.model_copy(update={"fold": "all"})
    return record.model_copy(update={"job": record.job.model_copy(update={"request": request})})


def _end(run: RunDir, spec: StageSpec) -> None:
    folder, now = run.stage(spec.name), time.time()
    folder.path.mkdir(parents=True)
    if spec.kind == "train":
        _train(run, spec.name, 10)
        write_model(folder.progress_file, Progress(phase="validated", heartbeat=now, epochs=10))
    metrics = None if spec.kind == "preprocess" else Metrics(dice=0.8, iou=0.7, validation_loss=-0.5)
    outcome = ModelOutcome(ok=True, metrics=metrics) if metrics else Outcome(ok=True)
    write_model(folder.outcome_file, outcome)
    write_model(folder.state_file, StageState(status="success", started_at=now - 300, ended_at=now - 200, exit_code=0))


def _train(run: RunDir, name: str, epochs: int) -> None:
    run.stage(name).path.mkdir(parents=True, exist_ok=True)
    for number in range(epochs):
        append_line(run.stage(name).epochs_file, Epoch.model_validate({"epoch": number, **dict.fromkeys(NUMBERS, 0.1)}))


async def call(settings: Settings, tool: str, arguments: dict[str, object], steps: Steps) -> bool:
    """Call a tool; whether it answered without an error."""
    async with Client(create_server(settings)) as client:
        steps.on = True
        try:
            return not (await client.call_tool(tool, arguments)).is_error
        finally:
            steps.on = False


def training(settings: Settings) -> list[str]:
    """The files that a training crosses until its supervisor is started; none is."""
    make_dataset(Path(settings.folder("raw")), "Dataset001_Tiny")
    steps, started, popen = Steps(), [], subprocess.Popen

    def stop_at_the_supervisor(command: list[str], *rest: Any, **options: Any) -> Any:
        if "supervis" not in " ".join(command):
            return popen(command, *rest, **options)
        steps.on = False
        started.append(command)
        raise OSError("this is as far as it goes")

    subprocess.Popen = stop_at_the_supervisor  # type: ignore[misc, assignment]
    with steps.watched():
        anyio.run(call, settings, "nnunet_training", {"dataset_id": 1, "configuration": "2d", "device": "cpu"}, steps)
    subprocess.Popen = popen  # type: ignore[misc]
    assert started, "the training did not come as far as its supervisor"
    return sorted(steps.files)


def answer(settings: Settings, tool: str, run: RunDir, opened: Opened) -> tuple[list[str], dict[str, int]]:
    """The files of ours that an answer crosses, and how often it opens each file of the run."""
    arguments: dict[str, object] = {} if tool == "nnunet_runs" else {"run_id": run.run_id}
    steps, opened.counts = Steps(), Counter()
    with steps.watched():
        opened.folder = run.path
        assert anyio.run(call, settings, tool, arguments, steps), f"{tool} has no answer"
        opened.folder = None
    return sorted(steps.files), dict(opened.counts)


def main() -> None:
    import_everything()
    opened = Opened()
    sys.addaudithook(opened)
    with tempfile.TemporaryDirectory() as folder:
        settings = workspace(Path(folder).resolve())
        crossed = {"nnunet_training": training(settings)}
        reads = {}
        for finished in (False, True):
            run = recorded(settings, "d001-2d-all-done" if finished else "d001-2d-all-runs", finished=finished)
            for tool in READERS:
                files, counts = answer(settings, tool, run, opened)
                crossed.setdefault(tool, files)
                reads[f"{tool}, {'finished' if finished else 'running'}"] = counts
    print(json.dumps({"crossed": crossed, "reads": reads}))


if __name__ == "__main__":
    main()
