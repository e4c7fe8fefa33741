"""A scripted assistant: it knows the tool list and what the person has said, and does what each next step says.

It reads the calls in `next_step` as a model sees them, fills in only what the person has said, and makes the first one
that it can make. Where that leads nowhere, or round in circles, the answers are at fault.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp.types import Tool as Listed

from tests.kit.lab import ACTIVE, Answer, ToolRefused, call

Arguments = dict[str, Any]
# A tool with or without arguments; or an argument alone, as in "overwrite=true trains again".
NAMED = re.compile(r"\b(?P<tool>nnunet_\w+)(?P<open>\()?|(?<![\w'\"./])(?P<alone>[a-z_]+)=")
# What starts work in the background, or ends it: only the person decides on it.
SPENDS = re.compile(
    r"\bnnunet_(?:training|predict|evaluate|find_best_configuration|export_model|import_model|cancel)\b(?:\([^)]*\))?"
)
ASKS = re.compile(r"\bask (?:the person|whether)\b", re.IGNORECASE)
TEXT_VALUES = re.compile(r"='[^']*'")
SENTENCE_ENDS = re.compile(r"(?<!e\.g)[.!?]\s+")


class Lost(AssertionError):
    """The answers lead nowhere."""


@dataclass(frozen=True)
class Person:
    """Who has asked for something.

    says: values by argument, or by "tool.argument" where tools mean different things by it. wants: tools that the
    request is about, preferred where several are offered. does: what the person does by hand as soon as an answer has
    these words.
    """

    says: Arguments = field(default_factory=dict)
    wants: tuple[str, ...] = ()
    does: Mapping[str, Callable[[], object]] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A call and its answer; a refusal is an answer whose next step is its text."""

    tool: str
    arguments: Arguments
    answer: Answer

    @property
    def told(self) -> str:
        return str(self.answer["next_step"])


def calls_in(text: str) -> Iterator[tuple[str | None, Arguments]]:
    """The calls and single arguments in a text as agents see it; an argument that is only named is null."""
    at = 0
    while found := NAMED.search(text, at):
        at = found.end()
        if found["tool"]:
            arguments, at = _arguments(text, at) if found["open"] else ({}, at)
            yield found["tool"], arguments
        elif value := _value(text, at):
            at = value[1]
            yield None, {found["alone"]: value[0]}


def _arguments(text: str, at: int) -> tuple[Arguments, int]:
    found: Arguments = {}
    while name := re.compile(r",? ?([a-z_]+)(=?)").match(text, at):
        value = _value(text, name.end()) if name[2] else None
        found[name[1]], at = value or (None, name.end())
    return found, at + 1


def _value(text: str, at: int) -> tuple[Any, int] | None:
    if text[at : at + 1] == "'":
        end = text.index("'", at + 1)
        return text[at + 1 : end], end + 1
    try:
        return json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        return None


class Assistant:
    """Follows next steps for one person."""

    def __init__(self, client: Client, person: Person, tools: Sequence[Listed]) -> None:
        self.client, self.person = client, person
        self.takes = {tool.name: tool.input_schema for tool in tools}
        self.trail: list[Step] = []
        self.done: set[str] = set()

    async def reaches(self, first: str, goal: Callable[[Step], bool], *, steps: int = 12) -> list[Step]:
        """Begin with this tool and go on until the goal is reached; returns what was called.

        Raises:
            Lost: there is no next step, or the goal is not reached within so many.
        """
        to_make = (first, self._filled(first, {}) or {})
        while not goal(step := await self._make(*to_make)):
            if len(self.trail) == steps:
                raise Lost(f"not there after {steps} calls: {self}")
            to_make = self.next_call(step)
        return self.trail

    def __str__(self) -> str:
        return "".join(f"\n  {step.tool}({step.arguments}) -> {step.told}" for step in self.trail)

    async def _make(self, tool: str, arguments: Arguments) -> Step:
        try:
            answer = await call(self.client, tool, **arguments)
        except ToolRefused as refusal:
            answer = {"refused": True, "next_step": str(refusal)}
        self.trail.append(Step(tool, arguments, answer))
        if orders := list(orders_in(self.trail[-1].told)):
            raise Lost(f"spent without asking, {orders}: {self}")
        return self.trail[-1]

    def next_call(self, step: Step) -> tuple[str, Arguments]:
        """The call that the answer's next step leads to.

        Raises:
            Lost: it names none that can be made and was not made already.
        """
        if acted := self._let_the_person_act(step):
            return acted
        offered, mended = list(calls_in(step.told)), self._of_the_remedy(step)
        calls = [(tool, {**arguments, **mended.get(tool, {})}) for tool, arguments in offered if tool in self.takes]
        for tool, arguments in sorted(calls, key=lambda one: one[0] not in self.person.wants):
            filled = self._filled(tool, arguments)
            if filled is not None and not self._was_made(tool, filled, step):
                return tool, filled
        for _, argument in [one for one in offered if one[0] is None]:
            again = {**step.arguments, **argument}
            if step.answer.get("refused") and not self._was_made(step.tool, again, step):
                return step.tool, again
        raise Lost(f"no next step that was not taken already: {self}")

    def _let_the_person_act(self, step: Step) -> tuple[str, Arguments] | None:
        """The person does by hand what the answer asks of them; then the same is asked again."""
        text = json.dumps(step.answer, ensure_ascii=False)
        for words, act in self.person.does.items():
            if words in text and words not in self.done:
                self.done.add(words)
                act()
                return step.tool, step.arguments
        return None

    def _of_the_remedy(self, step: Step) -> Mapping[str, Arguments]:
        """The first argument of the remedy that the next step points to; it goes into a new start."""
        remedy = step.answer["failure"]["remedy"] if "failure.remedy" in step.told else ""
        first = next((argument for tool, argument in calls_in(remedy) if tool is None), {})
        return {"nnunet_training": first}

    def _filled(self, tool: str, arguments: Arguments) -> Arguments | None:
        """The arguments with what the person has said; None where something that the tool needs was never said. A
        repeated training has its own."""
        schema = self.takes[tool]
        said = {} if "like" in arguments else self._said(tool, schema["properties"])
        given = {name: value for name, value in arguments.items() if value is not None}
        found = {**said, **given}
        needed = {*schema.get("required", ()), *(arguments.keys() - {"configuration", "fold", "name"})}
        return found if needed <= found.keys() else None

    def _said(self, tool: str, names: Mapping[str, Any]) -> Arguments:
        says, short = self.person.says, tool.removeprefix("nnunet_")
        of_tool = {name: says[f"{short}.{name}"] for name in names if f"{short}.{name}" in says}
        return {**{name: says[name] for name in names if name in says}, **of_tool}

    def _was_made(self, tool: str, arguments: Arguments, last: Step) -> bool:
        """Whether this very call was made already; who waits for a run may ask again."""
        if tool == "nnunet_progress" and last.answer.get("status") in ACTIVE:
            return False
        return any((step.tool, step.arguments) == (tool, arguments) for step in self.trail)


def orders_in(text: str) -> Iterator[str]:
    """Calls that would start or end work, where their sentence does not ask the person before."""
    for sentence in SENTENCE_ENDS.split(TEXT_VALUES.sub("=''", text)):
        for found in SPENDS.finditer(sentence):
            if not ASKS.search(sentence[: found.start()]):
                yield found[0]
