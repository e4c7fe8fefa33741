"""The edge of a stage's process: read what is to be done, do it, write down how it ended."""

import errno
import importlib
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from ..calls import in_mcp, render
from ..errors import RunError
from ..files import write_model
from ..nnunet.datasets import DatasetFiles, FoldFiles
from ..runs.failures.diagnosis import DISK_EXIT_CODE, disk_failure
from ..runs.layout import RunDir, StageDir
from ..schemas.records import Failure, Outcome, RunRecord, StageSpec
from ..settings import Settings
from .judged import judge_what_nnunet_reads
from .pools import fork_pools_from_a_server
from .progress import Reporter, StopRequested
from .resources import fit_to_machine

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

STEPS = {
    "preprocess": "preprocess",
    "train": "train",
    "validate": "train",
    "cross_validation": "cross_validation",
    "predict": "predict",
    "combine": "combine",
    "find_best": "find_best",
    "export": "export",
    "import_model": "import_model",
}


class StageFailure(Exception):
    """A failure that the worker understands: what, what shows it, what to do."""

    def __init__(self, cause: str, evidence: str, remedy: str) -> None:
        super().__init__(render(f"{cause} ({evidence}). {remedy}", in_mcp))
        self.failure = Failure(cause=cause, evidence=evidence, remedy=remedy)


@dataclass(frozen=True)
class Job:
    """One stage of one run, as its worker sees it."""

    run: RunDir
    stage: StageDir
    record: RunRecord
    spec: StageSpec
    reporter: Reporter
    settings: Settings

    @classmethod
    def of(cls, run_path: str, stage_name: str) -> "Job":
        """Read the stage that a process was started for."""
        run = RunDir(Path(run_path))
        record = run.record()
        if record is None:
            raise FileNotFoundError(run.run_file)
        spec = next(spec for spec in record.stages if spec.name == stage_name)
        stage = run.stage(stage_name)
        return cls(run, stage, record, spec, Reporter(stage, run.cancel_file), Settings())

    @property
    def files(self) -> DatasetFiles:
        return DatasetFiles(self.record.folders, self.record.dataset_name)

    @property
    def fold(self) -> FoldFiles:
        return FoldFiles(self.files.fold_of(self.record, self.spec))

    @property
    def holder(self) -> dict[str, str]:
        """How locks that this stage holds name it."""
        return {"run_id": self.record.run_id, "stage": self.spec.name}

    def asked(self, parameter: str) -> bool:
        """A yes/no parameter of the request; it is not meant for the 3d_lowres models that a cascade needs first."""
        return self._is_what_was_asked_for and bool(self.record.request.get(parameter))

    @property
    def weights(self) -> Path | None:
        """The checkpoint to start this stage's model from."""
        given = self.record.request.get("pretrained_weights") if self._is_what_was_asked_for else None
        return Path(given) if given else None

    @property
    def _is_what_was_asked_for(self) -> bool:
        return bool(self.spec.configuration == self.record.request["configuration"])


def carry_out(run_path: str, stage_name: str) -> int:
    """Do the stage; returns the process's exit code."""
    job = Job.of(run_path, stage_name)
    ranks = job.record.num_gpus if job.spec.kind in ("train", "validate") else 1
    os.environ.update(fit_to_machine(job.spec.kind, job.record.device, dict(os.environ), ranks=ranks))
    fork_pools_from_a_server()
    judge_what_nnunet_reads()
    job.reporter.say("starting")
    try:
        step = importlib.import_module(f".{STEPS[job.spec.kind]}", __package__)
        outcome: Outcome = step.carry_out(job)
    except StageFailure as failure:
        traceback.print_exc()
        outcome = Outcome(ok=False, failure=failure.failure)
    except RunError as error:
        traceback.print_exc()
        remedy = "Do what the cause says, then start the request again."
        outcome = Outcome(ok=False, failure=Failure(cause=error.text, evidence=job.spec.name, remedy=remedy))
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        traceback.print_exc()
        outcome = Outcome(ok=False, failure=disk_failure(f"{error.strerror}: {error.filename or 'a file of the run'}"))
    except StopRequested:
        print(f"Stopped on request at {time.strftime('%H:%M:%S')}.")
        outcome = Outcome(ok=False, stopped=True)
    try:
        write_model(job.stage.outcome_file, outcome)
    except OSError:
        return DISK_EXIT_CODE
    return 0 if outcome.ok else 1
