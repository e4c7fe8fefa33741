"""The status of runs and stages, derived from their files and from liveness, never stored.

`derive_status` is pure: from the same evidence every server gets the same answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ..schemas.records import Failure, Liveness, Outcome, RunRecord, StageState, Status

# A supervisor needs about half a second to write engine.json; a loaded machine may need much longer.
START_ALLOWANCE_S = 60.0
# The reason for a run that nothing is known about yet, or that is between two stages.
STARTING = "starting"
# In the reason for a run that people keep from starting, as the engines say it, and for one that others are before.
HELD, BEHIND = "it is held", "waits behind"


@dataclass(frozen=True)
class StageEvidence:
    """What is known of one stage."""

    state: StageState | None = None
    outcome: Outcome | None = None
    liveness: Liveness = "dead"


@dataclass(frozen=True)
class Evidence:
    """What is known of a run. `heartbeat_fresh` counts only where liveness is "unknown"; `remark` is for people."""

    record: RunRecord
    age_s: float
    supervisor: Liveness | None = None
    heartbeat_fresh: bool = False
    cancel_requested: bool = False
    remark: str = ""
    stages: Mapping[str, StageEvidence] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The derived truth about a run and each of its stages."""

    status: Status
    stages: Mapping[str, Status]
    reason: str = ""
    failure: Failure | None = None
    held: bool = False  # people keep a stage that waits from starting


def derive_status(evidence: Evidence) -> Verdict:
    """The status that the evidence proves. If it proves none, the status is `interrupted`."""
    stages = {spec.name: _stage_status(spec.name, spec.reused, evidence) for spec in evidence.record.stages}
    values = list(stages.values())
    failure = next((f for name, s in stages.items() if s != "success" and (f := _failure(name, evidence))), None)
    if values and all(value == "success" for value in values):
        return Verdict("success", stages)
    if "running" in values:
        return Verdict("running", stages, evidence.remark, failure, held=_is_held(evidence))
    if _attended(evidence):
        reason = evidence.remark or _waits_for(evidence)
        begun = any(stage.state is not None for stage in evidence.stages.values())
        status: Status = "queued" if reason or not begun else "running"
        return Verdict(status, stages, reason or STARTING, failure, held=_is_held(evidence))
    cancelled = evidence.cancel_requested or ("cancelled" in values and "interrupted" not in values)
    stages = {name: _at_rest(status, cancelled) for name, status in stages.items()}
    if "error" in values:
        return Verdict("error", stages, failure.cause if failure else "", failure)
    if cancelled:
        by_others = failure.cause if failure and not evidence.cancel_requested else ""
        return Verdict("cancelled", stages, by_others or "cancelled on request", failure)
    return Verdict("interrupted", stages, _why_interrupted(evidence), failure)


def _attended(evidence: Evidence) -> bool:
    """Whether a supervisor or a Slurm job still looks after the run."""
    if evidence.supervisor is None:  # the supervisor may still start, even after a cancel, which it then carries out
        return evidence.age_s < START_ALLOWANCE_S
    if evidence.supervisor == "unknown":
        return evidence.heartbeat_fresh
    return evidence.supervisor == "alive"


def _stage_status(name: str, reused: bool, evidence: Evidence) -> Status:
    if reused:
        return "success"
    stage = evidence.stages.get(name, StageEvidence())
    if stage.state is None:
        return "queued"
    if stage.state.status in ("success", "error", "cancelled", "interrupted"):
        return stage.state.status
    if stage.liveness == "alive" or (stage.liveness == "unknown" and evidence.heartbeat_fresh):
        return "running"
    if stage.outcome is not None:  # the worker wrote its outcome, but its parent was gone
        return _outcome_status(stage.outcome)
    if stage.state.status == "queued":
        return "queued"
    return "running" if _attended(evidence) else "interrupted"


def _outcome_status(outcome: Outcome) -> Status:
    if outcome.ok:
        return "success"
    return "cancelled" if outcome.stopped else "error"


def _at_rest(status: Status, cancelled: bool) -> Status:
    """A stage that was waiting when the run ended will not start any more."""
    if status not in ("queued", "running"):
        return status
    return "cancelled" if cancelled else "interrupted"


def _failure(name: str, evidence: Evidence) -> Failure | None:
    stage = evidence.stages.get(name, StageEvidence())
    if stage.state is not None and stage.state.failure is not None:
        return stage.state.failure
    return stage.outcome.failure if stage.outcome is not None else None


def _waits_for(evidence: Evidence) -> str:
    return next(_reasons(evidence), "")


def _is_held(evidence: Evidence) -> bool:
    return any(HELD in reason for reason in _reasons(evidence))


def _reasons(evidence: Evidence) -> Iterator[str]:
    """What the stages wait for that say so."""
    states = [stage.state for stage in evidence.stages.values() if stage.state is not None]
    return (state.waits_for for state in states if state.status == "queued" and state.waits_for)


def _why_interrupted(evidence: Evidence) -> str:
    if evidence.supervisor is None:
        return "the run was recorded but its supervisor never started"
    if evidence.supervisor == "unknown":
        return "runs on another host and has not been heard of for a while"
    return "its processes are gone and left no message (killed, out of memory, or the machine restarted)"


# What certainly ends a run comes first.
ENDS: dict[Status, str] = {"error": "failed", "cancelled": "was cancelled", "interrupted": "was interrupted"}


def lost_as(other: Verdict) -> Status | None:
    """How a run ended that will not succeed any more; it is lost with its first stage, even if others go on."""
    return next((status for status in ENDS if status in (other.status, *other.stages.values())), None)


def waits_for_other(after: str, other: Verdict | None, *, certain: bool = True) -> StageState | None:
    """What the first stages of a run come to that follows another one; None once that has succeeded.

    `other` is the verdict on that run; None where its record is gone. A run that is lost, but not for `certain`, is
    waited for. There is no circle: run.json is written once and names a run that exists by then, so that each run is
    younger than the one that it follows.
    """
    if other is None:
        return _never(after, "was removed", f"there is no record of {after}")
    if other.status == "success":
        return None
    lost, why = lost_as(other), other.failure.cause if other.failure else other.reason
    if lost and certain:
        return _never(after, ENDS[lost], why)
    seems = f", which seems to be {lost}: {why}" if lost else ""
    return StageState(status="queued", waits_for=f"waits until run {after} has succeeded{seems}")


def _never(after: str, ended: str, why: str) -> StageState:
    failure = Failure(
        cause=f"it was to start when run {after} has succeeded, which {ended}",
        evidence=why,
        remedy=f"Start it again, and let it wait for no other run, or for the one that does what {after} was to do.",
    )
    return StageState(status="cancelled", failure=failure)
