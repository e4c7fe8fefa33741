"""The table of all that `changes` can change, with how nnU-Net is told.

A row is the whole of a name: the schema's text, the documents, the checks, the generated trainer and the derived plans
all come from it. Sources: nnunetv2 2.8.1, training/nnUNetTrainer/ and experiment_planning/experiment_planners/.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .values import SWITCH, Axes, Choice, Gigabytes, Number, PerAxis, PerChannel, Values
from .words import in_words as in_words, read_words

ASK = "?"
UNDO = "default"  # takes a change of the run that `like` names away

# As names of channels, by which nnU-Net chooses (map_channel_name_to_normalization.py).
NORMALIZATIONS = PerChannel(
    {"ct": "CT", "zscore": "zscore", "none": "noNorm", "rescale_0_1": "rescale_to_0_1", "rgb": "rgb_to_0_1"}
)
# nnUNetTrainer.py:476; as nnUNetTrainerNoMirroring and nnUNetTrainer_onlyMirror01 do it. The axes are kept in the
# checkpoint, so a prediction mirrors along the same ones.
MIRRORING = """
    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self):
        rotation, dummy_2d, initial_patch, _ = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        self.inference_allowed_mirroring_axes = {value}
        return rotation, dummy_2d, initial_patch, {value}
"""
# Before the network gets its weights (nnUNetTrainer.py:207). Ranks of DDP differ, or all would draw the same patches.
SEED = """
    def initialize(self):
        seed = {value} + self.local_rank
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        super().initialize()
"""


@dataclass(frozen=True)
class Change:
    """A name: its values, what it means, how it is told in a name, and where it goes in nnU-Net."""

    name: str
    values: Values
    meaning: str
    word: str
    sets: str = ""  # attribute of the trainer
    takes: str = ""  # method of the trainer, taken from the class of nnU-Net that the value stands for
    adds: str = ""  # method of the trainer, as text
    imports: tuple[str, ...] = ()
    changes_data: bool = False  # the cases are preprocessed differently

    @property
    def of_plans(self) -> bool:
        """Whether nnU-Net's planner does it; everything else is the trainer's."""
        return not (self.sets or self.takes or self.adds)


CHANGES = {
    row.name: row
    for row in (
        Change("epochs", Number("1", "100000", whole=True), "Epochs. nnU-Net: 1000.", "{}epochs", sets="num_epochs"),
        Change(
            "iterations",
            Number("1", "100000", whole=True),
            "Training steps of an epoch. nnU-Net: 250.",
            "{}it",
            sets="num_iterations_per_epoch",
        ),
        Change(
            "val_iterations",
            Number("1", "10000", whole=True),
            "Steps of an epoch that estimate the Dice. nnU-Net: 50.",
            "{}valit",
            sets="num_val_iterations_per_epoch",
        ),
        Change(
            "initial_lr",
            Number("0", "1", above=True),
            "Learning rate at the start. nnU-Net: 0.01 for sgd; its trainers with adam use 0.001 and 0.0003.",
            "lr{}",
            sets="initial_lr",
        ),
        Change("weight_decay", Number("0", "1"), "Weight decay. nnU-Net: 3e-5.", "wd{}", sets="weight_decay"),
        Change(
            "optimizer",
            Choice(
                {
                    "sgd": "nnUNetTrainer",
                    "sgd_cosine": "nnUNetTrainerCosAnneal",
                    "adamw": "nnUNetTrainerAdam",
                    "adam": "nnUNetTrainerVanillaAdam",
                    "adan": "nnUNetTrainerAdan",
                    "adan_cosine": "nnUNetTrainerAdanCosAnneal",
                }
            ),
            "nnU-Net's optimizers; the learning rate falls polynomially, with _cosine as a cosine. adan needs "
            "adan-pytorch. nnU-Net: sgd.",
            "{}",
            takes="configure_optimizers",
        ),
        Change(
            "loss",
            Choice(
                {
                    "dice_ce": "nnUNetTrainer",
                    "dice_ce_nosmooth": "nnUNetTrainerDiceCELoss_noSmooth",
                    "dice": "nnUNetTrainerDiceLoss",
                    "ce": "nnUNetTrainerCELoss",
                    "topk": "nnUNetTrainerTopk10Loss",
                    "topk_ls": "nnUNetTrainerTopk10LossLS01",
                    "dice_topk": "nnUNetTrainerDiceTopK10Loss",
                }
            ),
            "nnU-Net's losses: topk is cross-entropy of the hardest 10 % of voxels, _ls with label smoothing, "
            "_nosmooth for structures that are often missing. Regions take only those with dice, not dice_topk. "
            "nnU-Net: dice_ce.",
            "{}",
            takes="_build_loss",
        ),
        Change(
            "mirroring",
            Axes(),
            "Axes that augmentation and prediction mirror along, in the order of patch_size. none where left and right "
            "are different labels. nnU-Net: all.",
            "{}",
            adds=MIRRORING,
        ),
        Change(
            "oversample_foreground",
            Number("0", "1"),
            "Share of patches that are sure to have foreground; more for small structures. nnU-Net: 0.33.",
            "fg{}",
            sets="oversample_foreground_percent",
        ),
        Change(
            "deep_supervision",
            SWITCH,
            "off: the loss sees only the full resolution. nnU-Net: on.",
            "DeepSupervision{}",
            sets="enable_deep_supervision",
        ),
        Change(
            "seed",
            Number("0", "1000000000", whole=True),
            "Fixes the first weights. With nnUNet_n_proc_DA=0 on a CPU also the patches, and so every loss; not with "
            "loader processes, nor on a GPU. nnU-Net: none.",
            "seed{}",
            adds=SEED,
            imports=("random", "numpy as np"),
        ),
        Change(
            "batch_size", Number("1", "1000", whole=True), "Patches of a step, in every configuration.", "bs{}",
        ),
        Change(
            "patch_size",
            PerAxis(Number("1", "2048", whole=True), (2, 3), "96x96x64"),
            "Voxels along each axis, in the order of the plans. The network is planned for it, and the batch where "
            "batch_size says none. Two numbers are for 2d, three for the others.",
            "patch{}",
        ),
        Change(
            "spacing",
            PerAxis(Gigabytes("0", "1000", above=True), (3,), "3x1x1"),
            "Spacing in mm to which images are resampled, in the order of nnUNetv2_plan_experiment's "
            "-overwrite_target_spacing (the slices' first). nnU-Net: the median.",
            "spacing{}",
            changes_data=True,
        ),
        Change(
            "gpu_memory_target",
            Gigabytes("0.1", "1000"),
            "GB of GPU memory for which patch and batch are planned. nnU-Net: 8; ...LPlans 24, ...XLPlans 40.",
            "{}GB",
        ),
        Change(
            "normalization",
            NORMALIZATIONS,
            "How intensities are normalized. nnU-Net: by the name of the channel.",
            "norm-{}",
            changes_data=True,
        ),
    )
}  # fmt: skip
# In `changes` of a preflight: what are the values of this name, or which trainers and plans are there?
QUESTIONS = (ASK, *(f"{name}={ASK}" for name in (*CHANGES, "trainer", "plans_identifier")))


def read_changes(words: Iterable[str]) -> dict[str, str]:
    """The values by name, in the order of the table and in one spelling.

    Raises:
        ValueError: an unknown name, a wrong value, or a name that is given twice; it says what there is.
    """
    return read_words(words, CHANGES, "is nothing that can be changed", also=UNDO)


def written(changes: Mapping[str, str]) -> tuple[str, ...]:
    """The changes as words again, without those that are undone."""
    return in_words({name: value for name, value in changes.items() if value != UNDO})


def of_trainer(changes: Mapping[str, str]) -> dict[str, str]:
    """Those that the trainer carries out."""
    return {name: value for name, value in changes.items() if not CHANGES[name].of_plans}


def of_plans(changes: Mapping[str, str]) -> dict[str, str]:
    """Those that nnU-Net's planner carries out."""
    return {name: value for name, value in changes.items() if CHANGES[name].of_plans}


def told_in_a_name(base: str, changes: Mapping[str, str]) -> str:
    """A name that tells the changes: other changes have another one.

    >>> told_in_a_name("nnUNetTrainer", {"epochs": "250", "initial_lr": "0.003"})
    'nnUNetTrainer_250epochs_lr3en3'
    """
    rows = [(CHANGES[name], value) for name, value in changes.items()]
    return "_".join([base, *(row.word.format(row.values.word(value)) for row, value in rows)])
