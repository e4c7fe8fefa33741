"""The commands of Slurm; only this module starts them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

# Longer than Slurm's own timeout for a controller that is down (10 s by default).
TIMEOUT_S = 25.0
NO_ANSWER = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (?:refused|timed out|reset)|connect failure|"
    r"zero bytes were transmitted|communication|temporarily unable|unexpected message|controller in standby",
    re.IGNORECASE,
)


class SlurmError(Exception):
    """Base: a command of Slurm gave no result; the text is Slurm's own."""


class SlurmSilent(SlurmError):
    """Slurm does not answer now. Nothing is known, and nothing may be concluded."""


class SlurmRefused(SlurmError):
    """Slurm answered with a refusal."""


def call(*command: str, cwd: Path | None = None, text: str | None = None) -> str:
    """The output of one command.

    Raises:
        SlurmSilent: the command is not there, or the controller does not answer.
        SlurmRefused: it said no.
    """
    if shutil.which(command[0]) is None:
        raise SlurmSilent(f"{command[0]} is not on this machine's PATH")
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            input=text or "",
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{command[0]} did not answer within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise SlurmSilent(f"{command[0]} could not be started: {error}") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"{command[0]} ended with exit code {done.returncode}"
        raise SlurmSilent(said) if NO_ANSWER.search(said) else SlurmRefused(said)
    return done.stdout + (done.stderr if "--test-only" in command else "")


def environment() -> dict[str, str]:
    """This process's environment without defaults that would change what these commands do or print."""
    theirs = ("SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return {**kept, "SLURM_TIME_FORMAT": "%s", "LC_ALL": "C"}


def sbatch(script: Path, dependency: str) -> str:
    """Submit a script from its own folder; returns the job's id."""
    after = [f"--dependency={dependency}"] if dependency else []
    answer = call("sbatch", "--parsable", *after, script.name, cwd=script.parent)
    return answer.strip().split(";")[0]  # jobid;cluster


def would_start(script: str) -> str:
    """What sbatch says about a script that it only tests: when and where it would start."""
    return " ".join(call("sbatch", "--test-only", text=script).split())


def scancel(jobs: list[str], *, only_pending: bool = False) -> None:
    """End jobs; those that have ended already are skipped."""
    if jobs:
        call("scancel", "--quiet", *(["--state=PENDING"] if only_pending else []), *jobs)


def move(jobs: list[str], action: str) -> None:
    """Let waiting jobs go first among their user's ("front"), keep them back ("hold"), or let them go ("release")."""
    if action == "front":
        for job in reversed(jobs):  # of several, only those like the first one would move
            call("scontrol", "top", job)
    elif jobs:
        word = "uhold" if action == "hold" else action  # so that its owner can release it, whoever holds it
        call("scontrol", word, ",".join(jobs))


def requeue(job: str) -> None:
    """Put a running job back into the queue; Slurm ends its processes."""
    call("scontrol", "requeue", job)
