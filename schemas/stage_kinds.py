"""The kinds of stages: this table holds all that depends on the kind, apart from the work itself.

A new kind is a line here and a module in `worker/steps/`; the tool that plans it names it in a `StageSpec`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StageKind:
    """What the supervisor, Slurm, the progress and the worker need to know about a kind."""

    step: str  # the module in worker/steps whose carry_out does it
    weight: float  # share of a run's work, for the percentage only; the ETA is measured
    # "device": the run's GPUs, or the one place on the CPU. "preprocess": the one place for preprocessing. None: the
    # stage takes only a moment, so it waits for nothing and has no estimate of hours.
    slot: Literal["device", "preprocess"] | None = None
    trains: bool = False  # it trains in epochs and can resume from their checkpoints
    of_fold: bool = False  # it works on one fold and leaves metrics there; several can run side by side
    preprocesses: bool = False
    pools: Literal["augment", "predict"] | None = None  # which pools of nnU-Net run in it
    # Where an interrupted stage continues when it is started again: at its newest checkpoint, with the cases that are
    # not done, or from the start.
    goes_on: Literal["checkpoint", "cases", "anew"] = "anew"

    @property
    def only_validates(self) -> bool:
        """Whether it measures a model that is trained already."""
        return self.of_fold and not self.trains


STAGE_KINDS = {
    "preprocess": StageKind(step="preprocess", weight=0.01, slot="preprocess", preprocesses=True),
    "train": StageKind(
        step="train", weight=1.0, slot="device", trains=True, of_fold=True, pools="augment", goes_on="checkpoint"
    ),
    "validate": StageKind(step="train", weight=0.05, slot="device", of_fold=True),
    "cross_validation": StageKind(step="cross_validation", weight=0.01),
    "predict": StageKind(step="predict", weight=1.0, slot="device", pools="predict", goes_on="cases"),
    "combine": StageKind(step="combine", weight=0.2),
    "find_best": StageKind(step="find_best", weight=1.0, slot="preprocess"),
    "evaluate": StageKind(step="evaluate", weight=1.0, slot="preprocess"),
    "export": StageKind(step="export", weight=1.0),
    "import_model": StageKind(step="import_model", weight=1.0),
}
