"""Every tool: its name, what it is for, its hints. The order here is the order clients see."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel

from ..runs.settings import Settings
from ..schemas.answers import (
    CancelAnswer,
    CompareAnswer,
    DatasetsAnswer,
    LogsAnswer,
    PredictionStarted,
    PreflightAnswer,
    Prepared,
    ProgressAnswer,
    RunsAnswer,
    RunStarted,
    SystemAnswer,
    TrainingStarted,
)
from ..schemas.dashboard import DashboardAnswer, DashboardData, DashboardRequest
from ..schemas.requests import (
    CancelRequest,
    CompareRequest,
    DatasetsRequest,
    ExportRequest,
    FindBestRequest,
    ImportRequest,
    LogsRequest,
    PlotRequest,
    PredictRequest,
    PreflightRequest,
    PrepareRequest,
    ProgressRequest,
    ResultsRequest,
    RunsRequest,
    SystemRequest,
    TrainingCall,
)
from ..schemas.results import Result
from ..tools import (
    dashboard,
    datasets,
    importing,
    logs,
    progress,
    results,
    runs,
    system,
    training,
)
from .dashboard import PAGE_URI
from .model_tool import model_tool

Kind = Literal["reads", "starts", "stops"]
HINTS = {
    "reads": ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    "starts": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
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
        "starts",
        "Start preprocessing and training of an nnU-Net v2 model in the background and return at once with a run_id. "
        "Runs take minutes to days and outlive the chat. fold: '0'-'4' = one fold; 'all' (default) = five models, "
        "one per fold, then the cross-validation; 'full' = one model on every case (optimistic metrics). Datasets: "
        "nnunet_datasets. Then follow with nnunet_progress and read the result with nnunet_results.",
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
        "a run. wait_s up to 50 waits until something changes. Ask again after retry_after_s.",
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
        "starts",
        "Segment a folder of images in the background with a run's model, any model folder or a dataset's best "
        "configuration: folds ensembled, cascades whole, predicted cases skipped, scored where labels are given.",
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
        "starts",
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
        "so that continue_training can resume it; force=true ends it at once.",
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
        "numbered labels) as a valid nnU-Net v2 dataset. The source is only read. Then train with nnunet_training.",
    ),
    Entry(
        "nnunet_system",
        "This machine",
        SystemRequest,
        "reads",
        "GPUs, cores, memory, disk, folders, versions, which slots are used by whom, and problems with their fixes.",
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
    functions = _functions(settings, read_only=read_only)
    return [
        model_tool(
            functions[entry.name],
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


def _functions(settings: Settings, *, read_only: bool) -> dict[str, Callable[..., Any]]:
    """What each tool calls. Plain functions run in a worker thread, so that they may read files.

    Those that are seldom called are imported then: a client waits for the server's start in every chat.
    """

    def nnunet_training(request: Any) -> TrainingStarted:
        return training.nnunet_training(request, settings)

    def nnunet_preflight(request: Any) -> PreflightAnswer:
        from ..tools.preflight import nnunet_preflight

        return nnunet_preflight(request, settings)

    async def nnunet_progress(request: Any, ctx: Context[Any]) -> ProgressAnswer:
        async def say(percent: float, text: str) -> None:
            await ctx.report_progress(percent, 100, text)

        return await progress.nnunet_progress(request, settings, say)

    def nnunet_logs(request: Any) -> LogsAnswer:
        return logs.nnunet_logs(request, settings)

    def nnunet_results(request: Any) -> Result:
        return results.nnunet_results(request, settings)

    def nnunet_plot(request: Any) -> list[TextContent | ImageContent]:
        from ..tools.plots import nnunet_plot

        plot = nnunet_plot(request, settings)
        picture = ImageContent(type="image", data=base64.b64encode(plot.png).decode(), mime_type="image/png")
        return [TextContent(type="text", text=plot.text), picture]

    def nnunet_compare(request: Any) -> CompareAnswer:
        from ..tools.compare import nnunet_compare

        return nnunet_compare(request, settings)

    def nnunet_predict(request: Any) -> PredictionStarted:
        from ..tools.predicting import nnunet_predict

        return nnunet_predict(request, settings)

    def nnunet_find_best_configuration(request: Any) -> RunStarted:
        from ..tools.finding_best import nnunet_find_best_configuration

        return nnunet_find_best_configuration(request, settings)

    def nnunet_export_model(request: Any) -> RunStarted:
        from ..tools.model_export import nnunet_export_model

        return nnunet_export_model(request, settings)

    def nnunet_import_model(request: Any) -> RunStarted:
        from ..tools.model_import import nnunet_import_model

        return nnunet_import_model(request, settings)

    def nnunet_runs(request: Any) -> RunsAnswer:
        return runs.nnunet_runs(request, settings)

    def nnunet_cancel(request: Any) -> CancelAnswer:
        return runs.nnunet_cancel(request, settings)

    async def nnunet_datasets(request: Any, ctx: Context[Any]) -> DatasetsAnswer:
        return await _look_at_datasets(request, settings, ctx)

    async def nnunet_prepare_dataset(request: Any, ctx: Context[Any]) -> Prepared:
        return await _prepare(request, settings, ctx)

    def nnunet_system(request: Any) -> SystemAnswer:
        return system.nnunet_system(request, settings)

    def nnunet_dashboard(request: Any) -> Annotated[CallToolResult, DashboardAnswer]:
        answer = dashboard.nnunet_dashboard(request, settings)
        return _with_text(answer, f"{answer.text}\n{answer.next_step}")

    def nnunet_dashboard_data(request: Any) -> Annotated[CallToolResult, DashboardData]:
        data = dashboard.nnunet_dashboard_data(request, settings, can_cancel=not read_only)
        return _with_text(data, data.next_step)

    found = locals()
    return {entry.name: found[entry.name] for entry in CATALOGUE}


async def _look_at_datasets(request: DatasetsRequest, settings: Settings, ctx: Context[Any]) -> DatasetsAnswer:
    import anyio

    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        anyio.from_thread.check_cancelled()  # ends the look with the call
        if done != told:
            told = done
            anyio.from_thread.run(ctx.report_progress, done, total, f"case {done} of {total}")

    return await anyio.to_thread.run_sync(datasets.nnunet_datasets, request, settings, tell)


def _with_text(answer: BaseModel, text: str) -> CallToolResult:
    """An answer whose text is not its JSON again: for people, or because nobody reads it."""
    content = TextContent(type="text", text=text)
    return CallToolResult(content=[content], structured_content=answer.model_dump(mode="json"))


async def _prepare(request: PrepareRequest, settings: Settings, ctx: Context[Any]) -> Prepared:
    import anyio

    def tell(done: int, total: int) -> None:
        if done % 20 == 0 or done == total:
            anyio.from_thread.run(ctx.report_progress, done, total, f"file {done} of {total}")

    return await anyio.to_thread.run_sync(importing.nnunet_prepare_dataset, request, settings, tell)
