"""What surrounds the work of a stage: read what is to be done, do it, write how it ended."""

import errno
import importlib
import os
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..calls import in_mcp, render
from ..errors import RunError
from ..files import write_model
from ..nnunet.datasets import DatasetFiles, FoldFiles
from ..nnunet.trainers import all_trainer_folders
from ..runs.failures.diagnosis import DISK_EXIT_CODE, disk_failure
from ..runs.layout import RunDir, StageDir, StateDir
from ..runs.model_owners import trained_here
from ..runs.processes import STAGE_VARIABLE
from ..schemas.base import Record
from ..schemas.jobs import TrainingJob
from ..schemas.records import Failure, Outcome, RunRecord, StageSpec
from ..settings import Settings
from .orphans import take_children_along
from .pools import fork_pools_from_a_server
from .progress import Reporter, StopRequested
from .resources import fit_to_machine
from .safe_reading import judge_what_nnunet_reads

OfKind = TypeVar("OfKind", bound=Record)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class StageFailure(Exception):
    """A failure that the worker understands: its cause, the evidence, what to do, and whether the same request can then
    be started again."""

    def __init__(self, cause: str, evidence: str, remedy: str, *, resume: bool = False) -> None:
        super().__init__(render(f"{cause} ({evidence}). {remedy}", in_mcp))
        self.failure = Failure(cause=cause, evidence=evidence, remedy=remedy, resume=resume)


@dataclass(frozen=True)
class Job:
    """One stage of one run, as its worker sees it; what the whole run is to do is `record.job`."""

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

    @classmethod
    def of_this_process(cls) -> "Job":
        """The stage that this process belongs to, from the mark that every descendant of the worker inherits."""
        stage = Path(os.environ[STAGE_VARIABLE])
        return cls.of(str(stage.parent.parent), stage.name)

    def typed(self, kind: type[OfKind]) -> OfKind:
        """What the run is to do, as the kind of job that the step expects."""
        if not isinstance(self.record.job, kind):
            raise TypeError(f"{self.record.run_id} is no {kind.__name__}")
        return self.record.job

    @property
    def state(self) -> StateDir:
        return StateDir.of(self.settings)

    @property
    def locks_dir(self) -> Path:
        return self.state.locks_dir

    @property
    def files(self) -> DatasetFiles:
        return DatasetFiles(self.record.folders, self.record.dataset_name)

    @property
    def fold(self) -> FoldFiles:
        return FoldFiles(self.files.fold_of(self.record, self.spec))

    @property
    def goes_on_with_our_own(self) -> bool:
        """Whether the model in the fold folder was trained here, so that its checkpoints may be unpickled."""
        return trained_here(self.state, self.record, self.spec)

    @property
    def holder(self) -> dict[str, str]:
        """How this stage names itself in the locks that it holds."""
        return {"run_id": self.record.run_id, "stage": self.spec.name}

    def asked(self, parameter: str) -> bool:
        """A yes/no parameter of the request. It is false for the 3d_lowres models that a cascade needs first."""
        return self._is_what_was_asked_for and bool(getattr(self.typed(TrainingJob).request, parameter))

    @property
    def weights(self) -> Path | None:
        """The checkpoint to start this stage's model from."""
        given = self.typed(TrainingJob).request.pretrained_weights if self._is_what_was_asked_for else None
        return Path(given) if given else None

    @property
    def _is_what_was_asked_for(self) -> bool:
        return self.spec.configuration == self.record.job.configuration


def carry_out(run_path: str, stage_name: str) -> int:
    """Carry out the stage; returns the process's exit code."""
    job = Job.of(run_path, stage_name)
    ranks = job.record.num_gpus if job.spec.traits.of_fold else 1
    os.environ.update(fit_to_machine(job.spec.kind, job.record.device, dict(os.environ), ranks=ranks))
    os.environ["nnUNet_extTrainer"] = all_trainer_folders()  # noqa: SIM112 - nnU-Net's own spelling
    take_children_along()
    fork_pools_from_a_server()
    judge_what_nnunet_reads()
    job.reporter.say("starting")
    try:
        step = importlib.import_module(f".steps.{job.spec.traits.step}", __package__)
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
