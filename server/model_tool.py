"""One pydantic model per tool: a flat, portable input schema and errors that a model can act on."""

import copy
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ValidationError

from ..errors import RunError
from ..texts import all_visible, for_agents, visible
from .explain import explain

# Several clients reject or misread these: $ref (Gemini, Copilot CLI), null arms and const (OpenAI strict).
# Bounds of texts are checked and explained when broken; in the schema they would cost every chat characters.
DROPPED = ("title", "$defs", "discriminator", "pattern", "maxLength")
VERBATIM = ("default", "enum", "required", "examples")


def portable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in a form that every client understands: without $defs, titles, null arms and const."""
    walked = _walk(schema, schema.get("$defs", {}))
    assert isinstance(walked, dict)
    return walked


def _walk(node: Any, defs: dict[str, Any], *, properties: bool = False) -> Any:
    if isinstance(node, list):
        return [_walk(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    if properties:
        return {name: _walk(value, defs) for name, value in node.items()}
    node = _without_null(_inlined(node, defs))
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "const":
            out["enum"] = [value]
        elif key in VERBATIM:
            out[key] = value
        elif key == "items":  # a list is described by its own description
            out[key] = {k: v for k, v in _walk(value, defs).items() if k != "description"}
        elif key not in DROPPED:
            out[key] = _walk(value, defs, properties=key == "properties")
    return out


def compact(schema: dict[str, Any]) -> dict[str, Any]:
    """An output schema in a third of the characters: the fields of the answer, and only the types of what they hold.

    Every client reads the schema in every chat; what an object holds shows in the answer itself.
    """
    defs = schema.get("$defs", {})
    return {"type": "object", "properties": {name: _outline(f, defs) for name, f in schema["properties"].items()}}


def _outline(field: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    node = _inlined(field, defs)
    if "anyOf" in node:
        return {"anyOf": [_outline(arm, defs) for arm in node["anyOf"]]}
    kept: dict[str, Any] = {"type": node["type"]}
    if "items" in node and (held := _inlined(node["items"], defs)["type"]) != "object":
        kept["items"] = {"type": held}
    return kept


def _inlined(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref", "")
    if not reference.startswith("#/$defs/"):
        return node
    rest = {key: value for key, value in node.items() if key != "$ref"}
    return _inlined({**copy.deepcopy(defs[reference.removeprefix("#/$defs/")]), **rest}, defs)


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Let an optional value be left out, but not be null."""
    arms = node.get("anyOf", [])
    if {"type": "null"} not in arms:
        return node
    left = [arm for arm in arms if arm != {"type": "null"}]
    rest = {k: v for k, v in node.items() if k != "anyOf" and not (k == "default" and v is None)}
    return {**left[0], **rest} if len(left) == 1 else {"anyOf": left, **rest}


def _refer(schema: dict[str, Any], other: type[BaseModel]) -> None:
    """Leave out descriptions, defaults and examples of fields that another tool's schema describes."""
    for name in other.model_fields:
        for key in ("description", "default", "examples"):
            schema["properties"][name].pop(key, None)


class ModelTool(Tool):
    """A tool whose arguments are one pydantic model."""

    model: type[BaseModel]

    async def run(self, arguments: dict[str, Any], context: Context[Any], convert_result: bool = False) -> Any:
        """Validate the arguments, call the function, and turn expected errors into text for the model."""
        try:
            request = self.model.model_validate(self._parsed(arguments))
        except ValidationError as error:
            raise ToolError(visible(explain(error, self.model))) from None
        given: dict[str, Any] = {"request": request}
        if self.context_kwarg is not None:
            given[self.context_kwarg] = context
        try:
            result = for_agents(await self.fn_metadata.call_fn(self.fn, self.is_async, given))
        except RunError as error:
            raise ToolError(visible(str(error))) from None
        except OSError as error:
            raise ToolError(visible(self._refused(error))) from error
        except Exception as error:
            raise UnexpectedToolError(f"Error executing tool {self.name}") from error
        return self.fn_metadata.convert_result(result) if convert_result else result

    def _parsed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments, with lists that a client sent as JSON text parsed; text that only looks like a list stays."""
        parsed = self.fn_metadata.pre_parse_json(arguments)
        texts = {name for name, field in self.model.model_fields.items() if _takes_text(field.annotation)}
        kept = {name for name in texts & parsed.keys() if isinstance(parsed[name], list | dict)}
        return parsed | {name: arguments[name] for name in kept}

    def _refused(self, error: OSError) -> str:
        hints = self.annotations
        starts = hints is not None and not hints.read_only_hint and not hints.idempotent_hint
        return f"The file system refused: {error}.{' Nothing was started.' if starts else ''}"


def _takes_text(annotation: Any) -> bool:
    """Whether a field of this type accepts any text: str, or a union with it."""
    choice = get_origin(annotation) in (Union, UnionType, Annotated)
    return annotation is str or (choice and any(map(_takes_text, get_args(annotation))))


def model_tool(
    function: Callable[..., Any],
    model: type[BaseModel],
    *,
    name: str,
    title: str,
    description: str,
    annotations: ToolAnnotations,
    meta: dict[str, Any] | None = None,
    described_by: type[BaseModel] | None = None,
) -> ModelTool:
    """Make a tool of `function(request[, ctx])`; `described_by`: the request whose fields another tool describes.

    Raises:
        TypeError: the model would ignore arguments that it does not know.
    """
    if model.model_config.get("extra") != "forbid":
        raise TypeError(f"{model.__name__} must forbid extra fields, or typing errors would be ignored")
    base = Tool.from_function(
        function, name=name, title=title, description=description, annotations=annotations, meta=meta
    )
    parsing = type(f"{model.__name__}Arguments", (model, ArgModelBase), {})
    promised = base.fn_metadata.output_schema
    update = {"arg_model": parsing, "output_schema": compact(promised) if promised else None}
    metadata = base.fn_metadata.model_copy(update=update)
    schema = portable(model.model_json_schema())
    schema.pop("description", None)
    if described_by is not None:
        _refer(schema, described_by)
    return ModelTool.model_construct(**{**base.__dict__, "fn_metadata": metadata, "parameters": schema, "model": model})


async def visible_errors(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Clean error texts of the SDK itself, for example with the name of an unknown tool; no tool has cleaned them."""
    result = await call_next(ctx)
    failed = result.get("isError") if isinstance(result, dict) else getattr(result, "is_error", False)
    seen: HandlerResult = all_visible(result) if failed else result
    return seen
