"""`TrainingRequest` is the parameter table of `nnunet_training`.

The tool's JSON schema, the table in the README and the Python function's signature all come from it.
"""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)

from .base import Request, RunId
from .changes.table import ASK, CHANGES, in_words, read_changes
from .slurm import EngineName, gpus_asked, parse_option, parse_options

CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
Device = Literal["cuda", "cpu", "mps"]

DATASET_NAME = re.compile(r"(?:Dataset)?0*(?P<id>\d{1,3})(?P<name>_[A-Za-z0-9_.-]*)?")


class NamedId(int):
    """A dataset id that was given as a folder name; the name must match the folder on disk."""

    name: str


def parse_dataset_id(value: object) -> object:
    """Read 50, "50", "050", "Dataset050" and "Dataset050_Name" as 50; leave the rest to pydantic.

    >>> parse_dataset_id("Dataset050_Prostate")
    50
    """
    if isinstance(value, bool):  # pydantic would read true as 1
        raise ValueError("a dataset ID is a number, 1-999")
    match = DATASET_NAME.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(match["id"]) if match else value


def _with_name(value: object, validate: ValidatorFunctionWrapHandler) -> int:
    number: int = validate(parse_dataset_id(value))
    if isinstance(value, NamedId):  # it was validated before
        return value
    match = DATASET_NAME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match["name"] is None:
        return number
    named = NamedId(number)
    named.name = f"Dataset{number:03d}{match['name']}"
    return named


FOLD = re.compile(r"0|[1-9]\d{0,2}|all|full", re.ASCII)


