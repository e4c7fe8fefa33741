"""A run at one moment. Every answer about a run is made from one of these, so that none contradicts itself."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from ...runs.engines import engine_of, verdict
from ...runs.layout import REMEMBERED_EPOCHS, RunDir, StateDir
from ...runs.pace import pace
from ...runs.status import Verdict
from ...runs.store import find_run, newest_ids
from ...schemas.records import ACTIVE, ESTIMATING, TRAINING, CancelRecord, Epoch, Progress, RunRecord, StageSpec
from ...settings import Settings

WORTH_A_LOOK = ("error", "running", "interrupted", "cancelled", "queued")


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

    @property
    def signature(self) -> tuple[object, ...]:
        """Without what changes with every epoch or every case."""
        phase = self.progress.phase if self.progress else ""
        return (self.epochs_done, None if phase in (TRAINING, ESTIMATING) else phase.partition(":")[0])


@dataclass(frozen=True)
class RunSnapshot:
    """A run's record, what its files and processes prove of it, and how far its stages are.

    Each file of the run is read at most once, when it is first needed.
    """

    run: RunDir
    record: RunRecord
    judged: Verdict
    settings: Settings

    @classmethod
    def of(cls, run: RunDir, record: RunRecord, settings: Settings) -> "RunSnapshot":
        """Judge the run now."""
        run = run.at_one_moment(record)
        return cls(run, record, verdict(run, record), settings)

    def go_on_starting(self) -> None:
        """Finish a start that a kill cut off between two jobs; the next look at the run shows it."""
        engine_of(self.record).go_on_starting(self.run.afresh(), self.record, self.settings)

    def at(self, stage: str) -> Moment:
        """How far a stage is that has begun and is not done, or the present one. Of one that waits, perhaps again, only
        its progress is read; of one that is done nothing."""
        present, status = self.present is not None and stage == self.present.name, self.judged.stages[stage]
        folder = self.run.stage(stage)
        if not present and status in ("success", "queued"):
            return Moment(folder.progress() if status == "queued" else None)
        return Moment(folder.progress(), tuple(folder.recent_epochs(REMEMBERED_EPOCHS)))

    @cached_property
    def present(self) -> StageSpec | None:
        """The stage to look at: the one that failed or runs, else the next one, else the last one."""
        for wanted in WORTH_A_LOOK:
            for spec in self.record.stages:
                if self.judged.stages[spec.name] == wanted and not spec.reused:
                    return spec
        done = [spec for spec in self.record.stages if not spec.reused and spec.traits.of_fold]
        return done[-1] if done else None

    @cached_property
    def moment(self) -> Moment:
        """How far the present stage is."""
        return self.at(self.present.name) if self.present else Moment()

    @cached_property
    def stopping(self) -> CancelRecord | None:
        """The request to stop that a run at work has still to carry out."""
        return self.run.cancel() if self.judged.status in ACTIVE else None

    @property
    def trains(self) -> bool:
        """Whether the present stage is a training."""
        return self.present is not None and self.present.traits.trains

    @cached_property
    def signature(self) -> tuple[object, ...]:
        """What is worth telling when it changes."""
        stages = ((spec.name, *self.at(spec.name).signature) for spec in self.record.stages)
        return (self.judged.status, self.stopping, self.present, *stages)


def snapshot(settings: Settings, run_id: str) -> RunSnapshot:
    """The run now. Nothing is started or changed.

    Raises:
        NotFound: no such run.
    """
    return RunSnapshot.of(*find_run(StateDir.of(settings), run_id), settings)


def tend(settings: Settings, run_id: str) -> RunSnapshot:
    """Finish a start that a kill cut off between two jobs, and give the run as it is then.

    Raises:
        NotFound: no such run.
    """
    run, record = find_run(StateDir.of(settings), run_id)
    engine_of(record).go_on_starting(run, record, settings)
    return RunSnapshot.of(run, record, settings)


def newest(run_ids: Iterable[str], settings: Settings, known: RunSnapshot | None = None) -> Iterator[RunSnapshot]:
    """These runs, each judged when it is reached, and not again where it is `known`."""
    state = StateDir.of(settings)
    for run_id in run_ids:
        if known is not None and run_id == known.run.run_id:
            yield known
        elif (record := (run := state.run(run_id)).record()) is not None:
            yield RunSnapshot.of(run, record, settings)


def recorded(settings: Settings, of_dataset: int | None = None) -> Iterator[str]:
    """The ids of all runs, or of those of a dataset, newest first; nothing of them is read."""
    wanted = "" if of_dataset is None else f"d{of_dataset:03d}-"
    return (run_id for run_id in newest_ids(StateDir.of(settings)) if run_id.startswith(wanted))


def newest_at_work(settings: Settings, *, among: int) -> RunSnapshot | None:
    """Of the newest runs the first that is at work, else the first that waits, else the newest."""
    found = list(islice(newest(recorded(settings), settings), among))
    by_status = {one.judged.status: one for one in reversed(found)}
    return by_status.get("running") or by_status.get("queued") or next(iter(found), None)
