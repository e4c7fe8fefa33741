"""Recorded real runs, put back on disk as they stood at a time.

A record holds for each stage when it started and ended, the phases that its worker told with their cases, and the ends
of its epochs, in seconds since the run was recorded. `part` and `since` in progress.json come from the worker's own
Reporter.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.splits import TrainedCases
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import TRAINED_PART, EngineRecord, Epoch, Outcome, RunRecord, StageSpec, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.progress import Reporter
from nnunet_mcp.worker.steps.preprocess import AT_FINGERPRINT, AT_PLANNING, AT_READING, AT_VERIFYING
from tests.kit.tiny import ask, record_of

RECORDED = Path(__file__).parents[1] / "tools" / "watching" / "recorded"
SECTIONS = {
    "reading": AT_READING,
    "verifying": AT_VERIFYING,
    "extracting": AT_FINGERPRINT,
    "planning": AT_PLANNING,
    "preprocessing": (AT_PLANNING[1], 1.0),
    "training": (0.0, TRAINED_PART),
    "validating": (TRAINED_PART, 1.0),
}
NAMES = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")
START = 1_800_000_000.0


@contextmanager
def clock(seconds: float) -> Iterator[None]:
    """So many seconds after the run was recorded."""
    with mock.patch.object(time, "time", lambda: START + seconds):
        yield


@dataclass(frozen=True)
class Recorded:
    """One recorded run."""

    name: str
    content: dict[str, Any]

    @classmethod
    def every(cls) -> list["Recorded"]:
        """All of them."""
        files = sorted(RECORDED.glob("*.json"))
        return [cls(file.stem, json.loads(file.read_text(encoding="utf-8"))) for file in files]

    @property
    def whole_s(self) -> float:
        """Seconds until the last stage had ended."""
        return float(max(stage.get("ends", 0.0) for stage in self.content["stages"]))

    def stand_at(self, seconds: float, settings: Settings) -> str:
        """Put the run on disk as it stood then; returns its id."""
        specs = [_spec(stage) for stage in self.content["stages"]]
        record = record_of(settings, *specs, run_id="d001-2d-f0-tttt", created_at=START)
        run = StateDir.of(settings).run(record.run_id)
        shutil.rmtree(run.path, ignore_errors=True)
        run.path.mkdir(parents=True)
        write_model(run.run_file, record, durable=False)
        write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())), durable=False)
        _write_plans(self.content["plans"], record)
        for stage in self.content["stages"]:
            _Stage(stage, run, record, seconds).write()
        return record.run_id


def _spec(stage: dict[str, Any]) -> StageSpec:
    known = ("name", "kind", "configuration", "fold", "needs", "resume", "reused")
    return StageSpec.model_validate({name: stage[name] for name in known if name in stage})


def _write_plans(plans: dict[str, Any], record: RunRecord) -> None:
    files = DatasetFiles(record.folders, record.dataset_name)
    files.preprocessed.mkdir(parents=True, exist_ok=True)
    content = {"plans_name": record.plans_identifier, "dataset_name": record.dataset_name, "configurations": plans}
    files.plans_file(record.plans_identifier).write_text(json.dumps(content), encoding="utf-8")


@dataclass
class _Stage:
    stage: dict[str, Any]
    run: RunDir
    record: RunRecord
    seconds: float

    def write(self) -> None:
        starts, ends = self.stage.get("starts"), self.stage.get("ends", 0.0)
        if starts is None or starts > self.seconds:
            return
        folder = self.run.stage(self.stage["name"])
        folder.path.mkdir(parents=True)
        done = ends <= self.seconds
        state = StageState(
            status="success" if done else "running",
            started_at=START + starts,
            ended_at=START + ends if done else None,
            process=mark_of(os.getpid()),
        )
        write_model(folder.state_file, state, durable=False)
        if done:
            trains = self.stage["kind"] == "train"
            write_model(folder.outcome_file, ModelOutcome(ok=True) if trains else Outcome(ok=True), durable=False)
        self._cases()
        self._epochs(folder.epochs_file)
        self._phases(Reporter(folder, self.run.cancel_file))

    def _cases(self) -> None:
        if self.stage["kind"] == "train":
            fold = DatasetFiles(self.record.folders, self.record.dataset_name).fold_of(self.record, _spec(self.stage))
            fold.mkdir(parents=True, exist_ok=True)
            val = tuple(f"case_{number}" for number in range(self.stage["validates"]))
            write_model(fold / "nnunet_mcp_cases.json", TrainedCases(train=(), val=val), durable=False)

    def _epochs(self, file: Path) -> None:
        for at, epoch, seconds, restored in self.stage.get("epochs", []):
            if at <= self.seconds:
                line = {**dict.fromkeys(NAMES, 0.1), "epoch": epoch, "seconds": seconds, "restored": bool(restored)}
                append_line(file, Epoch.model_validate(line))

    def _phases(self, report: Reporter) -> None:
        planned, steps = self.stage.get("epochs_planned"), self.stage.get("iterations", 0)
        for at, phase, done, total in self.stage.get("phases", []):
            if at > self.seconds:
                break
            with clock(at):
                if (begins := SECTIONS.get(phase.split(" ")[0])) and phase.split(" ")[0] != getattr(report, "told", ""):
                    report.section(*begins)
                    report.told = phase.split(" ")[0]  # type: ignore[attr-defined]
                cases = {} if total is None else {"done": done, "total": total}
                report.say(phase, **cases, **({"epochs": planned, "iterations": steps} if steps else {}))
        if phase_at(self.stage, self.seconds) == "training":
            with clock(self.seconds):
                report.say("training", epochs=planned, iterations=steps, **self._position(steps))

    def _position(self, steps: int) -> dict[str, int]:
        """The epoch at work, and how many of its steps it has taken if all take the same time."""
        own = [one for one in self.stage.get("epochs", []) if not one[3]]
        at, epoch, seconds, _ = next(
            (one for one in own if one[0] > self.seconds), [self.seconds, own[-1][1] + 1, 1, 0]
        )
        share = max(0.0, 1 - (at - self.seconds) / seconds) if at > self.seconds else 0.0
        return {"epoch": epoch, "iteration": int(steps * share)}


@dataclass(frozen=True)
class Look:
    """What is told at a share of a run's true time, and what was true."""

    run: str
    share: float
    true_s: float
    told: dict[str, Any]

    @property
    def holds(self) -> bool | None:
        """Whether the range holds the truth; None where none is told."""
        eta = self.told.get("eta")
        return None if eta is None else bool(eta["low_s"] <= self.true_s <= eta["high_s"])


def looks(settings: Settings, shares: tuple[float, ...] = (0.1, 0.5, 0.9)) -> Iterator[Look]:
    """Ask for the progress of every recorded run when these shares of its time have passed."""
    for one in Recorded.every():
        for share in shares:
            at = share * one.whole_s
            run_id = one.stand_at(at, settings)
            with clock(at):
                told = ask(settings, "nnunet_progress", run_id=run_id)
            yield Look(one.name, share, one.whole_s - at, told)


def phase_at(stage: dict[str, Any], seconds: float) -> str | None:
    """The phase that was told last."""
    told = [phase for at, phase, *_ in stage.get("phases", []) if at <= seconds]
    return told[-1] if told else None