def parse_fold(value: object) -> object:
    """Read a number as a text."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_fold(value: str) -> str:
    """A fold's number, which only the dataset's split can judge, "all" or "full"."""
    if FOLD.fullmatch(value):
        return value
    raise ValueError("it is the number of a fold (0-4 in nnU-Net's own split), all or full")


# In nnU-Net, a configuration with another batch size or patch inherits from one of the four (nnunetv2 2.8.1,
# documentation/resenc_presets.md).
INHERITING = re.compile(r"(2d|3d_fullres)_[A-Za-z0-9_]+", re.ASCII)


def check_configuration(value: str) -> str:
    """One of nnU-Net's four configurations, or the name of one in the user's plans that inherits from them."""
    if value in CONFIGURATIONS or INHERITING.fullmatch(value):
        return value
    raise ValueError(
        f"it is one of {', '.join(CONFIGURATIONS)}, or one that your plans define and that inherits, named for example "
        "3d_fullres_bs10"
    )


Fold = Annotated[str, BeforeValidator(parse_fold), AfterValidator(check_fold)]
Configuration = Annotated[
    str,
    Field(max_length=60),
    AfterValidator(check_configuration),
    WithJsonSchema({"type": "string"}),
]
# Folder names are accepted too, so the schema has no bounds; the validator checks them and says what is wrong.
DatasetId = Annotated[int, Field(ge=1, le=999), WrapValidator(_with_name), WithJsonSchema({"type": "integer"})]
ClassName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=120)]
PlansName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=120)]


# On one line, for lists and tables; answers leave out what is invisible in it.
Note = Annotated[str, Field(max_length=500), AfterValidator(lambda words: " ".join(words.split()))]


class TrainingRequest(Request):
    """One training: which dataset, configuration and fold, and how.

    Raises:
        ValidationError: a value out of range, an unknown name, or two parameters that exclude each
            other; the message says the way out.
    """

    dataset_id: DatasetId = Field(description="1-999, from nnunet_datasets.")
    configuration: Configuration = Field(
        default="3d_fullres",
        description="3d_fullres for most 3D; 2d for 2D, strongly anisotropic ones, small GPUs; 3d_lowres, "
        "3d_cascade_fullres for very large images; or one of your plans.",
    )
    fold: Fold = Field(
        default="all",
        description="0-4 or more: one. all: each, then a result over all cases. full: one model of every case; "
        "optimistic metrics.",
    )
    trainer: ClassName | None = Field(
        default=None, description="Class of nnU-Net or nnUNet_extTrainer. Omitted: nnUNetTrainer (1000 epochs)."
    )
    plans_identifier: PlansName | None = Field(
        default=None,
        description="nnUNetResEncUNetMPlans, ...LPlans, ...XLPlans (residual encoders), or your own. Omitted: "
        "nnUNetPlans.",
    )
    changes: tuple[Annotated[str, Field(max_length=80)], ...] = Field(
        default=(),
        max_length=40,
        description=f"Such as epochs=250: {', '.join(CHANGES)}. "
        f'nnunet_preflight explains ["{ASK}"], ["loss={ASK}"], ["trainer={ASK}"].',
    )
    num_gpus: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None,
        description="Several split the batch (cuda only). Omitted: 1.",
    )
    device: Device | None = Field(default=None, description="Omitted: cuda if there is one, else mps, else cpu.")
    pretrained_weights: str | None = Field(
        default=None,
        max_length=4096,
        description="Checkpoint (.pth) to start from. Omitted: none.",
    )
    continue_training: bool = Field(
        default=False,
        description="Go on from the latest checkpoint.",
    )
    validation_only: bool = Field(default=False, description="Validate a finished training.")
    val_best: bool = Field(
        default=False,
        description="Validate with checkpoint_best.",
    )
    disable_checkpointing: bool = Field(
        default=False,
        description="Write no checkpoints: no resume, no prediction.",
    )
    npz: bool = Field(
        default=False,
        description="Save probabilities, for ensembling.",
    )
    use_compressed: bool = Field(
        default=False,
        description="Without effect.",
    )
    verify_dataset_integrity: bool = Field(default=True, description="Check every case first.")
    no_preprocessing: bool = Field(default=False, description="Use the preprocessed data as they are.")
    bf16: bool = Field(
        default=False,
        description="On CPUs with bfloat16: about half the time.",
    )
    overwrite: bool = Field(
        default=False,
        description="Train again; the old model stays until the end.",
    )
    note: Note | None = Field(default=None, description="Why this run. Omitted: none.")
    after: RunId | None = Field(default=None, description="Run that must succeed first. Omitted: none.")
    engine: EngineName | None = Field(default=None, description="Omitted: the server's setting.")
    slurm: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        default=(),
        max_length=14,
        description="partition=gpu, time=24:00:00, account, qos, gres, cpus, memory, constraint, parallel.",
    )

    @field_validator("slurm")
    @classmethod
    def _known_options(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            parse_option(word)
        return words

    @field_validator("changes")
    @classmethod
    def _known_changes(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return in_words(read_changes(words)) if words else ()

    @model_validator(mode="after")
    def _reject_contradictions(self) -> "TrainingRequest":
        if found := contradictions(self):
            raise ValueError("\n- ".join(found))
        return self


EXCLUDE_EACH_OTHER = (
    (
        "continue_training",
        "pretrained_weights",
        "a resumed training already has its weights. Leave one out.",
    ),
    (
        "continue_training",
        "validation_only",
        "use continue_training to finish the training and validate it, or validation_only for a finished one.",
    ),
    (
        "continue_training",
        "overwrite",
        "use continue_training to go on, or overwrite to start again from scratch.",
    ),
    (
        "continue_training",
        "disable_checkpointing",
        "nnU-Net would delete the checkpoint and save no new one. Leave disable_checkpointing out.",
    ),
    (
        "overwrite",
        "disable_checkpointing",
        "the old model would go and no new one would come. Leave one out.",
    ),
    (
        "validation_only",
        "pretrained_weights",
        "the validation uses the fold's own checkpoint. Leave pretrained_weights out.",
    ),
    (
        "validation_only",
        "overwrite",
        "a validation never overwrites the model. Leave overwrite out.",
    ),
    (
        "validation_only",
        "disable_checkpointing",
        "a validation writes no checkpoint. Leave disable_checkpointing out.",
    ),
    (
        "val_best",
        "disable_checkpointing",
        "without checkpoints there is no best one. Leave one out.",
    ),
)


def go_together(one: str, other: str, fold: object) -> bool:
    """Of all folds, those that have begun go on, and the others begin with the pretrained weights."""
    return fold == "all" and {one, other} == {"continue_training", "pretrained_weights"}


def contradictions(request: TrainingRequest) -> list[str]:
    """Every pair of parameters that exclude each other, with what to do instead."""
    found = [
        f"{one} and {other} exclude each other: {way_out}"
        for one, other, way_out in EXCLUDE_EACH_OTHER
        if getattr(request, one) and getattr(request, other) and not go_together(one, other, request.fold)
    ]
    if (request.num_gpus or 1) > 1 and request.device in ("cpu", "mps"):
        found.append(
            f"num_gpus={request.num_gpus} and device={request.device!r} exclude each other: several GPUs need "
            'device="cuda". Use num_gpus=1, or device="cuda".'
        )
    if request.bf16 and request.device in ("cuda", "mps"):
        found.append(
            f"bf16 and device={request.device!r} exclude each other: bf16 is for trainings on the CPU. Leave bf16 out; "
            "on an NVIDIA GPU nnU-Net trains in mixed precision by itself."
        )
    asked = gpus_asked(parse_options(request.slurm)) if request.slurm else None
    used = request.num_gpus or 1
    if asked not in (None, used) and request.device != "cpu":
        found.append(
            f"slurm asks for {asked} GPU(s) and num_gpus={used} uses {used}: a job gets the GPUs that its training "
            'uses. Say how many with num_gpus, and in slurm only the type, e.g. "gres=gpu:a100".'
        )
    return found


class TrainingCall(TrainingRequest):
    """The request of a training: its parameters, or those of an earlier run with changes."""

    like: RunId | None = Field(
        default=None,
        description="Run to repeat; arguments given here replace its own. Omitted: none.",
    )
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=120)] | None = Field(
        default=None,
        description="New name; the same call again finds its run. Omitted: none.",
    )
