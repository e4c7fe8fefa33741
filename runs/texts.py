"""Texts of a bounded length, and sentences about many cases: at most three are named, and no name can do harm."""

import re
from collections.abc import Iterable, Sequence

NAMED = 3
NAME_LENGTH = 80
SAID_LENGTH = 160


ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")


def short(text: str, characters: int) -> str:
    """The text, cut with a mark where it is too long."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def short_in_json(text: str, characters: int) -> str:
    """The text on one line without colours and control characters, cut where its JSON would be too long."""
    plain = "".join(sign if sign.isprintable() else " " for sign in ANSI.sub("", text))
    if _json_length(plain) <= characters:
        return plain
    kept = characters - 1
    while _json_length(plain[:kept]) > characters - 1:
        kept -= 1
    return f"{plain[:kept]}…"


def _json_length(text: str) -> int:
    return len(text) + text.count('"') + text.count("\\")


def fold_name(fold: object) -> str:
    """A fold as our answers name it: the model of every case, nnU-Net's "all", is "full"."""
    return "full" if fold == "all" else str(fold)


def clean(name: object, length: int = NAME_LENGTH) -> str:
    """A name from a file or folder, or a library's words, without control characters and not endless."""
    return short("".join(sign if sign.isprintable() else "�" for sign in str(name)), length)


def some(names: Sequence[object], most: int = NAMED) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(clean(name) for name in names[:most]) + more


def first(names: Sequence[str], most: int) -> tuple[str, ...]:
    """As `some`, for a list of texts."""
    more = (f"… and {len(names) - most} more",) if len(names) > most else ()
    return (*(clean(name) for name in names[:most]), *more)


def told(details: Iterable[tuple[str, str]]) -> str:
    """Cases with what is said of each: "a (x), b (y) and 3 more"."""
    found = list(details)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    named = [(clean(case), clean(said, SAID_LENGTH)) for case, said in found[:NAMED]]
    return ", ".join(f"{case} ({said})" if said else case for case, said in named) + more
