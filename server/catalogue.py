"""The tools as the SDK takes them: each declaration of `tools/` with its hints, and what a call of it runs."""

import base64
import json
from collections.abc import Awaitable, Callable
from functools import partial
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool as SdkTool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp.types import CallToolResult, ImageContent, TextContent, ToolAnnotations
from pydantic import BaseModel, ValidationError

from ..errors import RunError
from ..schemas.plots import Plot
from ..settings import Settings
from ..texts import all_visible, for_agents, visible
from ..tools import TOOLS
from ..tools.helping import told
from ..tools.tool import Effect, Steps, Tool
from .dashboard import PAGE_URI
from .explain import explain
from .portable import compact, lean, portable, refer

HINTS: dict[Effect, ToolAnnotations] = {
    "reads": ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False),
    "starts": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
    ),
    "replaces": ToolAnnotations(
        read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
    ),
    "arranges": ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
    ),
    "stops": ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False),
}
# Smaller than any percentage that is told.
LEAST_STEP = 0.001
PAGES: dict[str, dict[str, Any]] = {
    "shows": {"resourceUri": PAGE_URI},
    "feeds": {"resourceUri": PAGE_URI, "visibility": ["app"]},
}


def build_tools(settings: Settings, *, read_only: bool = False) -> list[SdkTool]:
    """Every tool, bound to the settings; with `read_only`, only those that change nothing."""
    return [
        _model_tool(tool, _function(tool, settings, read_only=read_only))
        for tool in TOOLS
        if not (read_only and tool.changes)
    ]


class ModelTool(SdkTool):
    """A tool whose arguments are one pydantic model."""

    model: type[BaseModel]

    async def run(self, arguments: dict[str, Any], context: Context[Any], convert_result: bool = False) -> Any:
        """Validate, call, and turn expected errors into text for the model."""
        try:
            request = self.model.model_validate(self._parsed(arguments))
        except ValidationError as error:
            raise ToolError(visible(explain(error, self.model))) from None
        given: dict[str, Any] = {"request": request}
        if self.context_kwarg is not None:
            given[self.context_kwarg] = context
        try:
            result = await self.fn_metadata.call_fn(self.fn, self.is_async, given)
        except RunError as error:
            raise ToolError(visible(for_agents(told(error)))) from None
        except OSError as error:
            raise ToolError(visible(self._refused(error))) from error
        except Exception as error:
            raise UnexpectedToolError(f"Error executing tool {self.name}") from error
        return self.fn_metadata.convert_result(result) if convert_result else result

    def _parsed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """With the lists that a client sent as JSON in a text; a text that only looks like one stays."""
        parsed = self.fn_metadata.pre_parse_json(arguments)
        texts = {name for name, field in self.model.model_fields.items() if _takes_text(field.annotation)}
        kept = {name for name in texts & parsed.keys() if isinstance(parsed[name], list | dict)}
        return parsed | {name: arguments[name] for name in kept}

    def _refused(self, error: OSError) -> str:
        hints = self.annotations
        starts = hints is not None and not hints.read_only_hint and not hints.idempotent_hint
        return f"The file system refused: {error}.{' Nothing was started.' if starts else ''}"


def _takes_text(annotation: Any) -> bool:
    """Whether a field of this type may be any text: str, or a choice that has it."""
    choice = get_origin(annotation) in (Union, UnionType, Annotated)
    return annotation is str or (choice and any(map(_takes_text, get_args(annotation))))


def _model_tool(tool: Tool, function: Callable[..., Any]) -> ModelTool:
    """The SDK's tool of `function(request, ctx)`.

    Raises:
        TypeError: the model would ignore arguments that it does not know.
    """
    model = tool.request
    if model.model_config.get("extra") != "forbid":
        raise TypeError(f"{model.__name__} must forbid extra fields, or typing errors would be ignored")
    base = SdkTool.from_function(
        function,
        name=tool.name,
        title=tool.title,
        description=tool.description,
        annotations=HINTS[tool.effect],
        meta={"ui": PAGES[tool.page]} if tool.page else None,
    )
    parsing = type(f"{model.__name__}Arguments", (model, ArgModelBase), {})
    promised = base.fn_metadata.output_schema
    # Without its model, or the SDK would refuse answers in which fields that may be null are left out.
    outline = compact(promised, nulls=bool(tool.page)) if promised else None
    update = {"arg_model": parsing, "output_schema": outline, "output_model": None}
    metadata = base.fn_metadata.model_copy(update=update)
    schema = portable(model.model_json_schema())
    schema.pop("description", None)
    for name in tool.unlisted:
        del schema["properties"][name]
    if tool.described_by is not None:
        refer(schema, tool.described_by)
    return ModelTool.model_construct(**{**base.__dict__, "fn_metadata": metadata, "parameters": schema, "model": model})


def _function(tool: Tool, settings: Settings, *, read_only: bool) -> Callable[..., Any]:
    """The function that the SDK calls: it runs the tool in a worker thread, because tools read files."""
    bound: dict[str, Any] = {"read_only": read_only} if tool.heeds_read_only else {}

    async def call(request: Any, ctx: Context[Any]) -> Any:
        more = bound | ({"tell": _teller(tool.steps, ctx)} if tool.steps else {})
        if tool.waits:
            function = await anyio.to_thread.run_sync(tool.load)
            return _shaped(tool, await function(request, settings, say=_sayer(ctx), **more))
        return _shaped(tool, await anyio.to_thread.run_sync(partial(tool, request, settings, **more)))

    call.__annotations__["return"] = _output(tool)
    return call


def _sayer(ctx: Context[Any]) -> Callable[[float, str], Awaitable[None]]:
    """A function that reports a percentage with a text. MCP wants each to be more than the one before."""
    said = -LEAST_STEP

    async def say(percent: float, text: str) -> None:
        nonlocal said
        said = max(percent, said + LEAST_STEP)
        await ctx.report_progress(said, 100, visible(text))

    return say


def _teller(steps: Steps, ctx: Context[Any]) -> Callable[[int, int], None]:
    """A function for the tool's thread that reports each step. If the call was cancelled, it raises where stopping does
    no harm."""
    said = -1

    def tell(done: int, total: int) -> None:
        nonlocal said
        if steps.stoppable:
            anyio.from_thread.check_cancelled()
        if done > said and (done % steps.every == 0 or done == total):
            said = done
            anyio.from_thread.run(ctx.report_progress, done, total, f"{steps.word} {done} of {total}")

    return tell


def _output(tool: Tool) -> Any:
    if issubclass(tool.answer, Plot):
        return list[TextContent | ImageContent]
    return Annotated[CallToolResult, tool.answer]


def _shaped(tool: Tool, answer: BaseModel) -> Any:
    """The result of a call: a picture as an image; else fields and their JSON, or words for people instead of it. Only
    the dashboard's page reads fields that say nothing."""
    answer = for_agents(answer)
    if isinstance(answer, Plot):
        picture = ImageContent(type="image", data=base64.b64encode(answer.png).decode(), mime_type="image/png")
        return [TextContent(type="text", text=answer.text), picture]
    fields = answer.model_dump(mode="json")
    fields = fields if tool.page else lean(answer, fields)
    words = (
        for_agents(tool.text(answer)) if tool.text else json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    )
    return CallToolResult(content=[TextContent(type="text", text=words)], structured_content=fields)


async def visible_errors(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """What the SDK itself says of a call, such as the name of an unknown tool, has passed no tool of ours."""
    result = await call_next(ctx)
    failed = result.get("isError") if isinstance(result, dict) else getattr(result, "is_error", False)
    seen: HandlerResult = all_visible(result) if failed else result
    return seen
