"""nnU-Net's own trainers and presets in a line each: what it changes, when it helps, where it is written.

Sources are files of nnunetv2 2.8.1 below training/nnUNetTrainer/ where nothing else is said. Where nnU-Net says nothing
of when it helps, the line says what is done.
"""

import re
from collections.abc import Collection, Iterable, Iterator

from ...schemas.changes.table import CHANGES
from ...schemas.changes.words import explained
from ..trainers import classes_in, made_trainer_folder, nnunet_trainers, own_trainers

# Patterns of class names; the first that matches counts.
TRAINERS = {
    r"nnUNetTrainer": "the default: 1000 epochs of 250 steps, SGD 0.01, Dice and cross-entropy, mirroring along all "
    "axes (nnUNetTrainer.py)",
    r"nnUNetTrainer_\d+epochs?": "so many epochs; fewer for a quick look, more for large data "
    "(variants/training_length)",
    r"nnUNetTrainer_\d+epochs_NoMirroring": "so many epochs, no mirroring (variants/training_length)",
    r"nnUNetTrainerNoMirroring": "no mirroring, also when it predicts: for left and right as labels of their own; "
    "predicts up to 8 times as fast (variants/data_augmentation)",
    r"nnUNetTrainer_onlyMirror01\w*": "mirrors along the first two axes of the patch only, e.g. where the third tells "
    "left from right; the ending says what else (variants/data_augmentation, variants/competitions)",
    r"nnUNetTrainerNoDA": "no augmentation, no mirroring when it predicts (variants/data_augmentation)",
    r"nnUNetTrainerDA5\w*": "stronger augmentation, for small data or images of other scanners "
    "(variants/data_augmentation/nnUNetTrainerDA5.py)",
    r"nnUNetTrainer_DASegOrd0\w*": "labels are rotated by nearest neighbour, quicker where there are many classes "
    "(variants/data_augmentation/nnUNetTrainerDAOrd0.py)",
    r"nnUNetTrainer_noDummy2DDA": "rotates in 3D even where patches are strongly anisotropic "
    "(variants/data_augmentation)",
    r"nnUNetTrainerDiceLoss": "Dice alone, for class imbalance; also for regions (variants/loss)",
    r"nnUNetTrainerDiceCELoss_noSmooth": "the default loss without smoothing: classes that many cases lack "
    "(variants/loss)",
    r"nnUNetTrainerCELoss\w*": "cross-entropy alone (variants/loss)",
    r"nnUNetTrainerTopk10Loss\w*": "cross-entropy of the hardest 10 % of voxels; LS01 with label smoothing "
    "(variants/loss)",
    r"nnUNetTrainerDiceTopK10Loss": "Dice and the hardest 10 % of voxels: small or hard structures (variants/loss)",
    r"nnUNetTrainer_probabilisticOversampling\w*": "each patch is a foreground one by chance, not a fixed part of the "
    "batch; the ending is the probability (variants/sampling)",
    r"nnUNetTrainer(Vanilla)?Adam\w*": "AdamW, or Adam (Vanilla); 1en3 is initial_lr=0.001, no ending 0.01, "
    "nnU-Net's for SGD (variants/optimizer)",
    r"nnUNetTrainerAdan\w*": "Adan; needs adan-pytorch. 1en1 does not converge, says nnU-Net (variants/optimizer)",
    r"nnUNetTrainerCosAnneal": "the learning rate falls as a cosine (variants/lr_schedule)",
    r"nnUNetTrainer_warmup": "50 epochs in which the learning rate rises: for pretrained weights "
    "(variants/lr_schedule)",
    r"nnUNetTrainerNoDeepSupervision": "the loss sees only the full resolution (variants/network_architecture)",
    r"nnUNetTrainerBN": "batch norm in place of instance norm, for large batches (variants/network_architecture)",
    r"nnUNetTrainerBenchmark\w*": "5 epochs to time a GPU; no model (variants/benchmarking)",
    r"nnUNet_\w+": "Primus, a transformer, from S to L; nnUNet_Trainer_BS8 only has a batch of 8 "
    "(primus/primus_trainers.py, arXiv 2503.01835)",
}
# nnunetv2 2.8.1, documentation/resenc_presets.md; GPU memory and hours on an A100 as in arXiv 2404.09556, table 2.
PRESETS = (
    "nnUNetPlans: the default U-Net, 7.7 GB, 9 h",
    "nnUNetResEncUNetMPlans: residual encoder, 9 to 11 GB, 12 h; nnU-Net's advice for new data on a small GPU",
    "nnUNetResEncUNetLPlans: 23 GB, 35 h; nnU-Net's advice where it fits",
    "nnUNetResEncUNetXLPlans: 37 GB, 66 h; gains on large data only",
)


def choices(python: str, asked: Collection[str]) -> list[str]:
    """What an experiment can choose from, as far as it is asked: a name of `changes`, trainer, plans_identifier; "" for
    all names and the presets."""
    lines = [f"change {line}" for name, line in explained(CHANGES).items() if name in asked or "" in asked]
    if "trainer" in asked:
        lines += [f"trainer {line}" for line in _in_groups(_public(nnunet_trainers(python)))]
        for names, whose in (
            (own_trainers(), "your own"),
            (classes_in(made_trainer_folder()), "made here for changes"),
        ):
            lines += [f"trainer {', '.join(found)}: {whose}"] if (found := _public(names)) else []
    if {"plans_identifier", ""} & set(asked):
        lines += [f"plans_identifier {line}" for line in PRESETS]
    return lines


def _public(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith(("_", "Abstract")))


def _in_groups(names: list[str]) -> Iterator[str]:
    """The names of each line together; a class that we do not know is told without one."""
    for pattern, line in TRAINERS.items():
        if found := [name for name in names if re.fullmatch(pattern, name) and _first(name) == pattern]:
            yield f"{', '.join(found)}: {line}"
    yield from (name for name in names if _first(name) is None)


def _first(name: str) -> str | None:
    return next((pattern for pattern in TRAINERS if re.fullmatch(pattern, name)), None)
