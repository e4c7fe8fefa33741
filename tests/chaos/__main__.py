"""`python -m tests.chaos --events 1000 --seed 7`: kill, cancel, resume, fill the disk; then check the invariants.

Real servers over stdio and real supervisors; the stages are played by `stand_in_worker.py`, so that one takes
a second; with --real every twentieth request is a real nnU-Net training. Prints one line a hundred events, and at
the end the counts. Exits with 1 where an invariant broke; the same seed makes the same choices.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from .storm import Storm

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true", help="some of the trainings are nnU-Net's own")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        counts = Storm(Path(folder), arguments.seed, real=arguments.real).rage(arguments.events)
    print(f"seed {arguments.seed}: {counts}", flush=True)
    sys.exit(1 if counts.broken else 0)
