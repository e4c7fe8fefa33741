"""Where a report lies: among the dataset's results or where it was asked for, never in the place of another file."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...errors import Refused
from ...files import make_folder, write_new
from ...nnunet.output_paths import REPORTS, chosen_output, same_output
from ...schemas.models import ReportRequest
from ...settings import Settings
from .page import ENDINGS
from .subjects import Subject

MOST_NAMES = 999  # files under one name of our own


def place_of(request: ReportRequest, subjects: Sequence[Subject], settings: Settings) -> Path:
    """Where the file is to lie; a name of our own may still get a number.

    Raises:
        Refused: it cannot lie there, or is there already.
    """
    models, first = [subject.model for subject in subjects], subjects[0]
    if request.output is None:
        more = f"_and_{len(subjects) - 1}_more" if len(subjects) > 1 else ""
        name = f"{first.record.run_id}{more}{ENDINGS[request.format or 'html'][0]}"
        return chosen_output(settings, str(first.files.results / REPORTS / name), models)
    output = chosen_output(settings, request.output, models)
    endings = ENDINGS[request.format] if request.format else tuple(one for both in ENDINGS.values() for one in both)
    if output.suffix.lower() not in endings:
        raise Refused(f"output {request.output!r} does not end with {' or '.join(endings)}. Give it such a name.")
    if output.exists() or output.is_symlink():
        raise _taken(output)
    return output


def _taken(output: Path) -> Refused:
    return Refused(f"{output} is there already, and nothing is overwritten. Choose another output.")


def put(target: Path, text: str, request: ReportRequest, subjects: Sequence[Subject], settings: Settings) -> Path:
    """Write the file; beside an earlier report under a name of our own, with a number. Returns where it is.

    Raises:
        Refused: something has come there since, or it leads elsewhere by now.
    """
    same_output(settings, target, [subject.model for subject in subjects])
    make_folder(target.parent)
    for number in range(1, 2 if request.output is not None else MOST_NAMES):
        path = target if number == 1 else target.with_name(f"{target.stem}_{number}{target.suffix}")
        with suppress(FileExistsError):
            write_new(path, text)
            return path
    raise _taken(target)
