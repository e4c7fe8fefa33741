"""The call that helps where an error names what it is about: the rooms below know causes, not tools."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..calls import call
from ..errors import RunError

HELP = {
    "runs": f"{call('nnunet_runs')} lists them.",
}


@contextmanager
def helped() -> Iterator[None]:
    """Errors that pass get the sentence with the call that helps, once."""
    try:
        yield
    except RunError as error:
        if error.about:
            error.text, error.about = f"{error.text} {HELP[error.about]}", ""
        raise
