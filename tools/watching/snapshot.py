"""A run at one moment. Every answer about a run is made from one of these, so that none contradicts itself."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TypeVar

from ...runs.engines import engine_of, verdict
from ...runs.layout import REMEMBERED_EPOCHS, RunDir, StateDir
from ...runs.pace import pace
from ...runs.status import BEHIND, Verdict
from ...runs.store import find_run, newest_ids
from ...schemas.records import (
    ACTIVE,
    ESTIMATING,
    TRAINING,
    CancelRecord,
    Epoch,
    Progress,
    QueueAction,
    RunRecord,
    StageSpec,
)
from ...settings import Settings

Found = TypeVar("Found")
WORTH_A_LOOK = ("error", "running", "interrupted", "cancelled", "queued")
# Of about 10 KB each. Over HTTP many clients ask one server for the same list.
MOST_KEPT = 1000


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
        run = run if run.memory is not None else run.at_one_moment()
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
    def is_held(self) -> bool:
        """Whether people keep from starting what waits of it; a stage that waits for one that runs does not say so."""
        return self.judged.held or (self.judged.status == "running" and self.run.queue().held)

    @property
    def is_behind(self) -> bool:
        """Whether it waits behind other runs for the same place."""
        return BEHIND in self.judged.reason

    def move(self, action: QueueAction) -> None:
        """Let what waits of the run go first, keep it back, or let it go again.

        Raises:
            RunError: the cluster does not allow it, or does not answer.
        """
        engine_of(self.record).move(self.run, self.record, action, self.settings)

    @property
    def in_front(self) -> str:
        """What it comes to if it is let go first, where it is."""
        return engine_of(self.record).in_front

    @property
    def may_still_follow(self) -> bool:
        """Whether the run that it was to follow is still at work."""
        other = self.run.beside(self.record.after) if self.record.after is not None else None
        its_record = other.record() if other is not None else None
        return other is not None and its_record is not None and verdict(other, its_record).status in ACTIVE

    @property
    def trains(self) -> bool:
        """Whether the present stage is a training."""
        return self.present is not None and self.present.traits.trains

    @property
    def is_here(self) -> bool:
        """Whether its processes are on this machine."""
        return engine_of(self.record).works_here(self.record)

    @property
    def has_settled(self) -> bool:
        """Whether the run has succeeded, by files of its own that were not written just now: each stage by its
        state.json. Nothing else is watched: no process, and no fold that an earlier run trained."""
        if self.judged.status != "success" or any(spec.reused and spec.fold is not None for spec in self.record.stages):
            return False
        states = [self.run.stage(spec.name).state() for spec in self.record.stages if not spec.reused]
        proven = all(state is not None and state.status == "success" for state in states)
        return proven and self.run.memory is not None and self.run.memory.has_settled()

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


class KeptRuns:
    """Runs that have succeeded, from answer to answer, for as long as none of the files read of them changes."""

    def __init__(self) -> None:
        self._views: dict[Path, RunSnapshot] = {}
        self._one_at_a_time = Lock()

    def get(self, run: RunDir, settings: Settings) -> RunSnapshot | None:
        """The run as it was, if it still is so."""
        view = self._views.get(run.path)
        memory = view.run.memory if view is not None and view.settings is settings else None
        return view if memory is not None and memory.holds() else None

    def keep(self, view: RunSnapshot) -> None:
        """Keep the run if only its own files speak of it, and these have come to rest."""
        if not view.has_settled:
            return
        with self._one_at_a_time:
            self._views[view.run.path] = view
            if len(self._views) > MOST_KEPT:
                del self._views[next(iter(self._views))]

    def once(self, view: RunSnapshot, make: Callable[[RunSnapshot], Found]) -> Found:
        """What is made of a run. Of a kept one it is made once, and takes the place of what it was made of."""
        memory = view.run.memory
        if memory is None or self._views.get(view.run.path) is not view:
            return make(view)
        made: Found = memory.made or memory.keep_only(make(view))
        return made


KEPT = KeptRuns()


def newest(
    run_ids: Iterable[str],
    settings: Settings,
    known: RunSnapshot | None = None,
    wanted: Callable[[RunDir, RunRecord], bool] = lambda run, record: True,
) -> Iterator[RunSnapshot]:
    """Those of these runs that are `wanted`, each judged when it is reached, and not again where it is `known`."""
    state = StateDir.of(settings)
    for run_id in run_ids:
        run = state.run(run_id).at_one_moment()
        view = known if known is not None and run_id == known.run.run_id else KEPT.get(run, settings)
        record = view.record if view is not None else run.record()
        if record is None or not wanted(run, record):
            continue
        if view is None:
            KEPT.keep(view := RunSnapshot.of(run, record, settings))
        yield view


def recorded(settings: Settings, of_dataset: int | None = None) -> Iterator[str]:
    """The ids of all runs, or of those of a dataset, newest first; nothing of them is read."""
    wanted = "" if of_dataset is None else f"d{of_dataset:03d}-"
    return (run_id for run_id in newest_ids(StateDir.of(settings)) if run_id.startswith(wanted))


def newest_at_work(settings: Settings, *, among: int) -> RunSnapshot | None:
    """Of the newest runs the first that is at work, else the first that waits, else the newest."""
    found = list(islice(newest(recorded(settings), settings), among))
    by_status = {one.judged.status: one for one in reversed(found)}
    return by_status.get("running") or by_status.get("queued") or next(iter(found), None)
