"""Cancel a run's jobs."""

import contextlib
import time

from ...schemas.records import JobsRecord, RunRecord
from ..layout import RunDir
from .commands import SlurmError, scancel
from .listing import Job, Listing
from .submit import owners_desk, todo


def cancel_jobs(run: RunDir, record: RunRecord, *, gracefully: bool) -> None:
    """End the jobs; gracefully: only those that wait, because those that run obey cancel.json.

    Where Slurm does not answer, a job that starts later finds cancel.json and ends at once.
    """
    with contextlib.suppress(SlurmError):
        jobs = jobs_of(run, record, owners_desk(run).listing(newer_than=time.time()))
        scancel([job.id for job in jobs.values() if not job.ended], only_pending=gracefully)


def jobs_of(run: RunDir, record: RunRecord, listing: Listing) -> dict[str, Job]:
    """What Slurm says about the run's stages: by the ids written down, else by the stages' folders."""
    ids = (run.jobs() or JobsRecord()).jobs
    found = {
        spec.name: listing.jobs.get(ids.get(spec.name, "")) or listing.in_folder(run.stage(spec.name).path)
        for spec in todo(record)
    }
    return {name: job for name, job in found.items() if job is not None}
