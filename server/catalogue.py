"""The tools in the form that the SDK takes: each declaration of `tools/` with its hints and its function."""

import base64
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool as SdkTool
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel

from ..schemas.plots import Plot
from ..settings import Settings
from ..texts import visible
from ..tools import TOOLS
from ..tools.helping import helped
from ..tools.tool import Effect, Steps, Tool
from .dashboard import PAGE_URI
from .model_tool import model_tool

HINTS: dict[Effect, ToolAnnotations] = {
    "reads": ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    "starts": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
    ),
    "replaces": ToolAnnotations(
        read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
    ),
    "stops": ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
}
PAGES: dict[str, dict[str, Any]] = {
    "shows": {"resourceUri": PAGE_URI},
    "feeds": {"resourceUri": PAGE_URI, "visibility": ["app"]},
}


def build_tools(settings: Settings, *, read_only: bool = False) -> list[SdkTool]:
    """Every tool, bound to the settings; with `read_only`, only those that change nothing."""
    return [
        model_tool(
            _function(tool, settings, read_only=read_only),
            tool.request,
            name=tool.name,
            title=tool.title,
            description=tool.description,
            annotations=HINTS[tool.effect],
            meta={"ui": PAGES[tool.page]} if tool.page else None,
            described_by=tool.described_by,
        )
        for tool in TOOLS
        if not (read_only and tool.changes)
    ]


def _function(tool: Tool, settings: Settings, *, read_only: bool) -> Callable[..., Any]:
    """The function that the SDK calls: it runs the tool in a worker thread, because tools read files."""
    bound: dict[str, Any] = {"read_only": read_only} if tool.heeds_read_only else {}

    async def call(request: Any, ctx: Context[Any]) -> Any:
        more = bound | ({"tell": _teller(tool.steps, ctx)} if tool.steps else {})
        if tool.waits:
            function = await anyio.to_thread.run_sync(tool.load)
            with helped():
                return await function(request, settings, say=partial(_say, ctx), **more)
        return _shaped(tool, await anyio.to_thread.run_sync(partial(tool, request, settings, **more)))

    call.__annotations__["return"] = _output(tool)
    return call


async def _say(ctx: Context[Any], percent: float, text: str) -> None:
    await ctx.report_progress(percent, 100, visible(text))


def _teller(steps: Steps, ctx: Context[Any]) -> Callable[[int, int], None]:
    """A function for the tool's thread that reports each step. If the call was cancelled, it raises where stopping does
    no harm."""
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        if steps.stoppable:
            anyio.from_thread.check_cancelled()
        if done != said and (done % steps.every == 0 or done == total):
            said = done
            anyio.from_thread.run(ctx.report_progress, done, total, f"{steps.word} {done} of {total}")

    return tell


def _output(tool: Tool) -> Any:
    if issubclass(tool.answer, Plot):
        return list[TextContent | ImageContent]
    return Annotated[CallToolResult, tool.answer] if tool.text else tool.answer


def _shaped(tool: Tool, answer: BaseModel) -> Any:
    """The result of a call: a picture as an image; an answer that has words for people as words and fields, because
    nobody would read its JSON twice."""
    if isinstance(answer, Plot):
        picture = ImageContent(type="image", data=base64.b64encode(answer.png).decode(), mime_type="image/png")
        return [TextContent(type="text", text=answer.text), picture]
    if tool.text is None:
        return answer
    words = TextContent(type="text", text=tool.text(answer))
    return CallToolResult(content=[words], structured_content=answer.model_dump(mode="json"))
