"""Kinds of values of a change: how each is read, and how it is told in Python and in a name.

`read` gives every value one spelling, so that two requests that mean the same have the same names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Protocol

LONGEST = 12  # characters of a number; more say nothing that training would notice


class Values(Protocol):
    """What may stand behind the "="."""

    @property
    def said(self) -> str:
        """Which values there are, for people."""
        ...

    def read(self, text: str) -> str:
        """The one spelling of a value.

        Raises:
            ValueError: it is none.
        """
        ...

    def code(self, value: str) -> str:
        """The value in Python."""
        ...

    def word(self, value: str) -> str:
        """The value in a name."""
        ...


def _shortest(text: str) -> str:
    """The number that a float holds of a text, as Python writes it: reading that again gives the same."""
    try:
        return repr(float(Decimal(text)))
    except (InvalidOperation, ValueError):
        return "nan"


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`; whole numbers only where `whole`."""

    least: str
    most: str
    whole: bool = False
    above: bool = False  # `least` itself is none of them

    @property
    def said(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} {'above' if self.above else 'from'} {self.least} {'up ' if self.above else ''}to {self.most}"

    def read(self, text: str) -> str:
        spelling = _shortest(text)
        number, least, most = Decimal(spelling), Decimal(self.least), Decimal(self.most)
        if not (number.is_finite() and least <= number <= most) or (self.above and number == least):
            raise ValueError(self.said)
        if len(max(text, spelling, key=len)) > LONGEST:
            raise ValueError(f"{self.said}, with at most {LONGEST} characters")
        if number == number.to_integral_value():
            return str(int(number))
        if self.whole:
            raise ValueError(self.said)
        return spelling

    def code(self, value: str) -> str:
        return value

    def word(self, value: str) -> str:
        """As nnU-Net's own names have it: 1en3 is 0.001 (nnUNetTrainerAdam1en3)."""
        _, digits, exponent = Decimal(value).normalize().as_tuple()
        assert isinstance(exponent, int)
        return f"{''.join(map(str, digits))}en{-exponent}" if exponent < 0 else str(int(Decimal(value)))


@dataclass(frozen=True)
class Gigabytes(Number):
    """A number that is told in the name of plans, which may have points."""

    def word(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class Choice:
    """One of a few names, with what each stands for in the code."""

    names: Mapping[str, str]

    @property
    def said(self) -> str:
        return f"one of {', '.join(self.names)}"

    def read(self, text: str) -> str:
        meant = {code.lower(): name for name, code in self.names.items()}  # true is on
        name = meant.get(text.lower(), text.lower())
        if name not in self.names:
            raise ValueError(self.said)
        return name

    def code(self, value: str) -> str:
        return self.names[value]

    def word(self, value: str) -> str:
        return "".join(part.capitalize() for part in value.split("_"))


SWITCH = Choice({"on": "True", "off": "False"})


@dataclass(frozen=True)
class Axes:
    """None, or some of the axes 0, 1 and 2."""

    said = "none, or axes of the patch such as 0,1"

    def read(self, text: str) -> str:
        if text.lower() == "none":
            return "none"
        if not re.fullmatch(r"[012](,[012]){0,2}", text) or len(set(text.split(","))) < len(text.split(",")):
            raise ValueError(self.said)
        return ",".join(sorted(text.split(",")))

    def code(self, value: str) -> str:
        return "None" if value == "none" else f"({value.replace(',', ', ')},)"

    def word(self, value: str) -> str:
        return "NoMirroring" if value == "none" else f"Mirror{value.replace(',', '')}"


@dataclass(frozen=True)
class PerAxis:
    """A number for each axis, as 96x96x64."""

    each: Number
    axes: tuple[int, ...]
    example: str

    @property
    def said(self) -> str:
        return f"{' or '.join(map(str, self.axes))} numbers such as {self.example}, each {self.each.said}"

    def read(self, text: str) -> str:
        parts = text.lower().split("x")
        if len(parts) not in self.axes:
            raise ValueError(self.said)
        return "x".join(self.each.read(part) for part in parts)

    def code(self, value: str) -> str:
        return f"[{', '.join(value.split('x'))}]"

    def word(self, value: str) -> str:
        return value


@dataclass(frozen=True)
class PerChannel:
    """A name for all channels, or one for each, as ct,zscore."""

    names: Mapping[str, str]

    @property
    def said(self) -> str:
        return f"one of {', '.join(self.names)} for all channels, or one for each, e.g. ct,zscore"

    def read(self, text: str) -> str:
        parts = text.lower().split(",")
        if any(part not in self.names for part in parts):
            raise ValueError(self.said)
        return ",".join(parts)

    def code(self, value: str) -> str:
        return repr(self.each(value, value.count(",") + 1))

    def each(self, value: str, channels: int) -> list[str]:
        """What stands for each channel; one that is given alone is for all."""
        found = [self.names[part] for part in value.split(",")]
        return found * channels if len(found) == 1 else found

    def word(self, value: str) -> str:
        return value.replace(",", "-")


@dataclass(frozen=True)
class Folds:
    """Numbers of folds, or full for the model that was trained on every case."""

    said = "full, or numbers of folds such as 0,2"

    def read(self, text: str) -> str:
        if text == "full":
            return text
        if not re.fullmatch(r"(0|[1-9]\d{0,2})(,(0|[1-9]\d{0,2}))*", text, re.ASCII):
            raise ValueError(self.said)
        return ",".join(sorted(set(text.split(",")), key=int))

    def code(self, value: str) -> str:
        """nnU-Net's own names."""
        return "all" if value == "full" else value

    def word(self, value: str) -> str:
        return value.replace(",", "-")
