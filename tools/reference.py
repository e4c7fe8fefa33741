"""What the documents show of `runs/`: the failures that are recognised, and the tree of a run's folder."""

from collections.abc import Iterator

from ..runs import layout
from ..runs.failures.diagnosis import CONSEQUENCE, SIGNATURES


def failures() -> Iterator[tuple[str, str, str]]:
    """Name, cause and remedy of every failure that is recognised in a log."""
    for found in (*SIGNATURES, CONSEQUENCE):
        yield found.name, found.cause, f"{found.remedy} Then resume the run." if found.resume else found.remedy


def run_folder_tree() -> str:
    """The tree in the docstring of runs/layout.py."""
    return (layout.__doc__ or "").split("\n\n", 1)[1].strip()
