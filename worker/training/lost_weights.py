"""A training whose loss is not a number any more: when its weights are gone for good, and what is said of it."""

from ..stage import StageFailure

# Losses that are not numbers for this many epochs in a row do not come back: the weights are gone.
NAN_EPOCHS = 3


def nan_failure(since: int) -> StageFailure:
    """The failure of a training whose loss is not a number since an epoch."""
    return StageFailure(
        "the training loss is not a number (NaN)",
        f"train_loss is NaN since epoch {since}",
        "Check the images for NaN, infinite or constant values and the channel names (they decide the "
        "normalisation); a trainer with a lower learning rate can help.",
    )
