"""What is known of a run on Slurm: its files, combined with what Slurm says about its jobs.

The files come first: if a stage's job recorded how it ended, that is true. Slurm adds what files cannot say: that a job
waits and why, that it lives, and how it ended if it could not write any more. If Slurm does not answer, nothing is
concluded.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from ...schemas.records import Failure, JobsRecord, Outcome, RunRecord, StageSpec, StageState
from ..failures.diagnosis import LOG_WINDOW, last_words, read_end
from ..layout import RunDir, StageDir
from ..status import Evidence, StageEvidence, derive_status, waits_for_other
from .commands import SlurmSilent
from .job_states import ending_of, last_word, waiting_for
from .listing import Job, accounted
from .submit import FORGOTTEN, jobs_of, owners_desk, todo

# A file that another host wrote may become visible this much later (NFS caches attributes).
FILE_LAG_S = 15.0
ENDED = ("success", "error", "cancelled", "interrupted")


@dataclass(frozen=True)
class Answer:
    """What Slurm said about the run's jobs; if it did not answer, `silent` says why."""

    jobs: dict[str, Job]
    at: float = 0.0
    silent: str = ""


def gather_jobs(run: RunDir, record: RunRecord) -> Evidence:
    """Everything that `derive_status` needs of a run on Slurm."""
    stages = todo(record)
    states = _states(run.afresh(), stages)
    submission = run.jobs() or JobsRecord()
    cancelled = run.cancel_file.exists()
    needed = bool(_open(stages, states)) or any(state and state.status == "interrupted" for state in states.values())
    answer = _ask(run, record, submission) if needed else Answer({})
    # Again: what ended while Slurm was asked has its word in the files by now, and this is what the answer remembers.
    states = _states(run, stages)
    evidence = {spec.name: _stage(run, record, spec, states, submission, answer) for spec in stages}
    active = any(not job.ended for job in answer.jobs.values())
    unsaid = bool(answer.silent) and bool(_open(stages, states, cancelled=cancelled))
    cut_off = not submission.complete and not submission.refused and not cancelled
    return Evidence(
        record=record,
        age_s=time.time() - record.created_at,
        supervisor="alive" if active or unsaid or (cut_off and needed) else "dead",
        cancel_requested=cancelled,
        remark=_last_seen(run, answer) if unsaid else "",
        stages=evidence,
    )


def _states(run: RunDir, stages: list[StageSpec]) -> dict[str, StageState | None]:
    return {spec.name: run.stage(spec.name).state() for spec in stages}


def _open(stages: list[StageSpec], states: dict[str, StageState | None], *, cancelled: bool = False) -> list[str]:
    """The stages that the files say too little about: not ended, and not behind one that failed.

    Of a cancelled run only the running ones: a job that starts later finds cancel.json and ends at once.
    """
    found, dead = [], set[str]()
    for spec in stages:
        status = state.status if (state := states[spec.name]) else "queued"
        if status in ("error", "cancelled", "interrupted") or dead.intersection(spec.needs):
            dead.add(spec.name)
        elif status == "running" or (status == "queued" and not cancelled):
            found.append(spec.name)
    return found


def _ask(run: RunDir, record: RunRecord, submission: JobsRecord) -> Answer:
    desk = owners_desk(run)
    written = run.engine_file.stat().st_mtime if run.engine_file.exists() else 0.0
    try:
        listing = desk.listing(newer_than=written)
    except SlurmSilent as error:
        earlier = jobs_of(run, record, desk.last) if desk.last else {}
        return Answer(earlier, desk.last.at if desk.last else 0.0, str(error))
    jobs = jobs_of(run, record, listing)
    missing = {name: id for name, id in submission.jobs.items() if name not in jobs and id != FORGOTTEN}
    past = accounted(missing.values()) if missing else {}
    return Answer({**jobs, **{name: past[id] for name, id in missing.items() if id in past}}, listing.at)


