"""How a tool is declared. Clients, the terminal, the documents and the snapshots are made from the declarations.

They are in the `__init__.py` of each noun's folder. They name the function instead of importing it, because every chat
waits for the start of its server, and a person for that of the command.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

# "replaces": with overwrite=true what an earlier run has made is lost. "arranges": the same call again changes nothing.
Effect = Literal["reads", "starts", "replaces", "arranges", "stops"]


@dataclass(frozen=True)
class Steps:
    """How a tool reports progress: its function takes `tell(done, total)`."""

    word: str  # what is counted, e.g. "case"
    every: int = 1  # report after this many
    stoppable: bool = False  # it may be stopped between two steps, because nothing is half written then


@dataclass(frozen=True)
class Command:
    """A tool's subcommand in the terminal."""

    name: str
    help: str
    words: tuple[str, ...] = ()  # fields that may be given without their flag, in this order
    watch: str = ""  # what --watch does, if there is a run to follow
    waits: str = ""  # the field with which agents wait; people use --watch
    more: Mapping[str, Any] = field(default_factory=dict)  # further arguments of the function when a person calls it
    first: Callable[[Any], str] | None = None  # a message for people about a request that takes long
    # If the terminal asks for more than a chat does: its own request and function.
    request: type[BaseModel] | None = None
    function: str = ""


@dataclass(frozen=True)
class Tool:
    """A tool: `function(request, settings)` as "module:name" below `tools/`, with its description."""

    name: str
    title: str
    effect: Effect
    request: type[BaseModel]
    answer: type[BaseModel]
    description: str
    function: str
    command: Command | None = None
    steps: Steps | None = None
    waits: bool = False  # the function is a coroutine and takes `say(percent, text)`
    heeds_read_only: bool = False  # the function takes `read_only`
    text: Callable[[Any], str] | None = None  # the answer in words for people, beside its fields
    page: Literal["", "shows", "feeds"] = ""  # the dashboard's page: the tool shows it, or answers only to it
    described_by: type[BaseModel] | None = None  # a request whose fields another tool's schema describes already
    unlisted: tuple[str, ...] = ()  # taken as well, but an agent gets the same without them

    @property
    def changes(self) -> bool:
        """Whether the tool changes anything."""
        return self.effect != "reads"

    def load(self) -> Callable[..., Any]:
        """The function; its module is imported with the first call."""
        return load(self.function)

    def __call__(self, request: BaseModel, settings: Any, **more: Any) -> Any:
        """Call it, unless it waits: a coroutine is awaited by whoever has an event loop."""
        return self.load()(request, settings, **more)


def load(function: str) -> Callable[..., Any]:
    """The function of "module:name" below `tools/`."""
    module, name = function.split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    return found
