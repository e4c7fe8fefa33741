"""Where a tool may write what it was asked for: in the allowed folders, but not among data, plans and records."""

import os
from pathlib import Path

from ..runs.errors import Refused
from ..runs.settings import Settings
from .paths import refuse_outside


def chosen_output(settings: Settings, given: str) -> Path:
    """The output that was asked for, with links resolved; it need not exist.

    Raises:
        Refused: it lies outside the allowed folders, or where raw data, preprocessed data or runs are kept.
    """
    output = refuse_outside(settings, given, what="output")
    for forbidden in (settings.folder("raw"), settings.folder("preprocessed"), settings.state_dir):
        if output.is_relative_to(os.path.realpath(forbidden)):
            raise Refused(f"output {str(output)!r} lies in {forbidden}, which nothing is written to. Choose another.")
    return output
