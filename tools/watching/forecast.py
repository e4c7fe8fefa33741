"""How long a run still takes: each stage that is not done, from what is known of it, with a range.

A range is wide where little is known. Its widths are set so that it holds the end of recorded real runs, on a machine
that had other work at the same time (docs/benchmarks.md, "ETA").
"""

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ...runs.engines import engine_of
from ...runs.layout import StageDir, StateDir
from ...runs.pace import pace, pace_of_steps, scheduled, warm
from ...runs.speed import Speed, earlier_preprocessing, earlier_training
from ...schemas.records import ACTIVE, Epoch, RunRecord, StageSpec
from ...texts import fold_name, numbered
from .snapshot import Moment, RunSnapshot
from .validation_time import expected_validation

# The pace of the epochs to come varies by this share, and by more while few epochs have shown it.
ALWAYS, ONE_EPOCH = 0.15, 0.5
# The first epoch of a process also fills caches; those after it were seen to take from a seventh of it, where epochs
# are short and the machine is busy, to as long.
FIRST_EPOCH = (0.5, 0.14, 1.4)
AS_BEFORE = (1.0, 0.6, 1.8)  # as in another run or another process, when the machine may have had other work
AS_ANOTHER_FOLD = (1.0, 0.65, 1.5)
BY_ITS_PART = (1.0, 0.4, 2.5)  # from the share of a stage that is done
BY_ITS_CASES = (0.85, 0.35, 1.6)  # from the cases that are validated
BY_ONE_CASE = (0.7, 0.2, 1.6)  # the first ones are often the slowest
# Of the time that something has taken, if that is more than was expected.
LATE_EXPECTED, LATE_HIGH = 0.25, 1.0
# Of the time that predicting took, at most this for the files that are still to be written.
WRITING_SHARE = 0.5
# Fewer parts than this say nothing yet.
FEWEST_PARTS = 0.1
START_S, SAVE_S, LAST_S = 15.0, 2.0, 2.0
MOMENT_S = 10.0  # a stage that takes a moment, for example to add up the folds


@dataclass(frozen=True)
class Span:
    """Seconds: expected, at least, at most."""

    expected: float = 0.0
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def around(cls, seconds: float, widths: tuple[float, float, float]) -> "Span":
        """Seconds with a range."""
        return cls(*(seconds * width for width in widths))

    def times(self, count: float) -> "Span":
        """As often as that."""
        return Span.around(count, (self.expected, self.low, self.high))

    def __add__(self, other: "Span") -> "Span":
        return Span(self.expected + other.expected, self.low + other.low, self.high + other.high)

    def less(self, seconds: float) -> "Span":
        """What is left after these seconds. What has taken longer than expected will not end at once."""
        expected, low, high = (max(0.0, value - seconds) for value in (self.expected, self.low, self.high))
        if not expected:
            return Span(LATE_EXPECTED * seconds, 0.0, max(high, LATE_HIGH * seconds))
        return Span(expected, low, high)


@dataclass
class Forecast:
    """The seconds left of a run, and in a few words what they rest on."""

    left: Span
    basis: list[str] = field(default_factory=list)


def forecast(view: RunSnapshot) -> Forecast | None:
    """How long the run still takes; None where it does not run, or nothing is known of a stage that counts."""
    if view.judged.status != "running" or view.stopping is not None:
        return None
    statuses = view.judged.stages
    # Where one has failed, nothing more is started; what runs goes on to its end.
    counting = {"running"} if "error" in statuses.values() else ACTIVE
    todo = [spec for spec in view.record.stages if not spec.reused and statuses[spec.name] in counting]
    found = Forecast(Span())
    side_by_side = [spec for spec in todo if spec.traits.of_fold]
    parts = [_one(view, spec, found) for spec in todo if not spec.traits.of_fold]
    parts.append(_folds(view, side_by_side, found))
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    found.left = sum(known, Span())
    return found


def _one(view: RunSnapshot, spec: StageSpec, told: Forecast) -> Span | None:
    """A stage that works alone."""
    moment = view.at(spec.name)
    part, since = moment.progress.part if moment.progress else 0.0, _since_start(view, spec)
    if part >= FEWEST_PARTS and since is not None:
        # What is reused counts as done and took no time, so the cases of the present section may say more.
        return Span.around(max(since * (1 - part) / part, _cases_left(moment)), BY_ITS_PART)
    if spec.traits.preprocesses:
        before = _earlier(view, spec).preprocessing_s
        if before is not None:
            told.basis.append("preprocessing as it took before")
        return None if before is None else Span.around(before, AS_BEFORE).less(since or 0.0)
    return Span.around(MOMENT_S, (1.0, 0.2, 2.5)) if spec.traits.slot is None else None


def _cases_left(moment: Moment) -> float:
    """Seconds for the rest of the present section, by the cases that it has done."""
    progress = moment.progress
    if progress is None or not progress.done or not progress.total or progress.since is None:
        return 0.0
    return max(0.0, time.time() - progress.since) * (progress.total - progress.done) / progress.done


