"""Slurm's states in this project's vocabulary, each with what to do about it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ...calls import argument
from ...files import open_plain
from ...schemas.records import Failure, Status
from ..failures.diagnosis import LOG_WINDOW
from .listing import Job

GO_ON = "The run can go on from where it was."


@dataclass(frozen=True)
class Word:
    """What it means if a job ends in one of Slurm's states."""

    status: Status
    cause: str
    remedy: str
    resume: bool = True  # whether the run can be resumed after the remedy


WORDS = {
    "COMPLETED": Word("interrupted", "its job ended without a word about the stage", GO_ON),
    "FAILED": Word(
        "error",
        "its job failed and the stage left no word",
        "Read the end of job.log, which the evidence shows. Python, the package and all folders must be reachable "
        "from the nodes; NNUNET_MCP_SLURM_SETUP can load what they need.",
        resume=False,
    ),
    "TIMEOUT": Word(
        "interrupted",
        "Slurm ended the job at its time limit",
        f"Give it more time, e.g. {argument(slurm=['time=24:00:00'])}.",
    ),
    "DEADLINE": Word("interrupted", "Slurm ended the job at its deadline", GO_ON),
    "CANCELLED": Word("cancelled", "the job was cancelled outside, with scancel or by an administrator", GO_ON),
    "OUT_OF_MEMORY": Word(
        "error",
        "the job needed more memory than it was given",
        f"Ask for more, e.g. {argument(slurm=['memory=64G'])}.",
    ),
    "NODE_FAIL": Word("interrupted", "the job's node failed and Slurm did not start it again", GO_ON),
    "BOOT_FAIL": Word("interrupted", "the job's node could not boot", GO_ON),
    "PREEMPTED": Word("interrupted", "another job took its place and Slurm did not start it again", GO_ON),
    "REVOKED": Word("interrupted", "the job was withdrawn", GO_ON),
}
UNKNOWN = Word("interrupted", "Slurm ended the job", GO_ON)


# slurmstepd 22.05 writes "*** JOB 1 ON node1 CANCELLED AT 2026-11-23T23:03:30 DUE TO JOB REQUEUE ***".
LAST_WORD = re.compile(r"\*\*\* (?:JOB|STEP) \S+ ON \S+ CANCELLED AT \S+(?: DUE TO (?P<why>[A-Z ]+?))? \*\*\*")
SAID = {
    None: "CANCELLED",
    "TIME LIMIT": "TIMEOUT",
    "PREEMPTION": "PREEMPTED",
    "JOB REQUEUE": "PREEMPTED",
    "NODE FAILURE": "NODE_FAIL",
}


def last_word(log: Path, *, since: int = 0) -> str | None:
    """The state that Slurm wrote into a job's log when it ended it, or None."""
    try:
        with open_plain(log) as stream:
            stream.seek(max(since, stream.seek(0, 2) - LOG_WINDOW))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    found = [match["why"] for match in LAST_WORD.finditer(text)]
    return SAID.get(found[-1], "ENDED") if found else None


def ending_of(job: Job, log_end: str) -> tuple[Status, Failure]:
    """The status and the cause of a stage whose job ended in this state before it could record anything."""
    word = WORDS.get(job.state, UNKNOWN)
    said = f"job {job.id} is {job.state}" + (f" ({job.reason})" if job.reason not in ("", "None") else "")
    evidence = f"{said}: {log_end}" if log_end else said
    failure = Failure(cause=word.cause, evidence=evidence, remedy=word.remedy, resume=word.resume)
    return word.status, failure


# The most frequent reasons: https://slurm.schedmd.com/job_reason_codes.html
REASONS = {
    "Priority": "jobs with a higher priority are in front",
    "Resources": "no node is free for it",
    "Dependency": "the stages before it are not done",
    "BeginTime": "it was requeued and may start in a moment",
    "JobHeldUser": "it is held",
    "JobHeldAdmin": "an administrator holds it",
    "ReqNodeNotAvail": "the nodes it needs are down or reserved",
    "PartitionTimeLimit": "its time is longer than the partition allows: cancel, and start with less",
    "PartitionDown": "the partition is down",
    "QOSMaxJobsPerUserLimit": "you have as many jobs running as the QOS allows",
    "AssocGrpGRES": "the account has all its GPUs in use",
    "AssocMaxJobsLimit": "the account has as many jobs running as it may",
}


def waiting_for(job: Job, after: str | None = None) -> str:
    """Why a job waits: Slurm's own word, and what it means. `after`: the run that it follows."""
    meaning = REASONS.get(job.reason)
    if job.reason == "Dependency" and after is not None:
        meaning = f"it waits until run {after} has succeeded"
    return f"job {job.id} is {job.state} ({job.reason})" + (f": {meaning}" if meaning else "")
