"""The kinds of stages: everything that differs from kind to kind, and is not the work itself, stands in this table.

A new kind is a line here and a module in `worker/steps/`; the tool that plans it names it in a `StageSpec`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StageKind:
    """What the supervisor, Slurm, the percentage, the hours and the worker have to know of a kind."""

    step: str  # the module in worker/steps whose carry_out does it
    weight: float  # rough share of a run's time, for the percentage only; the ETA is measured
    # "device": the run's GPUs, or the CPU's one place. "preprocess": as many processes as a preprocessing has. None:
    # it needs no more than a moment, so it waits for nothing and no hours are given for it.
    slot: Literal["device", "preprocess"] | None = None
    trains: bool = False  # in epochs, whose checkpoints it can go on from
    of_fold: bool = False  # works on one fold's model and leaves its metrics there; several can run side by side
    preprocesses: bool = False
    pools: Literal["augment", "predict"] | None = None  # which processes of nnU-Net's work beside it
    # What a stage that was cut off does when it is started again: from its newest checkpoint, with the cases that
    # are not done yet, or everything anew.
    goes_on: Literal["checkpoint", "cases", "anew"] = "anew"

    @property
    def only_validates(self) -> bool:
        """Whether it measures a model that is trained already."""
        return self.of_fold and not self.trains


STAGE_KINDS = {
    "preprocess": StageKind(step="preprocess", weight=0.1, slot="preprocess", preprocesses=True),
    "train": StageKind(
        step="train", weight=1.0, slot="device", trains=True, of_fold=True, pools="augment", goes_on="checkpoint"
    ),
    "validate": StageKind(step="train", weight=0.2, slot="device", of_fold=True),
    "cross_validation": StageKind(step="cross_validation", weight=0.05),
    "predict": StageKind(step="predict", weight=1.0, slot="device", pools="predict", goes_on="cases"),
    "combine": StageKind(step="combine", weight=0.2),
    "find_best": StageKind(step="find_best", weight=1.0, slot="preprocess"),
    "export": StageKind(step="export", weight=1.0),
    "import_model": StageKind(step="import_model", weight=1.0),
}
