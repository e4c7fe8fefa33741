"""`python -P -m nnunet_mcp.worker.asks.inspection`: a LookJob in one line on stdin, Lines of JSON on stdout.

It ends when stdin ends, so that a server that is killed leaves nothing behind.
"""

import os
import sys
import threading

from ....schemas.datasets import LookJob, LookLine


def main() -> int:
    """Look at the cases, a few at a time."""
    # Image libraries print; only our lines may reach stdout.
    out = os.dup(1)
    os.dup2(2, 1)
    job = LookJob.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()

    def say(line: LookLine) -> None:
        os.write(out, line.model_dump_json(exclude_none=True).encode() + b"\n")

    from .cases import look_at

    look_at(job, say)
    return 0


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread that waits for stdin holds its lock
