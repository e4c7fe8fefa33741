"""The name of a model folder of nnU-Net, which says how the model was trained."""

from typing import NamedTuple


class ModelName(NamedTuple):
    """`TRAINER__PLANS__CONFIGURATION`, taken apart.

    >>> ModelName.parse("nnUNetTrainer__nnUNetPlans__3d_fullres").configuration
    '3d_fullres'
    """

    trainer: str
    plans: str
    configuration: str

    @classmethod
    def parse(cls, folder: str) -> "ModelName":
        """Read the name of a folder.

        Raises:
            ValueError: nnU-Net gives no model folder such a name.
        """
        trainer, plans, configuration = folder.split("__", 2)
        return cls(trainer, plans, configuration)

    def __str__(self) -> str:
        return "__".join(self)
