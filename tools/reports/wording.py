"""How a report writes numbers and lists."""

import re
from collections.abc import Iterable, Sequence
from typing import Any


def listed(parts: Iterable[object]) -> str:
    """1, 2 and 3."""
    *first, last = [*map(str, parts)] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def number(value: Any) -> str:
    """A number without digits that mean nothing: 1, 0.75, 3e-05."""
    return f"{float(value):.4g}"


def by(values: Sequence[Any]) -> str:
    """40 × 56 × 40."""
    return " × ".join(number(value) for value in values)


def per_stage(values: Any) -> str:
    """One number where all stages have the same, else all of them."""
    every = values if isinstance(values, list) else [values]
    return str(every[0]) if len(set(map(str, every))) == 1 else listed(every)


def axes_in(text: str) -> str:
    """The axes in a tuple's text: axes 0, 1 and 2; "" where there is none."""
    found = re.findall(r"\d+", text)
    return f"{'axes' if len(found) > 1 else 'axis'} {listed(found)}" if found else ""


def hours(value: float) -> str:
    """A duration in hours, or in minutes or seconds where it is short."""
    if value >= 1:
        return f"{value:.1f} h"
    return f"{value * 60:.0f} min" if value * 60 >= 1 else f"{value * 3600:.0f} s"
