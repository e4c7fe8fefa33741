"""Gather the evidence about a run from its files and the process table, or from Slurm."""

import time

from ..liveness import liveness, touched_within
from ..schemas.records import EngineRecord, Liveness, RunRecord, StageState
from .layout import RunDir
from .processes import processes_of
from .slurm.evidence import gather_jobs
from .status import Evidence, StageEvidence, Verdict, derive_status

# Many times HEARTBEAT_S: a shared file system may show a beat late.
HEARTBEAT_FRESH_S = 120.0


def gather(run: RunDir, record: RunRecord) -> Evidence:
    """Read everything that `derive_status` needs."""
    if record.engine == "slurm":
        return gather_jobs(run, record)
    engine = run.engine()
    supervisor = _supervisor_liveness(engine)
    stages = {spec.name: _stage_evidence(run, spec.name, supervisor) for spec in record.stages if not spec.reused}
    return Evidence(
        record=record,
        age_s=time.time() - record.created_at,
        supervisor=supervisor,
        heartbeat_fresh=touched_within(run.heartbeat_file, HEARTBEAT_FRESH_S),
        cancel_requested=run.cancel_file.exists(),
        stages=stages,
    )


def verdict(run: RunDir, record: RunRecord) -> Verdict:
    """The run's status now."""
    return derive_status(gather(run, record))


def _supervisor_liveness(engine: EngineRecord | None) -> Liveness | None:
    return None if engine is None else liveness(engine.supervisor)


def _stage_evidence(run: RunDir, name: str, supervisor: Liveness | None) -> StageEvidence:
    stage = run.stage(name)
    state = stage.state()
    if supervisor == "dead" and stage.log_file.exists() and (state is None or state.status == "queued"):
        # The supervisor was killed after it had started the process and before it wrote that down.
        found: Liveness = "alive" if processes_of(stage.path) else "dead"
        return StageEvidence(StageState(status="running"), stage.outcome(), found)
    if state is None:
        return StageEvidence()
    if state.status != "running" or state.process is None:
        return StageEvidence(state)
    # Liveness before outcome: a worker that ends in between has then been seen alive, not lost.
    alive = liveness(state.process)
    return StageEvidence(state, stage.outcome(), alive)
