"""The exit codes, for scripts."""

from enum import IntEnum

from ...errors import NotFound, RunError, Unavailable
from ...schemas.records import Status


class Code(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    NOT_FOUND = 3
    STOPPED = 4
    NOT_YET = 5
    UNAVAILABLE = 6
    BUG = 70
    CTRL_C = 130
    NOBODY_READS = 141


MEANING = {
    Code.DONE: "done as asked; the run is alive or has succeeded",
    Code.FAILED: "the run ended in an error; doctor: there is a problem",
    Code.REFUSED: "wrong usage, or a request that is refused",
    Code.NOT_FOUND: "no such run, stage, dataset or file",
    Code.STOPPED: "the run was cancelled or interrupted",
    Code.NOT_YET: "results: the run has not ended yet",
    Code.UNAVAILABLE: "the machine cannot do it now: no GPU, no space, no access",
    Code.BUG: "a bug in nnunet-mcp",
    Code.CTRL_C: "Ctrl-C or a termination; a run goes on",
    Code.NOBODY_READS: "nobody reads the output any more (| head)",
}

OF_STATUS: dict[Status, Code] = {"error": Code.FAILED, "cancelled": Code.STOPPED, "interrupted": Code.STOPPED}


def of_status(status: Status) -> Code:
    """The code for a command that was about a run."""
    return OF_STATUS.get(status, Code.DONE)


def of_error(error: RunError | OSError) -> Code:
    """The code for a request that was not carried out."""
    if isinstance(error, NotFound):
        return Code.NOT_FOUND
    return Code.UNAVAILABLE if isinstance(error, Unavailable | OSError) else Code.REFUSED


def epilog() -> str:
    """The table for --help."""
    return "exit codes:\n" + "\n".join(f"  {code:>3}  {text}" for code, text in MEANING.items())
