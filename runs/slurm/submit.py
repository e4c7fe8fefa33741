"""Submit a run's jobs such that a kill in between neither loses a job nor submits it twice.

The scripts and an empty engine.json are written first; then each job's id is recorded as soon as it is known. After a
kill, a job without a recorded id is found by its working directory, which is the folder of its stage.
"""

import contextlib
import os
import time
from collections.abc import Iterator

from ...errors import Refused
from ...files import write_model, write_text
from ...locks import Lock
from ...schemas.records import ACTIVE, JobsRecord, RunRecord, StageSpec
from ...settings import Settings
from ..layout import RunDir, StageDir
from .commands import SlurmError, SlurmRefused, SlurmSilent, sbatch, scancel
from .listing import Desk, Job, Listing, desk_of
from .script import job_script

# Stands for the id of a job that has run but that Slurm has forgotten.
FORGOTTEN = "0"


def submit(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Submit the jobs that are not submitted yet. If Slurm does not answer, the next call goes on.

    Raises:
        SlurmRefused: sbatch refuses one; those before it are cancelled.
    """
    with contextlib.suppress(SlurmSilent), _only_one(run) as chosen:
        if chosen:
            _write_scripts(run, record, settings)
            _submit_missing(run, record)


def go_on_submitting(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Finish a submission that was cut off, if the run belongs to this user and Slurm answers."""
    jobs = run.jobs() or JobsRecord()
    if jobs.complete or jobs.refused or run.cancel_file.exists() or run.path.stat().st_uid != os.getuid():
        return
    try:
        submit(run, record, settings)
    except (SlurmRefused, Refused) as error:
        jobs = run.jobs() or JobsRecord()
        write_model(run.engine_file, jobs.model_copy(update={"refused": str(error)}))


@contextlib.contextmanager
def _only_one(run: RunDir) -> Iterator[bool]:
    lock = Lock(run.submit_lock)
    try:
        yield lock.try_acquire()
    finally:
        lock.release()


def todo(record: RunRecord) -> list[StageSpec]:
    """The stages that become jobs."""
    return [spec for spec in record.stages if not spec.reused]


def _write_scripts(run: RunDir, record: RunRecord, settings: Settings) -> None:
    for spec in todo(record):
        path = run.stage(spec.name).script_file
        if not path.exists():
            write_text(path, job_script(run, record, spec, settings))


def _submit_missing(run: RunDir, record: RunRecord) -> None:
    earlier = run.jobs()
    seen = owners_desk(run).listing(newer_than=time.time()) if earlier is not None else None
    jobs = dict(earlier.jobs) if earlier is not None else {}
    write_model(run.engine_file, JobsRecord(jobs=jobs))
    try:
        for spec in todo(record):
            if spec.name not in jobs:
                found = _found(run.stage(spec.name), seen) if seen is not None else None
                jobs[spec.name] = found or sbatch(run.stage(spec.name).script_file, dependency(run, record, spec, jobs))
                write_model(run.engine_file, JobsRecord(jobs=jobs))
    except SlurmRefused:
        with contextlib.suppress(SlurmError):
            scancel(list(jobs.values()))
        raise
    write_model(run.engine_file, JobsRecord(jobs=jobs, complete=True))


def _found(stage: StageDir, seen: Listing) -> str | None:
    """The job of a stage whose id was not recorded: Slurm knows it, or it has left its log."""
    job = seen.in_folder(stage.path)
    return job.id if job else FORGOTTEN if stage.job_log.exists() else None


def owners_desk(run: RunDir) -> Desk:
    """Where to ask about the run's jobs: they belong to the owner of the run, whoever asks."""
    try:
        return desk_of(run.path.owner())
    except KeyError:  # this user id has no name
        return desk_of(str(run.path.stat().st_uid))


def jobs_of(run: RunDir, record: RunRecord, listing: Listing) -> dict[str, Job]:
    """What Slurm says about the run's stages, by the recorded ids, else by the stages' folders."""
    ids = (run.jobs() or JobsRecord()).jobs
    found = {
        spec.name: listing.jobs.get(ids.get(spec.name, "")) or listing.in_folder(run.stage(spec.name).path)
        for spec in todo(record)
    }
    return {name: job for name, job in found.items() if job is not None}


def dependency(run: RunDir, record: RunRecord, spec: StageSpec, jobs: dict[str, str]) -> str:
    """Which jobs must be over before this one may start, as sbatch writes it."""
    needed = [jobs[need] for need in spec.needs if need in jobs and not _succeeded(run, need)]
    lane = _in_front(record, spec)
    needed = needed or _of_the_run_before(run, record)
    conditions = [":".join(["afterok", *needed])] if needed else []
    return ",".join([*conditions, *([f"afterany:{jobs[lane]}"] if lane in jobs else [])])


def _of_the_run_before(run: RunDir, record: RunRecord) -> list[str]:
    """The jobs of the run that it follows, without those that have succeeded: none where that run is not on the cluster
    at all. Slurm cancels what follows a failed one.

    Raises:
        SlurmSilent: they are not submitted yet.
        SlurmRefused: they never will be.
    """
    if record.after is None:
        return []
    other = run.beside(record.after)
    jobs, its_record = other.jobs() or JobsRecord(), other.record()
    if its_record is None or jobs.refused:
        raise SlurmRefused(f"run {record.after}, which it follows, is gone or was refused")
    left = [spec.name for spec in todo(its_record) if not _succeeded(other, spec.name)]
    if left and not jobs.complete:
        raise SlurmSilent(f"the jobs of run {record.after} are not submitted yet")
    return [jobs.jobs[name] for name in left if jobs.jobs[name] != FORGOTTEN]


def _succeeded(run: RunDir, stage: str) -> bool:
    """By the word of its parent, or by the worker's own where the parent was killed before it could write."""
    state = run.stage(stage).state()
    if state is not None and state.status not in ACTIVE:
        return state.status == "success"
    outcome = run.stage(stage).outcome()
    return outcome is not None and outcome.ok


def _in_front(record: RunRecord, spec: StageSpec) -> str | None:
    """With parallel=N there are N lanes; in each, one training follows the other. So a training waits for the one N
    places ahead."""
    parallel = int(record.slurm.get("parallel", 0))
    alike = [s.name for s in todo(record) if s.kind == spec.kind and s.configuration == spec.configuration]
    place = alike.index(spec.name)
    return alike[place - parallel] if parallel and place >= parallel else None
