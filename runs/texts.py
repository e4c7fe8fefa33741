"""Texts of a bounded length."""

SHOWN = 5


def short(text: str, characters: int) -> str:
    """The text, cut with a mark where it is too long."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
