"""Trainings: start one, or look at one before it starts."""

from ...schemas.preflight import PreflightAnswer, PreflightRequest
from ...schemas.run_list import TrainingStarted
from ...schemas.training import TrainingCall, TrainingRequest
from ..tool import Command, Tool

TOOLS = (
    Tool(
        "nnunet_training",
        "Train an nnU-Net model",
        "replaces",
        TrainingCall,
        TrainingStarted,
        "Start preprocessing and training of an nnU-Net v2 model in the background and return at once with a run_id. "
        "Runs take minutes to days and outlive the chat. fold: '0'-'4' = one fold; 'all' (default) = five models, "
        "then the cross-validation; 'full' = one model on every case (optimistic metrics). Follow with "
        "nnunet_progress.",
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
        "Look before training",
        "reads",
        PreflightRequest,
        PreflightAnswer,
        "What nnunet_training would do with the same arguments, without starting it: stages, every problem, disk, "
        "memory, hours from this machine's own measurements, queue, recommended configuration.",
        "training.preflight:nnunet_preflight",
        Command("preflight", "say what a training would do and cost, without starting it", ("dataset_id",)),
        described_by=TrainingRequest,
    ),
)
