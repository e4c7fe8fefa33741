"""The supervisor: one small process per run that starts its stages, watches them and writes down how they end.

    python -P -m nnunet_mcp.runs.local.supervisor <run directory>

It imports neither torch nor nnU-Net, belongs to no terminal and no server, and is the only writer of
engine.json, state.json and result.json.
"""

import os
import sys


def main() -> None:
    """Detach from the parent, then carry out the run."""
    if os.fork():
        os._exit(0)
    from .supervise import Supervision

    Supervision.of(sys.argv[1]).carry_out()


if __name__ == "__main__":
    main()
