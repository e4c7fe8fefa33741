"""Gather the evidence about a run from its files and the process table."""

import time

from ..schemas.runs import EngineRecord, Liveness, RunRecord
from .layout import RunDir
from .liveness import liveness, touched_within
from .status import Evidence, StageEvidence, Verdict, derive_status

# The supervisor touches its heartbeat every 15 s; a shared file system may show that late.
HEARTBEAT_S = 15.0
HEARTBEAT_FRESH_S = 120.0


def gather(run: RunDir, record: RunRecord) -> Evidence:
    """Read everything that `derive_status` needs."""
    engine = run.engine()
    stages = {spec.name: _stage_evidence(run, spec.name) for spec in record.stages if not spec.reused}
    return Evidence(
        record=record,
        age_s=time.time() - record.created_at,
        supervisor=_supervisor_liveness(engine),
        heartbeat_fresh=touched_within(run.heartbeat_file, HEARTBEAT_FRESH_S),
        cancel_requested=run.cancel_file.exists(),
        stages=stages,
    )


def verdict(run: RunDir, record: RunRecord) -> Verdict:
    """The run's status now."""
    return derive_status(gather(run, record))


def _supervisor_liveness(engine: EngineRecord | None) -> Liveness | None:
    return None if engine is None else liveness(engine.supervisor)


def _stage_evidence(run: RunDir, name: str) -> StageEvidence:
    stage = run.stage(name)
    state = stage.state()
    if state is None:
        return StageEvidence()
    if state.status != "running" or state.process is None:
        return StageEvidence(state)
    # Liveness before outcome: a worker that ends in between has then been seen alive, not lost.
    alive = liveness(state.process)
    return StageEvidence(state, stage.outcome(), alive)
