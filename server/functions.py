"""What the SDK calls for each tool: a function of the request and, where it reports progress, the call's context.

Plain functions run in a worker thread, so that they may read files.
"""

import base64
from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp.types import CallToolResult, ImageContent, TextContent
from pydantic import BaseModel

from .. import tools
from ..schemas.dashboard import DashboardAnswer, DashboardData
from ..schemas.datasets import DatasetsAnswer, Prepared
from ..schemas.progress import ProgressAnswer
from ..settings import Settings
from ..texts import visible
from ..tools import calls

Function = Callable[..., Any]
PLAIN: dict[str, Function] = {
    "nnunet_training": calls.training,
    "nnunet_preflight": calls.preflight,
    "nnunet_logs": calls.logs,
    "nnunet_results": calls.results,
    "nnunet_compare": calls.compare,
    "nnunet_predict": calls.predict,
    "nnunet_find_best_configuration": calls.find_best_configuration,
    "nnunet_export_model": calls.export_model,
    "nnunet_import_model": calls.import_model,
    "nnunet_runs": calls.runs,
    "nnunet_cancel": calls.cancel,
    "nnunet_system": calls.system,
}


def functions(settings: Settings, *, read_only: bool) -> dict[str, Function]:
    """Every tool's function, bound to the settings; its return annotation is the tool's output."""
    plain = {name: _plain(function, settings) for name, function in PLAIN.items()}
    return plain | {
        "nnunet_progress": _progress(settings, read_only=read_only),
        "nnunet_plot": _plot(settings),
        "nnunet_datasets": _datasets(settings),
        "nnunet_prepare_dataset": _prepare_dataset(settings),
        "nnunet_dashboard": _dashboard(settings, read_only=read_only),
        "nnunet_dashboard_data": _dashboard_data(settings, read_only=read_only),
    }


def _plain(function: Function, settings: Settings) -> Function:
    def call(request: Any) -> Any:
        return function(request, settings)

    call.__annotations__["return"] = function.__annotations__["return"]
    return call


def _progress(settings: Settings, *, read_only: bool) -> Function:
    async def call(request: Any, ctx: Context[Any]) -> ProgressAnswer:
        async def say(percent: float, text: str) -> None:
            await ctx.report_progress(percent, 100, visible(text))

        return await tools.progress.nnunet_progress(request, settings, say, read_only=read_only)

    return call


def _plot(settings: Settings) -> Function:
    def call(request: Any) -> list[TextContent | ImageContent]:
        from ..tools.plots.plots import nnunet_plot

        plot = nnunet_plot(request, settings)
        picture = ImageContent(type="image", data=base64.b64encode(plot.png).decode(), mime_type="image/png")
        return [TextContent(type="text", text=plot.text), picture]

    return call


def _datasets(settings: Settings) -> Function:
    async def call(request: Any, ctx: Context[Any]) -> DatasetsAnswer:
        import anyio

        told = -1

        def tell(done: int, total: int) -> None:
            nonlocal told
            anyio.from_thread.check_cancelled()  # ends the look with the call
            if done != told:
                told = done
                anyio.from_thread.run(ctx.report_progress, done, total, f"case {done} of {total}")

        return await anyio.to_thread.run_sync(tools.datasets.nnunet_datasets, request, settings, tell)

    return call


def _prepare_dataset(settings: Settings) -> Function:
    async def call(request: Any, ctx: Context[Any]) -> Prepared:
        import anyio

        def tell(done: int, total: int) -> None:
            if done % 20 == 0 or done == total:
                anyio.from_thread.run(ctx.report_progress, done, total, f"file {done} of {total}")

        return await anyio.to_thread.run_sync(tools.importing.nnunet_prepare_dataset, request, settings, tell)

    return call


def _dashboard(settings: Settings, *, read_only: bool) -> Function:
    def call(request: Any) -> Annotated[CallToolResult, DashboardAnswer]:
        answer = tools.dashboard.nnunet_dashboard(request, settings, read_only=read_only)
        return _with_text(answer, f"{answer.text}\n{answer.next_step}")

    return call


def _dashboard_data(settings: Settings, *, read_only: bool) -> Function:
    def call(request: Any) -> Annotated[CallToolResult, DashboardData]:
        data = tools.dashboard.nnunet_dashboard_data(request, settings, read_only=read_only)
        return _with_text(data, data.next_step)

    return call


def _with_text(answer: BaseModel, text: str) -> CallToolResult:
    """An answer whose text is not its JSON again: for people, or because nobody reads it."""
    content = TextContent(type="text", text=text)
    return CallToolResult(content=[content], structured_content=answer.model_dump(mode="json"))
