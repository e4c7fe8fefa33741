"""The tools' texts in the words of the terminal: `nnunet_progress(run_id='X')` is `nnunet-mcp progress X` here."""

import re
from functools import lru_cache

from pydantic import BaseModel

from ...schemas.base import Request
from ...schemas.preflight import PreflightRequest

NAMES = {
    "nnunet_training": "train",
    "nnunet_preflight": "preflight",
    "nnunet_predict": "predict",
    "nnunet_compare": "compare",
    "nnunet_find_best_configuration": "find-best",
    "nnunet_export_model": "export",
    "nnunet_import_model": "import",
    "nnunet_progress": "progress",
    "nnunet_logs": "logs",
    "nnunet_results": "results",
    "nnunet_runs": "runs",
    "nnunet_cancel": "cancel",
    "nnunet_datasets": "datasets",
    "nnunet_prepare_dataset": "prepare",
    "nnunet_system": "doctor",
}
CALL = re.compile(rf"\b({'|'.join(NAMES)})\b(?:\(([^()]*)\))?")
VALUE = r"'[^']*'|\"[^\"]*\"|[^\s,;()]+?(?=[.,;]?(?:\s|$|[,()]))"
ASSIGNED = re.compile(rf"\b([a-z_]+)=({VALUE})")
SNAKE = re.compile(r"(?<![\w./-])[a-z]+(?:_[a-z]+)+(?![\w/=-]|\.\w)")
LOCATION = re.compile(r"^(- )?([a-z_]+)(?=: )", re.MULTILINE)
WORDS = ("run_id", "dataset_id", "source", "name", "zip")


@lru_cache(maxsize=1)
def fields() -> frozenset[str]:
    """Every field of every request."""
    models: tuple[type[BaseModel], ...] = (*Request.__subclasses__(), PreflightRequest)
    return frozenset(name for model in models for name in model.model_fields)


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def spoken(text: str) -> str:
    """The text with commands and flags in place of tools and arguments."""
    text = LOCATION.sub(lambda m: f"{m[1] or ''}{flag(m[2])}" if m[2] in fields() else m[0], text)
    text = CALL.sub(_command, text)
    text = ASSIGNED.sub(lambda m: _assigned(m[1], m[2]) if m[1] in fields() else m[0], text)
    return SNAKE.sub(lambda m: flag(m[0]) if m[0] in fields() else m[0], text)


def _command(match: "re.Match[str]") -> str:
    parts = ["nnunet-mcp", NAMES[match[1]]]
    for piece in (match[2] or "").split(","):
        name, _, value = piece.strip().partition("=")
        if name == "wait_s":
            parts.append("--watch")
        elif name in WORDS and value:
            parts.append(value.strip("'\""))
        elif name in WORDS:
            parts.append(name.removeprefix("dataset_").upper())
        elif value:
            parts.append(_assigned(name, value))
        elif name:
            parts.append(name)
    return " ".join(parts)


def _assigned(name: str, value: str) -> str:
    if value in ("true", "True"):
        return flag(name)
    bare = value.strip("'\"")
    return f"{flag(name)} {bare if ' ' not in bare else value}"
