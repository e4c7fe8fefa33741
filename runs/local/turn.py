"""What keeps a run out of the queue for slots: people hold it, or the run that it follows has not succeeded yet."""

import time
from dataclasses import dataclass, field

from ...schemas.records import QueueRecord, RunRecord, StageState
from ..engines import verdict
from ..layout import RunDir
from ..status import HELD, waits_for_other

# The other run may be on a cluster, or on a disk of the network.
LOOK_EVERY_S = 1.0


@dataclass
class Turn:
    """The run's turn, as its supervisor sees it."""

    run: RunDir
    record: RunRecord
    wish: QueueRecord = field(default_factory=QueueRecord)
    _waits: StageState | None = None
    _looked_at: float | None = None

    def look(self, *, begun: bool) -> StageState | None:
        """What the stages that could start come to instead; None if nothing keeps them back. A run that has begun
        follows no other any more.

        Raises:
            OSError: the disk does not tell.
        """
        self.wish = self.run.queue()
        if begun:
            self._waits = None
        elif self._looked_at is None or (self._waits and time.monotonic() - self._looked_at >= LOOK_EVERY_S):
            self._waits, self._looked_at = self._other_run(), time.monotonic()
        if self.wish.held and (self._waits is None or self._waits.status == "queued"):
            return StageState(status="queued", waits_for=f"{HELD}, until somebody releases it")
        return self._waits

    def _other_run(self) -> StageState | None:
        if (after := self.record.after) is None:
            return None
        other = self.run.beside(after)
        record = other.record()
        return waits_for_other(after, verdict(other, record) if record is not None else None)
