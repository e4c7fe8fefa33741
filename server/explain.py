"""Turn pydantic's errors into sentences that a model or a person can act on."""

import difflib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(
    error: ValidationError,
    model: type[BaseModel],
    *,
    named: Callable[[str], str] = str,
    words: Callable[[str], str] = str,
) -> str:
    """Each error as a line that says what was expected, without dumps and links.

    `named` is how a field is written here (argument or flag), `words` how a rule of the request is.
    """
    names = [named(name) for name in model.model_fields]
    lines = [f"- {_explain_one(dict(detail), names, named, words)}" for detail in error.errors(include_url=False)]
    return "Invalid arguments, nothing was started:\n" + "\n".join(lines)


def _explain_one(
    detail: dict[str, Any], names: list[str], named: Callable[[str], str], words: Callable[[str], str]
) -> str:
    path = [str(part) for part in detail["loc"] if not str(part).startswith("function-")]
    where = ".".join([named(path[0]), *path[1:]]) if path else ""
    message = words(str(detail["msg"]).removeprefix("Value error, "))
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{where}: unknown argument{hint} Known: {', '.join(names) or 'none'}."
    if not where:
        return message
    value = detail["input"]
    got = f" (got {str(value)[:80]!r})" if detail["type"] != "missing" and not isinstance(value, dict | list) else ""
    return f"{where}: {message}{got}"
