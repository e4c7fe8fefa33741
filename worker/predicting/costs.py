"""What a prediction takes: how many processes the memory allows, and the pace that the next estimate rests on."""

import os
from collections.abc import Sequence

from ...nnunet.models import Model
from ...prediction_work import Memory, fitting_workers
from ...schemas.jobs import PredictStep
from ...schemas.outcomes import PredictionPace
from ...texts import clean
from ..resources import LANES_VARIABLE, usable_memory
from .checks import Seen

PREPARE, WRITE = "nnUNet_npp", "nnUNet_nps"
SHARE_OF_MEMORY = 0.9  # the rest is for the page cache and for what others start meanwhile


class Costs:
    """The costs of one model on the images that were looked at."""

    def __init__(self, model: Model, step: PredictStep, seen: Seen) -> None:
        self.step, self.shapes = step, seen.shapes
        self.network = network = model.network
        self.resampled: dict[str, tuple[int, ...]] = {}
        self.needs = ""  # in words, once the numbers of processes are known
        if network is not None:
            self.resampled = {case: network.resampled(seen.shapes[case], seen.spacings[case]) for case in seen.shapes}

    def fit_workers(self, cases: Sequence[str]) -> list[str]:
        """Lower the numbers of processes as far as the memory requires; returns what to say about it, in words."""
        images = {case: memory for case in cases if (memory := self._memory(case))}
        if not images:
            return []
        before = int(os.environ[PREPARE]), int(os.environ[WRITE])
        room = usable_memory().available * SHARE_OF_MEMORY / int(os.environ.get(LANES_VARIABLE, "1"))
        found = fitting_workers(list(images.values()), before, room)
        os.environ |= {PREPARE: str(found.prepare), WRITE: str(found.write)}
        largest = max(images, key=lambda case: images[case].predicts + images[case].writes)
        size = " × ".join(map(str, self.shapes[largest]))
        free = f"{room / 1e9:.1f} GB are free"
        self.needs = (
            f"With {found.prepare} + {found.write} processes that prepare and write, the prediction takes at most "
            f"{found.needed / 1e9:.1f} GB of memory; its largest image is {clean(largest)}, {size} voxels"
        )
        if found.needed > room:
            return [f"{self.needs}. Only {free}, so it may fail."]
        lowered = f"{self.needs}. {free} for {before[0]} + {before[1]} of them."
        return [lowered] if (found.prepare, found.write) != before else []

    def _memory(self, case: str) -> Memory | None:
        seen, step = self.resampled.get(case), self.step
        if self.network is None or seen is None:
            return None
        return self.network.memory(self.shapes[case], seen, npz=step.npz, uncertainty=step.uncertainty)

    def pace(self, cases: Sequence[str], seconds: float) -> PredictionPace | None:
        """How long so many passes of the network took, with all around them; None where their number is not known."""
        if self.network is None or not cases or not set(cases) <= set(self.resampled):
            return None
        step, network = self.step, self.network
        each = (network.passes(self.resampled[case], step.step_size, step.mirroring) for case in cases)
        return PredictionPace(cases=len(cases), passes=sum(each), seconds=seconds)
