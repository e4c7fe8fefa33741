"""How long a usual epoch takes, from epochs that were not all trained alike."""

from nnunet_mcp.runs.pace import pace
from nnunet_mcp.schemas.records import Epoch


def epochs(*seconds: float, since: int = 0, restored: bool = False) -> list[Epoch]:
    unknown = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"))
    return [
        Epoch.model_validate({"epoch": number, **unknown, "seconds": value, "restored": restored})
        for number, value in enumerate(seconds, since)
    ]


def test_after_a_resume_on_slower_hardware_its_own_epochs_count_as_soon_as_one_is_warm() -> None:
    fast = epochs(*[30.0] * 60, restored=True)

    assert pace([*fast, *epochs(200.0, since=60)]) == 30.0, "the first epoch of a process tells little"
    assert pace([*fast, *epochs(200.0, 150.0, since=60)]) == 150.0


def test_before_anything_is_warm_the_first_epoch_counts() -> None:
    assert pace(epochs(200.0)) == 200.0
    assert pace([]) is None
