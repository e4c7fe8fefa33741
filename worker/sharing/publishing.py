"""The files of an export get their names together or not at all; what a killed one left is removed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from ...errors import Refused
from ...files import publish_new
from ...runs.store import ended_run
from ...schemas.jobs import ExportJob
from ..stage import Job


def folder_beside(target: Path, run_id: str) -> Path:
    """Where a run writes everything first."""
    return target.with_name(f".{target.name}.{run_id}")


def publish(beside: Path, names: Sequence[str]) -> None:
    """Give the files in `beside` their names in the folder above it, in this order.

    Raises:
        Refused: somebody has taken one of the names since the request; none of the files is left there.
    """
    done: list[Path] = []
    for name in names:
        path = beside.parent / name
        try:
            publish_new(beside / name, path)
        except OSError as error:
            for ours in done:
                ours.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise Refused(f"{path} is there already, and nothing is overwritten. Choose another output.") from None
            raise
        done.append(path)


def remove_left(folder: Path, job: Job) -> None:
    """Remove what exports into this folder left in theirs when they were killed."""
    for left in folder.glob(".*.zip.*"):
        run_id = left.name.rpartition(".zip.")[2]
        record = ended_run(job.state, run_id)
        if record is None or not isinstance(record.job, ExportJob):
            continue
        if left == folder_beside(Path(record.job.output), run_id):
            shutil.rmtree(left, ignore_errors=True)
