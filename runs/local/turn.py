"""What keeps a run out of the queue for slots: people hold it, or the run that it follows has not succeeded yet."""

import time
from dataclasses import dataclass, field

from ...schemas.records import QueueRecord, RunRecord, StageState
from ..engines import engine_of
from ..layout import RunDir
from ..status import HELD, derive_status, lost_as, waits_for_other

# The other run may be on a cluster, or on a disk of the network.
LOOK_EVERY_S = 1.0
# A run of another host seems interrupted while its disk hangs or its clock is behind, and one on Slurm before its job
# is requeued, which Slurm then holds for two minutes.
LOST_AFTER_S = 600.0


@dataclass
class Turn:
    """The run's turn, as its supervisor sees it."""

    run: RunDir
    record: RunRecord
    wish: QueueRecord = field(default_factory=QueueRecord)
    _waits: StageState | None = None
    _looked_at: float | None = None
    _lost_since: float | None = None

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
        if (record := other.record()) is None:
            return waits_for_other(after, None)
        engine = engine_of(record)
        evidence = engine.evidence(other, record)
        judged = derive_status(evidence)
        seems_lost = lost_as(judged) == "interrupted" and not (engine.is_here and evidence.supervisor == "dead")
        self._lost_since = (self._lost_since or time.monotonic()) if seems_lost else None
        certain = self._lost_since is None or time.monotonic() - self._lost_since >= LOST_AFTER_S
        return waits_for_other(after, judged, certain=certain)
