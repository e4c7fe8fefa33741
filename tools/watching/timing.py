"""How much of a run is done, how long it has taken and will take, and when to look again."""

import time
from datetime import datetime

from ...schemas.progress import Eta, Until
from ...schemas.records import ACTIVE, TRAINED_PART, StageSpec, Status
from .forecast import Forecast, forecast, in_words
from .snapshot import RunSnapshot

# What a run shows at most until its files prove that it has succeeded.
NOT_ALL = 99.9
SOONEST_S, LATEST_S = 5.0, 300.0
# Where no epoch gives the measure: who has waited for an hour need not look again in five seconds.
SHARE_OF_THE_WAIT = 0.1
# Beside the epochs that a cancelled training may still take.
SAVING_S = 30.0


def percent(view: RunSnapshot) -> float:
    """How much of the run's work is done, 0-100, by shares of its stages that are fixed; 100 only with success."""
    stages = [spec for spec in view.record.stages if not spec.reused]
    whole = sum(spec.traits.weight for spec in stages)
    done = sum(s.traits.weight * fraction(view, s, view.judged.stages[s.name]) for s in stages)
    if view.judged.status == "success" or not whole:
        return 100.0
    return min(NOT_ALL, round(100 * done / whole, 1))


def fraction(view: RunSnapshot, spec: StageSpec, status: Status) -> float:
    """How much of a stage is done, 0-1."""
    if status == "success":
        return 1.0
    moment = view.at(spec.name)
    if moment.progress is None:
        return 0.0
    epochs = moment.progress.epochs if spec.traits.trains else None
    return max(moment.progress.part, TRAINED_PART * moment.epochs_done / epochs if epochs else 0.0)


def elapsed(view: RunSnapshot) -> int:
    """Seconds since the run was recorded, until now or until the last thing that is known of it."""
    end = time.time() if view.judged.status in ACTIVE else max(_signs_of_life(view), default=0.0)
    return max(0, round(end - view.record.created_at))


def _signs_of_life(view: RunSnapshot) -> list[float]:
    stages = [view.run.stage(spec.name) for spec in view.record.stages if not spec.reused]
    ended = [state.ended_at for stage in stages if (state := stage.state()) is not None]
    beats = [progress.heartbeat for stage in stages if (progress := stage.progress()) is not None]
    return [*(at for at in ended if at is not None), *beats]


def end_of(found: Forecast | None) -> Eta | None:
    """When a run will end: the range, the time of day, and what it rests on."""
    if found is None:
        return None
    at = datetime.fromtimestamp(time.time() + found.left.expected).astimezone()
    low, high = found.left.low, found.left.high
    return Eta(low_s=round(low), high_s=round(high), at=at.isoformat(timespec="minutes"), basis=in_words(found.basis))


def retry_after(view: RunSnapshot, until: Until | None = None, found: Forecast | None = None) -> int:
    """A good time to ask again: when the end, or the epoch that is waited for, may be there, at most 300 s; else after
    about one epoch, else after a tenth of the wait so far; 0 when nothing will change. `found` is a forecast that was
    made already."""
    if view.judged.status not in ACTIVE:
        return 0
    return round(min(LATEST_S, max(SOONEST_S, _until(view, until, found) or _usual(view))))


def _until(view: RunSnapshot, until: Until | None, found: Forecast | None) -> float | None:
    """Seconds until what is waited for is expected."""
    if view.stopping is not None:
        return SOONEST_S
    if until in (None, "end"):  # it may end as soon as this
        found = found or forecast(view)
        return None if found is None else found.left.low
    epoch_s = view.moment.epoch_s
    return None if epoch_s is None else epoch_s * max(0, int(until) - view.moment.epochs_done)


def _usual(view: RunSnapshot) -> float:
    usual = view.moment.epoch_s if view.judged.status == "running" and view.trains else None
    return usual or SHARE_OF_THE_WAIT * _waited(view)


def reached(view: RunSnapshot, until: Until) -> bool:
    """Whether what was waited for is there: the run's end, or so many epochs of its training."""
    if view.judged.status not in ACTIVE:
        return True
    return until != "end" and view.trains and view.moment.epochs_done >= until


def stops_within(view: RunSnapshot) -> float | None:
    """Seconds after which a run that was asked to stop is ended at the latest; None for every other run."""
    asked = view.stopping
    return None if asked is None else max(0.0, asked.requested_at + asked.grace_s - time.time())


def grace(view: RunSnapshot) -> float:
    """Seconds that a run may take to finish its epoch and save, where no setting says it: two of its own epochs."""
    if "grace_s" in view.settings.model_fields_set:
        return view.settings.grace_s
    trainings = [spec.name for spec in view.record.stages if spec.traits.trains]
    usual = [view.at(name).epoch_s or 0.0 for name in trainings if view.judged.stages[name] == "running"]
    return max([view.settings.grace_s, *(2 * seconds + SAVING_S for seconds in usual)])


def _waited(view: RunSnapshot) -> float:
    """Seconds since the stage to look at began, or since the run was recorded."""
    state = view.run.stage(view.present.name).state() if view.present else None
    since = state.started_at if state is not None and state.started_at is not None else view.record.created_at
    return max(0.0, time.time() - since)
