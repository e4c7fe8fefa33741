"""The local engine: start a run's supervisor so that nothing that happens to the caller reaches it."""

import os
import subprocess
import sys
import time

from .errors import Unavailable
from .layout import RunDir
from .settings import Settings

SUPERVISOR = "nnunet_mcp.runs.supervisor"


def start_supervisor(run: RunDir, settings: Settings) -> None:
    """Start the run's supervisor in a session of its own and return at once.

    The process started here forks and ends, so the supervisor is nobody's child: clients that kill the
    server's process group, session or tree do not find it, and it leaves no zombie in the server.

    Raises:
        Unavailable: the process could not be started.
    """
    environment = {**os.environ, **nnunet_environment(settings)}
    with run.supervisor_log.open("ab") as log:
        try:
            launcher = subprocess.Popen(
                [sys.executable, "-m", SUPERVISOR, str(run.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=run.path,
                env=environment,
                start_new_session=True,
            )
            launcher.wait(timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"The supervisor of run {run.run_id} could not be started: {error}") from error


def nnunet_environment(settings: Settings) -> dict[str, str]:
    """The variables that nnU-Net and our own processes read, as absolute paths."""
    return {
        "nnUNet_raw": str(settings.folder("raw")),
        "nnUNet_preprocessed": str(settings.folder("preprocessed")),
        "nnUNet_results": str(settings.folder("results")),
        "NNUNET_MCP_HOME": str(settings.state_dir),
    }


def wait_until_started(run: RunDir, *, timeout_s: float = 10.0) -> None:
    """Wait for the supervisor's first sign of life, for callers that want to see it."""
    deadline = time.monotonic() + timeout_s
    while not run.engine_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
