"""Start a run and, beside it, the processes that tell others of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from ...errors import RunError
from ...files import RIGHTS, make_folder
from ...launch import inherited, python_command
from ...locks import Lock
from ...runs.engines import engine_of
from ...runs.layout import TARGETS, RunDir, StateDir
from ...runs.store import newest_runs
from ...schemas.records import RunRecord
from ...settings import Settings
from .targets import handed_over, trackers

FOLLOWER = "nnunet_mcp.tools.following"
DETACHED = "nnunet_mcp.detached"
# Runs that a server looks at when it starts; a look takes a fraction of a millisecond.
RECENT = 100
# It takes a fraction of a second; a disk that hangs must not keep the answer.
DETACHING_S = 20


def start(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Start the run on its engine, then its followers, which can only fail by themselves.

    Raises:
        RunError: the run could not be started.
    """
    wanted = list(_wanted(record, settings))
    # A server that dies before the followers are there leaves these for the next one.
    with suppress(OSError):
        for target in wanted:
            make_folder(run.told_dir)
            run.told_lock(target).touch(RIGHTS)
    try:
        engine_of(record).start(run, record, settings)
    except RunError:
        for target in wanted:
            run.told_lock(target).unlink(missing_ok=True)
        raise
    for target in wanted:
        _follow(run, target, settings)


def follow_again(settings: Settings) -> None:
    """Start the followers anew that did not come to their end, as after a restart of the machine."""
    for run in newest_runs(StateDir.of(settings), limit=RECENT):
        for target in TARGETS if run.told_dir.is_dir() else ():
            if run.told_lock(target).exists() and Lock(run.told_lock(target)).is_free():
                record = run.record()
                if record is not None and _is_ours(record) and target in _wanted(record, settings):
                    _follow(run, target, settings)


def _is_ours(record: RunRecord) -> bool:
    """Whether it runs here or on the cluster, and not on another host that has the same state folder."""
    engine = engine_of(record)
    return engine.works_here(record) or not engine.is_here


def _wanted(record: RunRecord, settings: Settings) -> Iterator[str]:
    if settings.notify is not None:
        yield "notify"
    if settings.track is not None and record.training is not None:
        yield from trackers(settings)


def _follow(run: RunDir, target: str, settings: Settings) -> None:
    command = python_command(sys.executable, FOLLOWER, str(run.path), target)
    with suppress(OSError, RunError, subprocess.TimeoutExpired):
        subprocess.run(
            python_command(sys.executable, DETACHED, *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=run.path,
            env=_environment(target, settings),
            start_new_session=True,
            check=False,
            timeout=DETACHING_S,
        )


def _environment(target: str, settings: Settings) -> dict[str, str]:
    """What a follower needs: of the secrets, those of its own target."""
    of_mlflow = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    return {
        **inherited(settings.hand_on),
        **settings.environment,
        **handed_over(settings, target),
        **(of_mlflow if target == "mlflow" else {}),
    }
