"""When a loss that is not a number means that the weights are lost, and the failure for that."""

from ...schemas.records import HIGHEST_RATE, USUAL_RATE
from ..stage import StageFailure


def nan_failure(since: int, rate: float | None) -> StageFailure:
    """The failure of a training whose loss is not a number since epoch `since`, counted from 0."""
    told = f"; the learning rate is {rate:.3g}, nnU-Net's usual is {USUAL_RATE}" if rate else ""
    first = f"Lower the trainer's initial_lr to about {USUAL_RATE}. " if (rate or 0.0) > HIGHEST_RATE else ""
    return StageFailure(
        "the training loss is not a number (NaN)",
        f"train_loss is NaN since epoch {since + 1}{told}",
        f"{first}Check the images for NaN, infinite or constant values and the channel names (they decide the "
        "normalisation)" + ("." if first else "; a trainer with a lower learning rate can help."),
    )
