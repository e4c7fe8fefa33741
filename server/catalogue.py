"""Every tool: its name, what it is for, its hints. The order here is the order clients see."""

from dataclasses import dataclass
from typing import Any, Literal

from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel

from ..schemas.dashboard import DashboardRequest
from ..schemas.datasets import DatasetsRequest, PrepareRequest
from ..schemas.logs import LogsRequest
from ..schemas.models import CompareRequest, ExportRequest, FindBestRequest, ImportRequest, PredictRequest
from ..schemas.plots import PlotRequest
from ..schemas.preflight import PreflightRequest
from ..schemas.progress import ProgressRequest
from ..schemas.results import ResultsRequest
from ..schemas.run_list import CancelRequest, RunsRequest
from ..schemas.system import SystemRequest
from ..schemas.training import TrainingCall
from ..settings import Settings
from .dashboard import PAGE_URI
from .functions import functions
from .model_tool import model_tool

Kind = Literal["reads", "starts", "replaces", "stops"]
HINTS = {
    "reads": ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    "starts": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
    ),
    "replaces": ToolAnnotations(  # with overwrite=true what an earlier run has made is lost
        read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
    ),
    "stops": ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
}


@dataclass(frozen=True)
class Entry:
    """One tool of the catalogue."""

    name: str
    title: str
    model: type[BaseModel]
    kind: Kind
    description: str
    ui: dict[str, Any] | None = None


CATALOGUE = (
    Entry(
        "nnunet_training",
        "Train an nnU-Net model",
        TrainingCall,
        "replaces",
        "Start preprocessing and training of an nnU-Net v2 model in the background and return at once with a run_id. "
        "Runs take minutes to days and outlive the chat. fold: '0'-'4' = one fold; 'all' (default) = five models, "
        "then the cross-validation; 'full' = one model on every case (optimistic metrics). Follow with "
        "nnunet_progress.",
    ),
    Entry(
        "nnunet_preflight",
        "Look before training",
        PreflightRequest,
        "reads",
        "What nnunet_training would do with the same arguments, without starting it: stages, every problem, disk, "
        "memory, hours from this machine's own measurements, queue, recommended configuration.",
    ),
    Entry(
        "nnunet_progress",
        "Progress of a run",
        ProgressRequest,
        "reads",
        "Status, stage, epoch, losses, pseudo Dice (an estimate on patches, not the Dice), ETA, health and failure of "
        "a run. Ask again after retry_after_s.",
    ),
    Entry(
        "nnunet_logs",
        "Log of a run",
        LogsRequest,
        "reads",
        "A bounded part of a stage's log. For numbers use nnunet_progress.",
    ),
    Entry(
        "nnunet_results",
        "Result of a run",
        ResultsRequest,
        "reads",
        "Model path, Dice, IoU and validation loss of a run, per class and fold, worst cases and notes: nnU-Net's own "
        "numbers. Null until the run has succeeded.",
    ),
    Entry(
        "nnunet_plot",
        "Picture of a run or dataset",
        PlotRequest,
        "reads",
        "A PNG picture: learning curves, Dice per fold, a case's prediction over the truth, or a dataset's labels.",
    ),
    Entry(
        "nnunet_compare",
        "Compare models",
        CompareRequest,
        "reads",
        "Runs or a dataset's trained models in one table: Dice and IoU per class, mean ± sd over folds, paired "
        "differences with intervals, epochs, hours, parameters. Incomplete cross-validations are not ranked.",
    ),
    Entry(
        "nnunet_predict",
        "Segment images",
        PredictRequest,
        "replaces",
        "Segment a folder of images in the background with a run's model, any model folder or a dataset's best "
        "configuration: folds ensembled, cascades whole.",
    ),
    Entry(
        "nnunet_find_best_configuration",
        "Find the best configuration",
        FindBestRequest,
        "starts",
        "nnU-Net's search in the background among complete cross-validations, their ensembles and postprocessing. "
        "nnunet_results has the table; nnunet_predict(dataset_id) uses the winner.",
    ),
    Entry(
        "nnunet_export_model",
        "Export a model",
        ExportRequest,
        "starts",
        "Write a model and its card into a zip that nnU-Net installs; without case names and paths.",
    ),
    Entry(
        "nnunet_import_model",
        "Import a model",
        ImportRequest,
        "replaces",
        "Install a model from a zip, after a check that nothing in it runs code. Then nnunet_predict.",
    ),
    Entry(
        "nnunet_runs",
        "Runs",
        RunsRequest,
        "reads",
        "Runs of this machine, newest first, also those of earlier chats, with status, epoch and Dice.",
    ),
    Entry(
        "nnunet_cancel",
        "Cancel a run",
        CancelRequest,
        "stops",
        "Stop a run and all its processes. By default the training finishes its epoch and saves a checkpoint first, "
        "so that continue_training can resume it.",
    ),
    Entry(
        "nnunet_datasets",
        "Datasets",
        DatasetsRequest,
        "reads",
        "Datasets with cases, channels, labels, what is preprocessed and trained, and problems with their fixes. With "
        "dataset_id all images are looked at before training: shapes, spacings, intensities, label shares, plans, and "
        "broken cases by name.",
    ),
    Entry(
        "nnunet_prepare_dataset",
        "Import a dataset",
        PrepareRequest,
        "starts",
        "Import a folder (Medical Segmentation Decathlon task, nnU-Net v1 or v2, or dataset.json with modality and "
        "numbered labels) as a valid nnU-Net v2 dataset. Then train with nnunet_training.",
    ),
    Entry(
        "nnunet_system",
        "This machine",
        SystemRequest,
        "reads",
        "GPUs, cores, memory, disk, folders, versions, who uses which slot, and problems with their fixes.",
    ),
    Entry(
        "nnunet_dashboard",
        "Dashboard",
        DashboardRequest,
        "reads",
        "Show the person a live page in the chat: runs, stages, curves, folds, health; text where there are no pages.",
        {"resourceUri": PAGE_URI},
    ),
    Entry(
        "nnunet_dashboard_data",
        "Data of the dashboard",
        DashboardRequest,
        "reads",
        "Only for the dashboard's own page. Use nnunet_progress instead.",
        {"resourceUri": PAGE_URI, "visibility": ["app"]},
    ),
)


def build_tools(settings: Settings, *, read_only: bool = False) -> list[Tool]:
    """The tools of the catalogue, bound to the settings; `read_only` leaves out those that change something."""
    called = functions(settings, read_only=read_only)
    return [
        model_tool(
            called[entry.name],
            entry.model,
            name=entry.name,
            title=entry.title,
            description=entry.description,
            annotations=HINTS[entry.kind],
            meta={"ui": entry.ui} if entry.ui else None,
        )
        for entry in CATALOGUE
        if entry.kind == "reads" or not read_only
    ]