def _stage(
    run: RunDir,
    record: RunRecord,
    spec: StageSpec,
    states: dict[str, StageState | None],
    submission: JobsRecord,
    answer: Answer,
) -> StageEvidence:
    stage, state, job = run.stage(spec.name), states[spec.name], answer.jobs.get(spec.name)
    if answer.silent:
        return _unsaid(state, stage.outcome())
    first = not any(need in states for need in spec.needs)
    if first and state is None and (job is None or job.ended) and (never := _never(run, record)):
        return StageEvidence(never)
    if state is not None and state.status in ENDED and not _slurm_knows_better(state, job):
        return StageEvidence(state)
    if job is None:
        return _without_job(stage, state, spec.name in submission.jobs, submission.refused)
    if job.waits and not (state and state.started_at and state.started_at > answer.at):
        return StageEvidence(_queued(job, state, record.after if first else None))
    if not job.ended or _may_be_written_still(state, job):
        return StageEvidence(_begun(state), stage.outcome(), "alive")
    if job.state == "CANCELLED" and state is None and not _could_start(spec, states):
        return StageEvidence()  # Slurm cancels jobs that wait for a stage that failed
    return _ended(stage, state, job)


def _slurm_knows_better(state: StageState, job: Job | None) -> bool:
    """A stage that was killed: Slurm may have requeued its job, or knows what killed it."""
    return state.status == "interrupted" and job is not None and job.state != "FAILED"


def _may_be_written_still(state: StageState | None, job: Job) -> bool:
    begun = job.state in ("COMPLETED", "FAILED") or (state is not None and state.status == "running")
    return begun and (job.end or 0.0) > time.time() - FILE_LAG_S


def _never(run: RunDir, record: RunRecord) -> StageState | None:
    """How a run ended that never began, because the run that it follows did not succeed: Slurm cancels its jobs."""
    if record.after is None or run.cancel_file.exists():
        return None
    other = run.beside(record.after)
    its_record = other.record()
    waits = waits_for_other(record.after, derive_status(gather_jobs(other, its_record)) if its_record else None)
    return waits if waits is not None and waits.status != "queued" else None


def _queued(job: Job, state: StageState | None, after: str | None) -> StageState:
    earlier = state.waits_for if state is not None else None
    said = "; ".join(filter(None, (earlier, waiting_for(job, after))))
    return StageState(status="queued", attempt=state.attempt if state else 1, waits_for=said)


def _begun(state: StageState | None) -> StageState:
    return state if state is not None and state.status == "running" else StageState(status="running")


def _could_start(spec: StageSpec, states: dict[str, StageState | None]) -> bool:
    needs = [states[need] for need in spec.needs if need in states]
    return all(need is not None and need.status == "success" for need in needs)


def _unsaid(state: StageState | None, outcome: Outcome | None) -> StageEvidence:
    """Slurm does not answer, so the last known state is assumed to hold."""
    if state is None:
        return StageEvidence(StageState(status="queued"))
    return StageEvidence(state, outcome, "alive" if state.status == "running" else "dead")


def _without_job(stage: StageDir, state: StageState | None, submitted: bool, refused: str | None) -> StageEvidence:
    """Slurm knows no such job: it was not submitted, or it ended too long ago."""
    if refused and not submitted:
        remedy = "Correct the options and start the request again."
        failure = Failure(cause="Slurm refused the job", evidence=refused, remedy=remedy)
        return StageEvidence(StageState(status="error", failure=failure))
    if not submitted:
        return StageEvidence(StageState(status="queued", waits_for="its job is not submitted yet"))
    if state is not None and state.status == "running" and (why := last_word(stage.job_log)):
        return _ended(stage, state, Job("", why))
    return StageEvidence(state, stage.outcome(), "dead")


def _ended(stage: StageDir, state: StageState | None, job: Job) -> StageEvidence:
    outcome = stage.outcome()
    if outcome is not None and (outcome.ok or outcome.failure):
        return StageEvidence(_begun(state), outcome, "dead")
    status, failure = ending_of(job, last_words(read_end(stage.job_log, LOG_WINDOW)))
    return StageEvidence((state or StageState(status=status)).model_copy(update={"status": status, "failure": failure}))


def _last_seen(run: RunDir, answer: Answer) -> str:
    beats = [path.stat().st_mtime for path in (run.path / "stages").glob("*/heartbeat")]
    seen = max([*beats, answer.at])
    if not seen:
        return f"unknown: Slurm does not answer ({answer.silent}); nothing was seen of the run yet"
    when = datetime.fromtimestamp(seen, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    words = ", ".join(f"{name} {job.state}" for name, job in answer.jobs.items() if not job.ended)
    return f"unknown: Slurm does not answer ({answer.silent}); last seen {words or 'alive'} {when}"
