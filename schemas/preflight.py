"""What a training would need and cost: request, answer, and the question to nnU-Net about it."""

from typing import Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator

from .base import Record
from .changes.table import ASK, QUESTIONS
from .progress import StageLine
from .training import TrainingCall


class Hours(Record):
    """How long it will take, as a range, and what the estimate is based on."""

    expected: float
    low: float
    high: float
    basis: str


class Room(Record):
    """What a run writes to a folder, and what is free there."""

    folder: str
    needed_gb: float
    free_gb: float


class NetworkCost(Record):
    """The planned network against this device."""

    patch_size: tuple[int, ...]
    batch_size: int
    parameters: int
    gpu_memory_gb: float = Field(description="nnU-Net's planner's estimate for a GPU.")
    measured_gpu_memory_gb: float | None = Field(default=None, description="What measure=true saw it take.")
    device_memory_gb: float | None = Field(
        description="Free on the GPU that would be taken; all of it while it is used."
    )
    fits: bool | None = Field(description="Left out on a CPU, where nnU-Net has no estimate.")
    fit: Literal["fits", "tight", "no"] | None = Field(
        default=None, description="tight: the estimate fits, but not with what CUDA and fragmentation take besides."
    )


class Recommendation(Record):
    """A recommended configuration, with reasons from the dataset's own figures."""

    configuration: str
    reasons: tuple[str, ...]


class PreflightAnswer(Record):
    """What would happen if this request were started now."""

    possible: bool
    problems: tuple[str, ...] = Field(description="Every reason found why it would be refused or fail.")
    dataset_name: str | None
    device: str | None
    device_reason: str = Field(default="", description="Why it would train there.")
    stages: tuple[StageLine, ...] = Field(description="queued: would run. success: would be reused.")
    disk: tuple[Room, ...]
    network: NetworkCost | None = Field(description="Left out until there are plans, or all images were looked at.")
    plans_ahead: dict[str, str] = Field(
        default_factory=dict, description="Per preset what nnU-Net will plan: patch, batch, GPU memory."
    )
    hours: Hours | None = Field(description="Left out where nothing was measured here.")
    hours_other_precision: Hours | None = Field(
        default=None, description="On a CPU with bfloat16: the hours with bf16 the other way round."
    )
    queue: tuple[str, ...] = Field(description="Who is in front, for each slot that it needs.")
    job_scripts: tuple[str, ...] = ()
    recommended: Recommendation | None
    choices: tuple[str, ...] = Field(
        default=(), description='With "?", "loss=?", "trainer=?" and so on in changes: what there is to choose from.'
    )
    notes: tuple[str, ...] = ()
    next_step: str


class PreflightRequest(TrainingCall):
    """Look at a training before it starts."""

    measure: bool = Field(
        default=False,
        description="Also time the network, on a CPU in both precisions. Needs plans.",
    )

    @field_validator("changes", mode="wrap")
    @classmethod
    def _or_a_question(cls, words: object, validate: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
        given = list(words) if isinstance(words, list | tuple) else []
        asked = [one for one in given if one in QUESTIONS]
        known: tuple[str, ...] = validate([one for one in given if one not in asked] if asked else words)
        return (*known, *asked)

    @property
    def asks(self) -> tuple[str, ...]:
        """What it asks about: a name that can be changed, trainer, plans_identifier, or "" for all names."""
        return tuple(one.removesuffix(ASK).removesuffix("=") for one in self.changes if one in QUESTIONS)

    def training(self) -> TrainingCall:
        """The request that would be started."""
        given = self.model_dump(exclude={"measure"}, exclude_unset=True)
        if self.asks:
            given["changes"] = tuple(one for one in self.changes if one not in QUESTIONS)
        return TrainingCall.model_validate(given)


class PlanAhead(Record):
    """Plans that are not there yet: they are made aside, from the fingerprint that is."""

    raw: str
    fingerprint: str
    dataset_name: str
    planner: str
    base: str
    changes: dict[str, str]


class EstimateJob(Record):
    """Which planned network, and whether to run it for a few iterations."""

    plans_file: str = Field(description="Empty before there are plans: then the trainer alone is made.")
    dataset_json: str
    configuration: str
    trainer: str
    made_trainer: str = Field(default="", description="The file of a trainer that is not written yet.")
    plan_ahead: PlanAhead | None = None
    device: str
    bf16: bool = False
    both: bool = Field(default=False, description="Measure the other precision as well.")
    measure_s: float | None = Field(default=None, description="Measure iterations for at most about this long.")
    limit_s: int = Field(default=600, description="The process ends itself after this time.")


class Estimate(Record):
    """nnU-Net's own estimate of the memory, the network's size, and measured iterations if there are any."""

    patch_size: tuple[int, ...]
    batch_size: int
    parameters: int
    gpu_memory_gb: float = Field(description="nnU-Net's planner's estimate for training on a GPU, in GB.")
    epochs: int
    iterations: int = Field(description="Training iterations per epoch.")
    validation_iterations: int
    initial_lr: float | None = None
    train_s: tuple[float, ...] = Field(default=(), description="Seconds of each measured training iteration.")
    validation_s: tuple[float, ...] = ()
    other_train_s: tuple[float, ...] = Field(default=(), description="The same in the other precision.")
    other_validation_s: tuple[float, ...] = ()
    load: float | None = Field(default=None, description="Load average of the machine before it was measured.")
    peak_gb: float | None = Field(default=None, description="Memory of the GPU that the measured iterations took.")
    out_of_memory: str | None = Field(default=None, description="What PyTorch said where the GPU has too little.")
    note: str | None = Field(default=None, description="What is to be said of how it was measured.")


class LookedAt(Record):
    """What nnU-Net's planners have to know of a dataset. Shapes and spacings run along z, y, x, a case each."""

    dataset_name: str
    description: dict[str, Any] = Field(description="dataset.json as nnU-Net reads it.")
    shapes: tuple[tuple[int, ...], ...] = Field(description="Cropped to what is not zero.")
    spacings: tuple[tuple[float, ...], ...]
    relative_size: float = Field(description="Median share of an image that is left after cropping.")


class PlannersAhead(Record):
    """Which planners to ask: those of the presets, or the one that plans with changes."""

    planners: dict[str, str] = Field(description="Plans identifier to planner class.")
    base: str = Field(default="", description="The preset that is changed.")
    changes: dict[str, str] = Field(default_factory=dict, description="What is planned differently.")


class PlansAheadJob(PlannersAhead):
    """What to plan. The images are in a file: those of thousands of cases fit on no command line."""

    images_file: str = Field(description="A LookedAt.")
    limit_s: int = Field(default=600, description="The process ends itself after this time.")


class ConfigurationAhead(Record):
    """A configuration as it will be planned; lengths in the order of the plans."""

    patch_size: tuple[int, ...]
    batch_size: int
    median_shape: tuple[float, ...]
    spacing: tuple[float, ...]
    parameters: int
    gpu_memory_gb: float


class PlansAhead(Record):
    """Per plans identifier the configurations that nnU-Net will plan."""

    plans: dict[str, dict[str, ConfigurationAhead]]
