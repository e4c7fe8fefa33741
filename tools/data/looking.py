"""The process that looks at images. It is started, read from, and ended by the call that needs it."""

import time
from collections.abc import Generator

from ...ask import Failed, NotStarted, TookTooLong, listen
from ...schemas.datasets import CaseLook, FileLook, LookJob, LookLine

LOOKER = "nnunet_mcp.worker.asks.inspection"
# The process looks at several cases at once, so each gets a single thread.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


class LookEnded(Exception):
    """The process ended too early; the text says why."""


def looks_of(job: LookJob, python: str, budget_s: float) -> Generator[CaseLook | None]:
    """Yield each case when it is done, and None when nothing came for a moment, until the time is up.

    If a case crashes its reader, it is reported, and a new process goes on with the others.

    Raises:
        LookEnded: the process cannot do its work.
    """
    deadline = time.monotonic() + budget_s
    left = {case.case: case for case in job.cases}
    suspects: list[str] = []  # cases that were being read during a crash; each is tried alone
    while left and time.monotonic() < deadline:
        batch = [suspects.pop()] if suspects else list(left)
        begun: set[str] = set()
        try:
            cases = tuple(left[name] for name in batch)
            asked, left_s = job.model_copy(update={"cases": cases}), deadline - time.monotonic()
            for line in listen(python, LOOKER, LookLine, asked, timeout_s=left_s, variables=ONE_THREAD):
                if line is None:
                    yield None
                    continue
                begun = (begun | {line.begun or ""}) - {"", line.done.case if line.done else ""}
                if line.done is not None:
                    left.pop(line.done.case, None)
                yield line.done
            left = {name: case for name, case in left.items() if name not in batch}
        except TookTooLong:
            return
        except NotStarted:
            raise LookEnded(f"{python} cannot be started") from None
        except Failed as error:
            if not begun:
                raise LookEnded(str(error)) from None
            suspects = sorted(begun) if len(batch) > 1 and len(begun) > 1 else suspects
            if len(batch) == 1 or len(begun) == 1:
                case = left.pop(batch[0] if len(batch) == 1 else begun.pop())
                reason = FileLook(error=f"the image library crashed ({error})", passing=True)
                yield CaseLook(case=case.case, images=tuple(reason for _ in case.images))
