"""The name of a model folder of nnU-Net, which says how the model was trained."""

import re
from typing import NamedTuple


class ModelName(NamedTuple):
    """`TRAINER__PLANS__CONFIGURATION`, taken apart.

    >>> ModelName.parse("nnUNetTrainer__nnUNetPlans__3d_fullres").configuration
    '3d_fullres'
    >>> ModelName.parse("PretrainedTrainer__ptPlans__MAE____Norm__Z__3d_fullres").plans
    'ptPlans__MAE____Norm__Z'
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
        trainer, rest = folder.split("__", 1)
        plans, configuration = rest.rsplit("__", 1)
        return cls(trainer, plans, configuration)

    @classmethod
    def fits(cls, folder: str) -> bool:
        """Whether a folder can be a model's: a class, plans under any name, and a configuration.

        >>> [ModelName.fits(name) for name in ("A__p__q____r__3d_fullres", "A__2d", "A b__p__2d")]
        [True, False, False]
        """
        if folder.count("__") < 2:
            return False
        trainer, plans, configuration = cls.parse(folder)
        word = "_" + re.sub("[.-]", "", configuration)  # 2d begins with a digit
        return trainer.isidentifier() and bool(plans) and word.isidentifier()

    def __str__(self) -> str:
        return "__".join(self)
