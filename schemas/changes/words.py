"""Words like "epochs=250": each names a row of a table, which says what may stand behind the "="."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from .values import Values


class Row(Protocol):
    """A name that words can give a value."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> Values: ...
    @property
    def meaning(self) -> str: ...


OfRow = TypeVar("OfRow", bound=Row)


def read_words(words: Iterable[str], rows: Mapping[str, OfRow], unknown: str, *, also: str = "") -> dict[str, str]:
    """The values by name, in the order of the table and in one spelling; `also` is a value that every name takes.

    Raises:
        ValueError: an unknown name (`unknown` says what it is not), a wrong value, or a name that is given twice; it
            says what there is.
    """
    found: dict[str, str] = {}
    for word in words:
        name, value = _read(word, rows, unknown, also)
        if found.setdefault(name, value) != value:
            raise ValueError(f"{name} is given twice, as {found[name]} and as {value}. Leave one out.")
    return {name: found[name] for name in rows if name in found}


def _read(word: str, rows: Mapping[str, OfRow], unknown: str, also: str) -> tuple[str, str]:
    name, _, text = (part.strip() for part in word.partition("="))
    if name not in rows:
        near = difflib.get_close_matches(name.lower(), rows, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name[:40]!r} {unknown}.{hint} There are: {', '.join(rows)}.")
    if also and text == also:
        return name, also
    row = rows[name]
    try:
        return name, row.values.read(text)
    except ValueError as error:
        raise ValueError(f"{name}={text[:40]!r} is not {error}. {row.meaning}") from None


def in_words(values: Mapping[str, str]) -> tuple[str, ...]:
    """The values by name as words again."""
    return tuple(f"{name}={value}" for name, value in values.items())


def explained(rows: Mapping[str, OfRow]) -> dict[str, str]:
    """A line for each name: its values and what it means."""
    return {row.name: f"{row.name}: {row.values.said}. {row.meaning}" for row in rows.values()}
