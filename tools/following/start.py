"""Start a run and, beside it, the processes that tell others of it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

from ...launch import inherited, python_command
from ...runs.engines import engine_of
from ...runs.layout import RunDir
from ...schemas.records import RunRecord
from ...settings import Settings
from .targets import trackers

FOLLOWER = "nnunet_mcp.tools.following"
# The shell ends at once, so the process is no child of the server: a client that kills the server's process tree does
# not reach it, and it leaves no zombie.
DETACHED = ("/bin/sh", "-c", '"$@" &', "sh")


def start(run: RunDir, record: RunRecord, settings: Settings) -> None:
    """Start the run on its engine, then its followers, which can only fail by themselves.

    Raises:
        RunError: the run could not be started.
    """
    engine_of(record).start(run, record, settings)
    for target in _wanted(record, settings):
        with suppress(OSError):
            subprocess.run(
                [*DETACHED, *python_command(sys.executable, FOLLOWER, str(run.path), target)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=run.path,
                env=_environment(target, settings),
                start_new_session=True,
                check=False,
            )


def _wanted(record: RunRecord, settings: Settings) -> Iterator[str]:
    if settings.notify is not None:
        yield "notify"
    if record.training is not None:
        yield from trackers(settings)


def _environment(target: str, settings: Settings) -> dict[str, str]:
    """What a follower needs: of the secrets, those of its own target."""
    secrets = {"NNUNET_MCP_NOTIFY": settings.notify} if target == "notify" else {"NNUNET_MCP_TRACK": settings.track}
    own = {name: value.get_secret_value() for name, value in secrets.items() if value is not None}
    of_mlflow = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    return {
        **inherited(settings.hand_on),
        **settings.environment,
        **own,
        **(of_mlflow if target == "mlflow" else {}),
    }
