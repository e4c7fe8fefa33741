"""What is in the images of a dataset. It writes a line when it begins a case, and one when the case is done."""

import sys

from ....ask import answer
from ....schemas.datasets import LookJob
from .cases import look_at


def main() -> int:
    """Look at the cases, a few at a time."""
    return answer(LookJob, look_at)


if __name__ == "__main__":
    sys.exit(main())
