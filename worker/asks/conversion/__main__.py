"""What is in files to import, and their conversion. It writes a line when it begins a file, and one when it is done."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ....ask import answer
from ....schemas.datasets import ConversionJob, ConversionLine, SourceFile, Writing
from ...resources import usable_cores
from .facts import facts_of
from .writing import write

THREADS = 4  # decompression, counting and ITK release Python's lock


def convert(job: ConversionJob, say: Callable[[ConversionLine], None]) -> None:
    """Look at the files, then write the others."""
    speaking = threading.Lock()
    allowed = [Path(folder) for folder in job.allowed]

    def tell(line: ConversionLine) -> None:
        with speaking:
            say(line)

    def look(number: int, file: SourceFile) -> None:
        tell(ConversionLine(begun=file.name))
        tell(ConversionLine(number=number, facts=facts_of(file, allowed)))

    def bring(number: int, writing: Writing) -> None:
        tell(ConversionLine(begun=writing.sources[0].name))
        tell(write(writing, Path(job.folder), allowed).model_copy(update={"number": number}))

    work = [partial(look, number, file) for number, file in enumerate(job.looks)]
    work += [partial(bring, number, writing) for number, writing in enumerate(job.writings)]
    with ThreadPoolExecutor(min(THREADS, usable_cores())) as pool:
        for _ in pool.map(lambda one: one(), work):
            pass


if __name__ == "__main__":
    sys.exit(answer(ConversionJob, convert))
