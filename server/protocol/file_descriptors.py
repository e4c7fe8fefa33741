"""How a server survives a shortage of file descriptors, on stdio and on HTTP."""

import logging
import resource
from contextlib import suppress


def raise_file_limit() -> None:
    """Let this process open as many files as the system permits it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def log_plainly() -> None:
    """Log without rich, which imports its modules for tracebacks only when one occurs.

    If no file descriptor is free then, the import fails, and with it the event loop that wanted to log.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("uvicorn.access").addFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    """Remove the query string from the access log: it may be a token."""
    if isinstance(record.args, tuple):
        record.args = tuple(part.split("?", 1)[0] if isinstance(part, str) else part for part in record.args)
    return True
