"""Sentences about many cases that stay short: at most three are named, and no name can do harm."""

from collections.abc import Iterable, Sequence

NAMED = 3
NAME_LENGTH = 80


def clean(name: object) -> str:
    """A name from a file or folder, without control characters and not endless."""
    text = "".join(sign if sign.isprintable() else "�" for sign in str(name))
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"


def some(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(clean(name) for name in names[:NAMED]) + more


def told(details: Iterable[tuple[str, str]]) -> str:
    """Cases with what is said of each: "a (x), b (y) and 3 more"."""
    found = list(details)
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return ", ".join(f"{clean(case)} ({said})" if said else clean(case) for case, said in found[:NAMED]) + more