def _since_start(view: RunSnapshot, spec: StageSpec) -> float | None:
    state = view.run.stage(spec.name).state() if view.judged.stages[spec.name] == "running" else None
    return None if state is None or state.started_at is None else max(0.0, time.time() - state.started_at)


def _folds(view: RunSnapshot, folds: list[StageSpec], told: Forecast) -> Span | None:
    """Trainings and validations of folds, which go on side by side where there is room."""
    begun = [spec for spec in folds if view.judged.stages[spec.name] == "running"]
    left = [_training_left(view, spec, told) for spec in begun]
    ahead = [_whole_training(view, spec, begun, told) for spec in folds if spec not in begun]
    spans, waiting = [one for one in left if one], [one for one in ahead if one]
    if len(spans) < len(left) or len(waiting) < len(ahead):
        return None
    lanes = engine_of(view.record).lanes(view.record, len(folds), view.settings)
    if waiting:
        told.basis.append(numbered(len(waiting), "more fold"))

    def until_the_last(name: str) -> float:
        at_work, to_come = ([float(getattr(one, name)) for one in group] for group in (spans, waiting))
        return scheduled(at_work, to_come, max(lanes, len(spans)))

    return Span(*(until_the_last(name) for name in ("expected", "low", "high")))


def _training_left(view: RunSnapshot, spec: StageSpec, told: Forecast) -> Span | None:
    moment = view.at(spec.name)
    progress = moment.progress
    if progress is not None and progress.phase.startswith("validat"):
        return _validation_left(view, spec, moment, told)
    own = [epoch for epoch in warm(moment.epochs) if not epoch.restored]
    if not own and _done_folds(view, spec) and (whole := _whole_training(view, spec, [], told)) is not None:
        told.basis.append("the folds before it")
        return whole.less(_since_start(view, spec) or 0.0)
    saving = progress is not None and progress.phase.startswith("saving")
    epochs = Span() if saving or not spec.traits.trains else _epochs_left(view, spec, moment, told)
    if epochs is None:
        return None
    started = Span.around(START_S, AS_BEFORE) if not moment.epochs or moment.epochs[-1].restored else Span()
    return started + epochs + Span.around(SAVE_S, AS_BEFORE) + _validation(view, spec, moment, told)


def _epochs_left(view: RunSnapshot, spec: StageSpec, moment: Moment, told: Forecast) -> Span | None:
    one, whole = _epoch(view, spec, moment, told), _planned_epochs(view, spec, moment)
    if one is None or whole is None:
        return None
    return one.times(max(0.0, whole - moment.epochs_done - _part_of_epoch(moment)))


def _planned_epochs(view: RunSnapshot, spec: StageSpec, moment: Moment) -> int | None:
    if moment.progress and moment.progress.epochs is not None:
        return moment.progress.epochs
    earlier = _earlier(view, spec).training
    return earlier.epochs if earlier else None


def _part_of_epoch(moment: Moment) -> float:
    progress = moment.progress
    if progress is None or not progress.iterations or progress.epoch != moment.epochs_done:
        return 0.0
    return min(1.0, (progress.iteration or 0) / progress.iterations)


def _epoch(view: RunSnapshot, spec: StageSpec, moment: Moment, told: Forecast) -> Span | None:
    """An epoch to come: from those of this process, else from those before a resume, else from an earlier run."""
    own = [epoch for epoch in moment.epochs if epoch.seconds is not None and not epoch.restored]
    usual = [epoch for epoch in warm(moment.epochs) if epoch in own]
    if usual:
        share = ALWAYS + ONE_EPOCH / len(usual) ** 0.5
        told.basis.append(f"{numbered(len(usual), 'epoch')} of this process")
        return Span.around(pace(moment.epochs) or 0.0, (1.0, 1 / (1 + share), 1 + share))
    earlier = _earlier(view, spec).training
    if earlier is not None:
        told.basis.append(f"epochs as in {earlier.run_id}")
        return Span.around(earlier.epoch_s, AS_BEFORE)
    if own:
        told.basis.append("the first epoch of this process")
        return _from_the_first(own[-1], before=pace([one for one in moment.epochs if one.restored]))
    if (before := moment.epoch_s) is not None:
        told.basis.append("epochs before the resume")
        return Span.around(before, AS_BEFORE)
    if (steps := pace_of_steps(moment.progress)) is not None:
        told.basis.append("the first steps")
        return Span.around(steps, FIRST_EPOCH)
    return None


def _from_the_first(epoch: Epoch, *, before: float | None) -> Span:
    """The first epoch of a process is often the slowest; those before a resume may come from another machine."""
    seconds = (epoch.seconds or 0.0) - (epoch.compile_s or 0.0)
    if epoch.compile_s:
        return Span.around(seconds, AS_BEFORE)
    usual, fast, slow = (seconds * width for width in FIRST_EPOCH)
    if before is None:
        return Span(usual, fast, slow)
    return Span(min(seconds, max(fast, before)), min(fast, before), slow)


