"""A run at one moment: its record, what is proved of it, and how far each of its stages is."""

from dataclasses import dataclass

from ...runs.engines import engine_of, verdict
from ...runs.layout import RunDir, StageDir, StateDir
from ...runs.pace import pace
from ...runs.status import Verdict
from ...runs.store import find_run
from ...schemas.records import ESTIMATING, TRAINING, Epoch, Progress, RunRecord, StageSpec
from ...settings import Settings
from .health import LOOKED_AT


@dataclass(frozen=True)
class Moment:
    """How far a stage is."""

    progress: Progress | None = None
    epochs: tuple[Epoch, ...] = ()  # the recent ones

    @property
    def epochs_done(self) -> int:
        return self.epochs[-1].epoch + 1 if self.epochs else 0

    @property
    def epoch_s(self) -> float | None:
        """Seconds of an epoch at the present speed."""
        return pace(self.epochs)


@dataclass(frozen=True)
class View:
    """A run at one moment."""

    run: RunDir
    record: RunRecord
    judged: Verdict
    spec: StageSpec | None  # the stage to look at
    moments: dict[str, Moment]  # of the stages that have begun and are not done, and of that one
    settings: Settings

    @property
    def moment(self) -> Moment:
        """How far the stage to look at is."""
        return self.moments.get(self.spec.name, Moment()) if self.spec else Moment()

    @property
    def trains(self) -> bool:
        """Whether the stage to look at is a training."""
        return self.spec is not None and self.spec.traits.trains

    @property
    def signature(self) -> tuple[object, ...]:
        """What is worth telling when it changes."""
        return (self.judged.status, self.spec, *((name, *_signature(one)) for name, one in self.moments.items()))


def _signature(moment: Moment) -> tuple[object, ...]:
    """Without what changes with every epoch or every case."""
    phase = moment.progress.phase if moment.progress else ""
    return (moment.epochs_done, None if phase in (TRAINING, ESTIMATING) else phase.partition(":")[0])


def look(settings: Settings, run_id: str) -> View:
    """Read a run. Nothing is started or changed.

    Raises:
        NotFound: no such run.
    """
    run, record = find_run(StateDir.of(settings), run_id)
    judged = verdict(run, record)
    spec = present_stage(record, judged)
    begun = [name for name, status in judged.stages.items() if status not in ("success", "queued")]
    names = dict.fromkeys([spec.name, *begun] if spec else begun)
    moments = {name: _moment(run.stage(name)) for name in names}
    return View(run, record, judged, spec, moments, settings)


def tend(settings: Settings, run_id: str) -> View:
    """Finish a start that a kill cut off between two jobs, and read the run.

    Raises:
        NotFound: no such run.
    """
    run, record = find_run(StateDir.of(settings), run_id)
    engine_of(record).go_on_starting(run, record, settings)
    return look(settings, run_id)


def _moment(stage: StageDir) -> Moment:
    return Moment(stage.progress(), tuple(stage.recent_epochs(LOOKED_AT)))


def present_stage(record: RunRecord, judged: Verdict) -> StageSpec | None:
    """The stage to look at: the one that failed or runs, else the next one, else the last one."""
    for wanted in ("error", "running", "interrupted", "cancelled", "queued"):
        for spec in record.stages:
            if judged.stages[spec.name] == wanted and not spec.reused:
                return spec
    done = [spec for spec in record.stages if not spec.reused and spec.traits.of_fold]
    return done[-1] if done else None
