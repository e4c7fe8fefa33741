"""Shorten texts, list some of many names, and remove from others' texts what could harm a terminal or a reader."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import regex
from pydantic import BaseModel

from .calls import in_mcp, pieces, render

NAMED = 3
NAME_LENGTH = 80
SAID_LENGTH = 160
NOTE_LENGTH = 100  # of a note in lists; the result has the whole
ONE_LINE = {ord("\n"): " ", ord("\t"): " "}

# Terminal sequences for colours and cursor movement (ECMA-48, 5.4).
ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
# Characters that are invisible or change how their neighbours look: controls, writing directions, invisible letters and
# tags, lone surrogates, unusual line separators.
UNSEEN = regex.compile(r"[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}--[\n\t]]", regex.VERSION1)
REPLACED = "�"
# Characters that begin a link, a picture, HTML, code or a table cell; an underscore inside a name is harmless.
MARKDOWN = re.compile(r"[\\`*<>|!#~&]|(?<=\])[(\[:]")
NAMED_SECRET = r"(?P<name>(?:api[_-]?key|token|passw(?:or)?d|secret|authorization)\w{0,40}[\"']?\s*[=:]\s*"
SECRETS = (
    re.compile(r"(?P<name>\b[a-z][a-z0-9+.-]{0,20}://)[^\s/\"'<>]+(?=@)", re.IGNORECASE),
    re.compile(NAMED_SECRET + r"(?P<quote>[\"']))(?:(?!(?P=quote)).)*", re.IGNORECASE),
    re.compile(NAMED_SECRET + r"(?:(?:Bearer|Basic)\s+)?)[^\s\"',}]+", re.IGNORECASE),
    re.compile(r"(?P<name>\bBearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE),
)


def visible(text: str, instead: str = REPLACED) -> str:
    """The text without terminal sequences and invisible characters; line breaks stay."""
    return UNSEEN.sub(instead, ANSI.sub("", text))


def masked(text: str) -> str:
    """The text without the passwords, keys and tokens in it."""
    for secret in SECRETS:
        text = secret.sub(r"\g<name>***", text)
    return text


def all_visible(value: Any) -> Any:
    """The same for every text in an answer, at any depth."""
    return every_text(value, visible)


def for_agents(value: Any) -> Any:
    """An answer as MCP and Python return it: invisible characters removed, calls written as agents make them."""
    return every_text(value, lambda text: render(visible(text), in_mcp))


def every_text(value: Any, change: Callable[[str], str]) -> Any:
    """The value with `change` applied to each text in it, at any depth."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, BaseModel):
        changed = {name: new for name, held in value if (new := every_text(held, change)) != held}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        return {every_text(key, change): every_text(held, change) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(every_text(held, change) for held in value)
    return value


def short(text: str, characters: int) -> str:
    """The text, cut with a mark if it is too long as agents see it; a call in it is kept whole or left out."""
    return _cut(text, characters, len)


def short_in_json(text: str, characters: int) -> str:
    """The text on one line without control characters, cut if its JSON would be too long."""
    return _cut(visible(text, " ").translate(ONE_LINE), characters, _json_length)


def _cut(text: str, characters: int, length: Callable[[str], int]) -> str:
    if length(render(text, in_mcp)) <= characters:
        return text
    kept, left = "", characters - 1
    for piece, said in pieces(text):
        if length(said) > left:
            return f"{kept}{_beginning(piece, left, length) if piece == said else ''}…"
        kept, left = kept + piece, left - length(said)
    return f"{kept}…"


def _beginning(text: str, characters: int, length: Callable[[str], int]) -> str:
    kept = text[:characters]
    while length(kept) > characters:
        kept = kept[:-1]
    return kept


def _json_length(text: str) -> int:
    return len(text) + text.count('"') + text.count("\\")


def fold_name(fold: object) -> str:
    """A fold as our answers name it: nnU-Net's "all", one model on every case, is "full"."""
    return "full" if fold == "all" else str(fold)


def clean(name: object, length: int = NAME_LENGTH) -> str:
    """A name from a file or folder, or a library's message, without control characters and shortened."""
    return short("".join(sign if sign.isprintable() else REPLACED for sign in visible(str(name))), length)


def in_markdown(text: object, length: int) -> str:
    """Others' text on one line, such that Markdown shows it as it is."""
    return MARKDOWN.sub(r"\\\g<0>", clean(" ".join(str(text).split()), length))


def some(names: Sequence[object], most: int = NAMED) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(clean(name) for name in names[:most]) + more


def no_formula(cell: str) -> str:
    """A name such that no spreadsheet computes it (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def opening(text: str) -> str:
    """The text as a sentence begins."""
    return text[:1].upper() + text[1:]


def numbered(count: int, what: str) -> str:
    """1 epoch, 2 epochs."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def first(names: Sequence[str], most: int) -> tuple[str, ...]:
    """As `some`, for a list of texts."""
    more = (f"… and {len(names) - most} more",) if len(names) > most else ()
    return (*(clean(name) for name in names[:most]), *more)


def told(details: Iterable[tuple[str, str]]) -> str:
    """Cases with their remarks: "a (x), b (y) and 3 more"."""
    found = list(details)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    named = [(clean(case), clean(said, SAID_LENGTH)) for case, said in found[:NAMED]]
    return ", ".join(f"{case} ({said})" if said else case for case, said in named) + more


def told_apart(names: Sequence[str], reserved: Sequence[str] = ()) -> list[str]:
    """The names, with their number behind those that are reserved or there twice."""
    return [
        f"{name} {number}" if name in reserved or names.count(name) > 1 else name
        for number, name in enumerate(names, start=1)
    ]
