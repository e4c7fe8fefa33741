"""A part of a stage's log: request and answer."""

from typing import Literal

from pydantic import Field

from .base import Record, Request, RunId


class LogError(Record):
    """A distinct error in a log."""

    line: int
    text: str
    times: int


class LogsAnswer(Record):
    """A bounded part of a log."""

    run_id: str
    stage: str
    lines: tuple[str, ...]
    first_line: int = Field(description="Number of the first line shown; negative: counted from the end.")
    last_line: int
    total_lines: int | None = Field(description="Null for a log too large to be counted.")
    errors: tuple[LogError, ...] = ()
    size_bytes: int
    path: str
    note: str = ""
    retry_after_s: int
    next_step: str


class LogsRequest(Request):
    """Read a bounded part of a stage's log."""

    run_id: RunId
    stage: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=40,
        description="E.g. preprocess, train_fold_0. Omitted: the one that runs or failed.",
    )
    mode: Literal["summary", "tail", "grep", "window"] = Field(
        default="summary",
        description="summary: first and last lines, distinct errors. grep: lines that match `pattern`. window: lines "
        "from `start`.",
    )
    lines: int = Field(default=40, ge=1, le=400, description="At most.")
    pattern: str | None = Field(
        default=None,
        max_length=200,
        description="grep: a regular expression; case is ignored. Omitted: none.",
    )
    start: int | None = Field(default=None, description="First line, from 1; negative: from the end. Omitted: 1.")
