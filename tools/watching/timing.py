"""How much of a run is done, how long it has taken and will take, and when to look again."""

import statistics
import time

from ...runs.engines import engine_of
from ...runs.pace import scheduled
from ...schemas.records import ACTIVE, StageSpec, Status
from .snapshot import RunSnapshot

VALIDATION_SHARE = 0.05
SOONEST_S, LATEST_S = 5.0, 300.0
# Where no epoch gives the measure: who has waited for an hour need not look again in five seconds.
SHARE_OF_THE_WAIT = 0.1
# Beside the epochs that a cancelled training may still take.
SAVING_S = 30.0


def percent(view: RunSnapshot) -> float:
    """How much of the run is done, 0-100, by rough shares of its stages."""
    stages = [spec for spec in view.record.stages if not spec.reused]
    whole = sum(spec.traits.weight for spec in stages)
    done = sum(s.traits.weight * fraction(view, s, view.judged.stages[s.name]) for s in stages)
    return round(100 * done / whole, 1) if whole else 100.0


def fraction(view: RunSnapshot, spec: StageSpec, status: Status) -> float:
    """How much of a stage is done, 0-1."""
    if status == "success":
        return 1.0
    moment = view.at(spec.name)
    if moment.progress is None:
        return 0.0
    progress = moment.progress
    part = progress.done / progress.total if progress.done is not None and progress.total else 0.0
    if not spec.traits.trains:
        return part
    if progress.phase.startswith("validat"):
        return 1.0 - VALIDATION_SHARE * (1.0 - part)
    epochs = progress.epochs or 0
    return (1.0 - VALIDATION_SHARE) * moment.epochs_done / epochs if epochs else 0.0


def elapsed(view: RunSnapshot) -> int:
    """Seconds since the run was recorded, until now or until the last thing that is known of it."""
    end = time.time() if view.judged.status in ACTIVE else max(_signs_of_life(view), default=0.0)
    return max(0, round(end - view.record.created_at))


def _signs_of_life(view: RunSnapshot) -> list[float]:
    stages = [view.run.stage(spec.name) for spec in view.record.stages if not spec.reused]
    ended = [state.ended_at for stage in stages if (state := stage.state()) is not None]
    beats = [progress.heartbeat for stage in stages if (progress := stage.progress()) is not None]
    return [*(at for at in ended if at is not None), *beats]


def eta(view: RunSnapshot) -> int | None:
    """Training time left in all stages at the present speed, without the final validations."""
    trainings = [spec for spec in view.record.stages if spec.traits.trains]
    begun = [view.at(s.name) for s in trainings if view.judged.stages[s.name] == "running"]
    speeds = [(one.epoch_s, one.progress.epochs) for one in begun if one.progress and one.progress.epochs]
    known = [(seconds, epochs) for seconds, epochs in speeds if seconds is not None]
    if view.judged.status != "running" or not known:
        return None
    epoch_s, epochs = statistics.fmean(seconds for seconds, _ in known), known[0][1]
    left = [(one.epoch_s or epoch_s) * max(0, epochs - one.epochs_done) for one in begun]
    waiting = sum(view.judged.stages[s.name] == "queued" for s in trainings)
    if not waiting:
        return round(max(left))
    lanes = engine_of(view.record).lanes(view.record, len(left) + waiting, view.settings)
    return round(scheduled(left, [epoch_s * epochs] * waiting, lanes))


def retry_after(view: RunSnapshot) -> int:
    """A good time to ask again: about one epoch, else a tenth of the wait so far; 0 when nothing will change."""
    if view.judged.status not in ACTIVE:
        return 0
    usual = view.moment.epoch_s if view.judged.status == "running" and view.trains else None
    return round(min(LATEST_S, max(SOONEST_S, usual or SHARE_OF_THE_WAIT * _waited(view))))


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
