"""Flags from a request model: one for each field, so a new field is a new flag."""

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ...errors import Refused
from .codes import Code
from .spelling import flag, opposite, shown, spelled_for

OMITTED = re.compile(r"Omitted: [^.]*\.?$")


class Parser(argparse.ArgumentParser):
    """Reports an error in one sentence, without the whole usage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            known = [word.strip("' ") for word in choice[2].split(",")]
            message = f"There is no command {choice[1]!r}{_did_you_mean(choice[1], known)} Known: {', '.join(known)}."
        self.exit(Code.REFUSED, f"{message}\n{self.prog} --help shows how.\n")


class Switch(argparse.Action):
    """A boolean: --flag or --no-flag."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, option_string == self.option_strings[0])


def add_flags(parser: argparse.ArgumentParser, model: type[BaseModel], words: Sequence[str]) -> None:
    """A flag for every field; the fields in `words` may be given without it, in that order.

    Values stay text and are not checked here: the model checks them, with the messages that agents get, too.
    """
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        details = schema["properties"][name]
        if name in words:
            told = _help(model, field)
            nargs = "*" if details.get("type") == "array" else "?"
            parser.add_argument(_word(name), nargs=nargs, metavar=shown(name), default=argparse.SUPPRESS, help=told)
        options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
        options["help"] = f"the same as {shown(name)}" if name in words else _help(model, field)
        if details.get("type") == "boolean":
            parser.add_argument(flag(name), opposite(name), action=Switch, **options)
        elif details.get("type") == "array":
            parser.add_argument(flag(name), nargs="+", metavar=name.removesuffix("s").upper(), **options)
        else:
            parser.add_argument(flag(name), metavar=_metavar(name, details, schema), **options)


def given(
    arguments: argparse.Namespace,
    rest: list[str],
    model: type[BaseModel],
    words: Sequence[str],
    own: Sequence[str] = ("--json",),
) -> dict[str, Any]:
    """The fields on the command line, as the model takes them; `own` are flags that are no fields.

    Raises:
        Refused: something on the command line is no option, or is there twice.
    """
    _refuse_unknown_options(rest, [*map(flag, model.model_fields), *own])
    found = {name: getattr(arguments, name) for name in model.model_fields if hasattr(arguments, name)}
    left = list(rest)  # argparse leaves words over if options stand between them
    for name in words:
        if hasattr(arguments, _word(name)) or (left and name not in found):
            if name in found:
                raise Refused(f"{flag(name)} is given twice. Leave one out.")
            found[name] = (
                getattr(arguments, _word(name)) if hasattr(arguments, _word(name)) else _left(model, name, left)
            )
    if left:
        raise Refused(f"{left[0]!r} is one word too many. A value with spaces needs quotes.")
    return found


def _left(model: type[BaseModel], name: str, left: list[str]) -> str | list[str]:
    """The next word, or all of them for a list."""
    if model.model_json_schema()["properties"][name].get("type") != "array":
        return left.pop(0)
    every = [*left]
    left.clear()
    return every


def _refuse_unknown_options(rest: list[str], known: list[str]) -> None:
    for word in rest:
        if word.startswith("-"):
            option = word.split("=")[0]
            hint = _did_you_mean(option, known)
            raise Refused(f"{option}: unknown option{hint} Known: {', '.join(known) or 'none'}.")


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def _word(name: str) -> str:
    return f"{name} as a word"


def _metavar(name: str, details: dict[str, Any], schema: dict[str, Any]) -> str:
    arms = [details, *details.get("anyOf", [])]
    choices = next((arm["enum"] for arm in arms if "enum" in arm), None)
    return "{" + ",".join(map(str, choices)) + "}" if choices else name.upper()


def _help(model: type[BaseModel], field: FieldInfo) -> str:
    text = spelled_for(model, field.description or "").replace("%", "%%")
    if field.is_required() or field.default in (None, "", ()) or OMITTED.search(text):
        return text
    default = ("on" if field.default else "off") if isinstance(field.default, bool) else field.default
    return f"{text} Default: {default}."
