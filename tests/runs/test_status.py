"""The status of a run follows from its files and from which processes live; every row is a sentence."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, strategies as st

from nnunet_mcp.runs.status import START_ALLOWANCE_S, Evidence, StageEvidence, derive_status
from nnunet_mcp.schemas.records import Failure, Liveness, Outcome, RunRecord, StageState, Status
from nnunet_mcp.settings import Settings
from tests.kit.tiny import record_of, stage

BROKEN = Failure(cause="a cause", evidence="some evidence", remedy="a remedy")
OK = Outcome(ok=True)
STOPPED = Outcome(ok=False, stopped=True)
FAILED = Outcome(ok=False, failure=BROKEN)
RUN = record_of(Settings(), stage("preprocess"), stage("train_fold_0", "preprocess"))


def seen(status: Status | None, *, outcome: Outcome | None = None, process: Liveness = "dead") -> StageEvidence:
    return StageEvidence(None if status is None else StageState(status=status), outcome, process)


@dataclass(frozen=True)
class Row:
    """What is known, and what it proves."""

    sentence: str
    expected: Status
    first: StageEvidence = field(default_factory=lambda: seen(None))
    second: StageEvidence = field(default_factory=lambda: seen(None))
    supervisor: Liveness | None = "dead"
    known: dict[str, Any] = field(default_factory=dict)


done, fresh, asked = seen("success"), {"heartbeat_fresh": True}, {"cancel_requested": True}
TABLE = [
    Row("recorded a moment ago", "queued", supervisor=None),
    Row("recorded long ago, never started", "interrupted", supervisor=None, known={"age_s": START_ALLOWANCE_S + 1}),
    Row(
        "cancelled before its supervisor started, which then carries the cancel out",
        "queued",
        supervisor=None,
        known=asked,
    ),
    Row(
        "cancelled, and its supervisor never started",
        "cancelled",
        supervisor=None,
        known={**asked, "age_s": START_ALLOWANCE_S + 1},
    ),
    Row("the supervisor has just started", "queued", supervisor="alive"),
    Row(
        "a stage waits for a slot",
        "queued",
        StageEvidence(StageState(status="queued", waits_for="waits behind d002")),
        supervisor="alive",
    ),
    Row("a stage runs", "running", seen("running", process="alive"), supervisor="alive"),
    Row("a stage runs on although its supervisor was killed", "running", seen("running", process="alive")),
    Row("between two stages", "running", done, supervisor="alive"),
    Row("a stage has ended and the supervisor is about to say how", "running", seen("running"), supervisor="alive"),
    Row("a stage has failed, the supervisor still cleans up", "running", seen("error"), supervisor="alive"),
    Row("every stage succeeded", "success", done, done),
    Row("every stage succeeded, asked to stop too late", "success", done, done, known=asked),
    Row("the last stage says so itself, its supervisor is gone", "success", done, seen("running", outcome=OK)),
    Row("a stage succeeded, the next never began", "interrupted", done),
    Row("a stage succeeded by its own word, the next never began", "interrupted", seen("running", outcome=OK)),
    Row("a stage failed", "error", seen("error")),
    Row("a stage failed by its own word, its supervisor is gone", "error", done, seen("running", outcome=FAILED)),
    Row("a stage failed after it was asked to stop", "error", seen("error"), known=asked),
    Row("a stage was killed", "interrupted", seen("interrupted")),
    Row("everything was killed at once", "interrupted", seen("running")),
    Row("everything was killed while a stage waited", "interrupted", seen("queued")),
    Row("everything was killed after a request to stop", "cancelled", seen("running"), known=asked),
    Row("a stage stopped on request", "cancelled", seen("cancelled"), known=asked),
    Row("a stage stopped by its own word", "cancelled", seen("running", outcome=STOPPED), known=asked),
    Row(
        "another host carries it out and was heard of",
        "running",
        seen("running", process="unknown"),
        supervisor="unknown",
        known=fresh,
    ),
    Row(
        "another host was not heard of for a while",
        "interrupted",
        seen("running", process="unknown"),
        supervisor="unknown",
    ),
    Row("another host said that all is done", "success", done, done, supervisor="unknown"),
    Row("another host said that a stage failed", "error", seen("error"), supervisor="unknown"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.sentence)
def test_the_status_follows_from_the_evidence(row: Row) -> None:
    verdict = derive_status(evidence_of(row))

    assert verdict.status == row.expected
    if verdict.status not in ("queued", "running"):
        assert not {"queued", "running"} & set(verdict.stages.values())


def evidence_of(row: Row, record: RunRecord = RUN) -> Evidence:
    stages = {"preprocess": row.first, "train_fold_0": row.second}
    known = {"age_s": 1.0, **row.known}
    return Evidence(record=record, supervisor=row.supervisor, stages=stages, **known)


def test_a_reused_stage_counts_as_succeeded() -> None:
    record = record_of(Settings(), stage("preprocess", reused=True), stage("train_fold_0", "preprocess"))

    verdict = derive_status(evidence_of(Row("", "success", second=done), record))

    assert verdict.status == "success"


def test_a_waiting_run_says_what_it_waits_for() -> None:
    waiting = StageEvidence(StageState(status="queued", waits_for="cpu slot 0 is held by run d002"))

    verdict = derive_status(evidence_of(Row("", "queued", done, waiting, supervisor="alive")))

    assert (verdict.status, verdict.reason) == ("queued", "cpu slot 0 is held by run d002")


def test_a_failed_run_tells_why_from_the_supervisor_or_from_the_worker() -> None:
    recorded = StageEvidence(StageState(status="error", failure=BROKEN))
    for first in (recorded, seen("running", outcome=FAILED)):
        verdict = derive_status(evidence_of(Row("", "error", first)))

        assert (verdict.status, verdict.failure, verdict.reason) == ("error", BROKEN, "a cause")


FATES: tuple[Liveness, ...] = ("alive", "dead", "unknown")
LIVENESS = st.sampled_from(FATES)
NOT_YET: st.SearchStrategy[Liveness | None] = st.none() | LIVENESS
WAYS: list[tuple[Status, Outcome | None]] = [
    ("success", OK),
    ("error", FAILED),
    ("error", None),
    ("cancelled", STOPPED),
    ("interrupted", None),
]
ENDINGS = st.sampled_from(WAYS)


@st.composite
def histories(draw: st.DrawFn) -> Evidence:
    """What a reader may find: any prefix of what a run writes, and any fate of its processes."""
    record = record_of(Settings(), *(stage(f"train_fold_{n}") for n in range(draw(st.integers(1, 4)))))
    writes: list[tuple[str, StageState | Outcome]] = []
    for spec in record.stages:
        status, outcome = draw(ENDINGS)
        writes += [(spec.name, StageState(status="queued", waits_for="a slot"))] if draw(st.booleans()) else []
        writes += [(spec.name, StageState(status="running"))]
        writes += [(spec.name, outcome)] if outcome else []
        writes += [(spec.name, StageState(status=status))]
        if status != "success":
            break
    kept = writes[: draw(st.integers(0, len(writes)))]
    stages = {}
    for spec in record.stages:
        states = [what for name, what in kept if name == spec.name and isinstance(what, StageState)]
        outcomes = [what for name, what in kept if name == spec.name and isinstance(what, Outcome)]
        process: Liveness = draw(LIVENESS) if states and states[-1].status == "running" else "dead"
        stages[spec.name] = StageEvidence(states[-1] if states else None, outcomes[-1] if outcomes else None, process)
    return Evidence(
        record=record,
        age_s=draw(st.sampled_from([0.0, 1e6])),
        supervisor=draw(LIVENESS) if kept else draw(NOT_YET),
        heartbeat_fresh=draw(st.booleans()),
        cancel_requested=draw(st.booleans()),
        stages=stages,
    )


@given(histories())
def test_nothing_is_called_failed_while_it_lives_nor_running_when_all_is_dead(evidence: Evidence) -> None:
    status = derive_status(evidence).status
    stages = evidence.stages.values()
    processes = {evidence.supervisor} | {s.liveness for s in stages if s.state and s.state.status == "running"}

    if "alive" in processes and not any(s.state and s.state.status == "error" for s in stages):
        assert status != "error"
    if processes == {"dead"}:
        assert status not in ("queued", "running")


@given(histories())
def test_success_means_that_every_stage_succeeded(evidence: Evidence) -> None:
    verdict = derive_status(evidence)
    proved = [
        s.state is not None and (s.state.status == "success" or (s.outcome is not None and s.outcome.ok))
        for s in evidence.stages.values()
    ]

    assert (verdict.status == "success") <= all(proved)


@given(histories())
def test_an_error_is_never_made_up(evidence: Evidence) -> None:
    said = any(
        (s.state and s.state.status == "error") or (s.outcome and not s.outcome.ok and not s.outcome.stopped)
        for s in evidence.stages.values()
    )

    assert (derive_status(evidence).status == "error") <= said
