"""Schemas and answers that every client understands, in few characters: each chat pays for them."""

import copy
from typing import Any

from pydantic import BaseModel

# Several clients reject or misread these: $ref (Gemini, Copilot CLI), null arms and const (OpenAI strict).
# What else is checked, and told in words when it is broken, would cost every chat characters.
DROPPED = (
    "title",
    "$defs",
    "discriminator",
    "pattern",
    "maxLength",
    "maxItems",
    "minItems",
    "additionalProperties",
    "minimum",
    "exclusiveMinimum",
    "maximum",
)
VERBATIM = ("default", "enum", "required")
# What a field of an answer holds that says nothing.
NOTHING: tuple[Any, ...] = (None, [], {}, "")
# What the name of an argument and the instructions say already; the terminal's help and the documentation keep it.
SAID_ELSEWHERE = (
    "Would it predict these? Omitted: none.",
    "Omitted: none.",
    "Omitted: all.",
    "At most.",
    "Random seed.",
    "What is true.",
    "Of NSD.",
    "From nnunet_runs.",
    "From nnunet_datasets.",
    "Omitted: light.",
    "One or more.",
    "Cases to leave out.",
    "1-999, from nnunet_datasets.",
    "Omitted: the models of run_ids.",
    "The table's format.",
    "Omitted: cuda, else mps, else cpu.",
    "As nnU-Net exports it.",
    "It becomes DatasetXXX_<name>.",
    "Save probabilities as well.",
    "Validate a finished training.",
    "Keep it for trainings.",
    "Areas under contours.",
    "More pixels and slices.",
    "Add: optimizer, trainer (its code), onnx.",
)


def portable(schema: dict[str, Any]) -> dict[str, Any]:
    """Inline $defs and drop titles, null arms and const, so that every client understands the schema."""
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
            out |= {} if key == "default" and _goes_without_saying(value, node) else {key: value}
        elif key == "items":  # what a list is, its own description says
            out[key] = {k: v for k, v in _walk(value, defs).items() if k != "description"}
        elif key == "description":
            out |= {key: text} if (text := _what_it_adds(value)) else {}
        elif key not in DROPPED:
            out[key] = _walk(value, defs, properties=key == "properties")
    return out


def _goes_without_saying(default: Any, node: dict[str, Any]) -> bool:
    """Nothing at all, the first of the choices, or a number that nobody asks about."""
    told = node.get("description") not in SAID_ELSEWHERE
    return not told or default in ([], "", False, 0) or node.get("enum", [None])[0] == default


def _what_it_adds(description: str) -> str:
    for said in SAID_ELSEWHERE:
        description = description.removesuffix(said).rstrip()
    return description


def compact(schema: dict[str, Any], *, nulls: bool) -> dict[str, Any]:
    """An output schema in a third of the characters: an answer's own fields, and of what they hold only the type.

    Every client pays for it in every chat; what an object holds is seen in the answer itself. `nulls`: fields that say
    nothing are sent as null; else they are left out.
    """
    defs = schema.get("$defs", {})
    fields = {name: _outline(field, defs, nulls=nulls) for name, field in schema["properties"].items()}
    return {"type": "object", "properties": fields}


def _outline(field: dict[str, Any], defs: dict[str, Any], *, nulls: bool) -> dict[str, Any]:
    node = _inlined(field, defs)
    if not nulls:
        node = _inlined(_without_null(node), defs)
    if "anyOf" in node:
        return {"anyOf": [_outline(arm, defs, nulls=nulls) for arm in node["anyOf"]]}
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
    """An optional value is one that may be left out, not one that may be null."""
    arms = node.get("anyOf", [])
    if {"type": "null"} not in arms:
        return node
    left = [arm for arm in arms if arm != {"type": "null"}]
    rest = {k: v for k, v in node.items() if k != "anyOf" and not (k == "default" and v is None)}
    return {**left[0], **rest} if len(left) == 1 else {"anyOf": left, **rest}


def refer(schema: dict[str, Any], other: type[BaseModel]) -> None:
    """What another tool describes at length is not described again, nor its defaults, choices and bounds."""
    for name in other.model_fields.keys() & schema["properties"].keys():
        for key in ("description", "default", "enum"):
            schema["properties"][name].pop(key, None)


def lean(value: Any, dumped: Any) -> Any:
    """Without a model's fields that say nothing: null, empty texts, and empty lists unless the field is required. In a
    mapping each value counts."""
    if isinstance(value, BaseModel):
        required = {name for name, field in type(value).model_fields.items() if field.is_required()}
        told = {n: held for n, held in dumped.items() if held not in NOTHING or (held == [] and n in required)}
        return {name: lean(getattr(value, name), held) for name, held in told.items()}
    if isinstance(value, dict):
        return {name: lean(own, held) for own, (name, held) in zip(value.values(), dumped.items(), strict=True)}
    if isinstance(value, list | tuple):
        return [lean(own, held) for own, held in zip(value, dumped, strict=True)]
    return dumped
