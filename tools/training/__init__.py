"""Trainings: start one, or look at one before it starts."""

from ...schemas.preflight import PreflightAnswer, PreflightRequest
from ...schemas.run_list import TrainingStarted
from ...schemas.training import TrainingCall
from ..tool import Command, Tool

TOOLS = (
    Tool(
        "nnunet_training",
        "Train an nnU-Net model",
        "replaces",
        TrainingCall,
        TrainingStarted,
        "Preprocess and train in the background; gives a run_id.",
        "training.training:nnunet_training",
        Command(
            "train",
            "start a training in the background",
            ("dataset_id",),
            "follow the run to its end, then show its result; Ctrl-C ends the watching, never the run",
        ),
    ),
    Tool(
        "nnunet_preflight",
        "Look ahead",
        "reads",
        PreflightRequest,
        PreflightAnswer,
        "What nnunet_training would do with the same arguments: problems, disk, memory, hours, queue, recommended "
        "configuration.",
        "training.preflight:nnunet_preflight",
        Command("preflight", "say what a training would do and cost, without starting it", ("dataset_id",)),
        described_by=TrainingCall,
        unlisted=(
            "validation_only",
            "val_best",
            "disable_checkpointing",
            "npz",
            "use_compressed",
            "verify_dataset_integrity",
            "no_preprocessing",
            "overwrite",
            "continue_training",
            "pretrained_weights",
            "engine",
            "slurm",
            "note",
            "after",
            "request_id",
        ),
    ),
)