def _validation_left(view: RunSnapshot, spec: StageSpec, moment: Moment, told: Forecast) -> Span:
    progress = moment.progress
    assert progress is not None
    done, total = progress.done or 0, progress.total or 0
    passed = max(0.0, time.time() - progress.since) if progress.since is not None else 0.0
    if done and progress.since is not None:
        told.basis.append(f"{done} of {total} cases validated")
        if done >= total:  # only the files of the last ones are being written
            return Span(LAST_S, 0.0, max(LAST_S, WRITING_SHARE * passed))
        widths = BY_ITS_CASES if done > 1 else BY_ONE_CASE
        # One more is half done.
        return Span.around((total - done) * passed / (done + 0.5) + LAST_S, widths)
    return _validation(view, spec, moment, told).less(passed)


def _validation(view: RunSnapshot, spec: StageSpec, moment: Moment, told: Forecast) -> Span:
    """What comes after the epochs: as in a fold that is done, else in an earlier run, else from the network's size."""
    started = _startup(view, spec)
    if done := _done_folds(view, spec):
        told.basis.append(f"validation as in fold {fold_name(str(done[0].fold))}")
        around = statistics.fmean(_around(view, one) for one in done)
        return Span.around(max(0.0, around - started), AS_ANOTHER_FOLD)
    earlier = _earlier(view, spec).training
    if earlier is not None and earlier.around_s is not None:
        told.basis.append("validation as there")
        return Span.around(max(0.0, earlier.around_s - started), AS_BEFORE)
    told.basis.append("validation estimated")
    return Span(*expected_validation(view.record, spec, moment))


def _whole_training(view: RunSnapshot, spec: StageSpec, begun: list[StageSpec], told: Forecast) -> Span | None:
    """A training that has not begun: as the folds before it took, or as those at work will have taken."""
    if done := _done_folds(view, spec):
        states = [view.run.stage(one.name).state() for one in done]
        known = [state.seconds for state in states if state is not None and state.seconds is not None]
        return Span.around(statistics.fmean(known), AS_ANOTHER_FOLD) if known else None
    alike = next((one for one in begun if one.configuration == spec.configuration), None)
    moment, silent = (view.at(alike.name) if alike else Moment()), Forecast(Span())
    one, whole = _epoch(view, spec, moment, silent), _planned_epochs(view, spec, moment)
    if alike is None:
        told.basis += silent.basis
    if spec.traits.trains and (one is None or whole is None):
        return None
    epochs = one.times(whole or 0) if one else Span()
    start = Span.around(_startup(view, alike) if alike else START_S, AS_BEFORE)
    return start + epochs + _validation(view, alike or spec, moment, told if alike is None else silent)


def _startup(view: RunSnapshot, spec: StageSpec) -> float:
    """Seconds from the start of a training until its first epoch could begin."""
    progress, state = view.at(spec.name).progress, view.run.stage(spec.name).state()
    if progress is None or progress.since is None or state is None or state.started_at is None:
        return START_S
    return max(0.0, progress.since - state.started_at) if progress.epoch is not None else START_S


def _done_folds(view: RunSnapshot, spec: StageSpec) -> list[StageSpec]:
    """The stages of the same work that this run has done."""

    def alike(one: StageSpec) -> bool:
        return (one.kind, one.configuration, one.reused) == (spec.kind, spec.configuration, False) and one != spec

    return [one for one in view.record.stages if alike(one) and view.judged.stages[one.name] == "success"]


def _around(view: RunSnapshot, spec: StageSpec) -> float:
    """Seconds of a finished training besides its epochs."""
    stage = view.run.stage(spec.name)
    state = stage.state()
    return _besides_epochs(stage.path, state.seconds) if state is not None and state.seconds is not None else 0.0


@lru_cache(maxsize=256)
def _besides_epochs(path: Path, whole_s: float) -> float:
    """A finished training changes no more, so its epochs are read once."""
    return max(0.0, whole_s - sum(one.seconds or 0.0 for one in StageDir(path).epochs() if not one.restored))


@dataclass(frozen=True)
class _Earlier:
    """What earlier runs showed; looked up once for each run, because that reads many of them."""

    training: Speed | None
    preprocessing_s: float | None


@dataclass(frozen=True)
class _Asked:
    run_id: str
    stage: str
    state: StateDir
    record: RunRecord = field(compare=False)
    spec: StageSpec = field(compare=False)


def _earlier(view: RunSnapshot, spec: StageSpec) -> _Earlier:
    return _looked_up(_Asked(view.record.run_id, spec.name, StateDir.of(view.settings), view.record, spec))


@lru_cache(maxsize=256)
def _looked_up(asked: _Asked) -> _Earlier:
    if asked.spec.traits.preprocesses:
        return _Earlier(None, earlier_preprocessing(asked.state, asked.record, asked.spec.configuration))
    return _Earlier(earlier_training(asked.state, asked.record, asked.spec), None)


def in_words(basis: Iterable[str]) -> str:
    """What a forecast rests on, each thing once."""
    return "; ".join(dict.fromkeys(basis))
