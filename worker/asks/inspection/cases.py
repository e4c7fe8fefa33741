"""Look at the cases of a job, some at a time. Threads suffice: decompression and counting release Python's lock."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ....schemas.datasets import CaseLook, CasePaths, LookJob, LookLine, Reader
from ...resources import usable_cores
from .images import look_at_image, look_at_label
from .together import together

THREADS = 4


def look_at(job: LookJob, say: Callable[[LookLine], None]) -> None:
    """Report each case when it is begun, and when it is done with what was found."""
    speaking = threading.Lock()

    def tell(line: LookLine) -> None:
        with speaking:
            say(line)

    def one(case: CasePaths) -> None:
        tell(LookLine(begun=case.case))
        tell(LookLine(done=look_at_case(case, job.reader)))

    with ThreadPoolExecutor(min(THREADS, usable_cores())) as pool:
        for _ in pool.map(one, job.cases):
            pass


def look_at_case(case: CasePaths, reader: Reader | None) -> CaseLook:
    """Read every file of a case once."""
    images = tuple(look_at_image(Path(path), reader) for path in case.images)
    label = look_at_label(Path(case.label), reader) if case.label is not None else None
    found = CaseLook(case=case.case, images=images, label=label)
    return found.model_copy(update=together(images, label)) if label is not None else found
