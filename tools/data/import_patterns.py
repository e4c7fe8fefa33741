"""Patterns that say which file is which case, channel and label: {case}/{case}_{channel}.nii.gz."""

import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import regex

from ...allowed_paths import allowed_path
from ...errors import Refused
from ...image_files import ENDINGS, ending_of, is_series
from ...settings import Settings
from ...texts import clean

FIELD = re.compile(r"(\{[^{}]*\}|\*)")
OF_SERIES = re.compile(r"(.*\*(?:\.dcm|\.ima)?)#([^/#]+)", re.IGNORECASE)
PADDING = re.compile(r"(?<!\d)0+(?=\d)")
FIELDS = ("case", "group", "channel", "label")
# Words as people write them in names: letter and digit, lower and upper case are borders.
PIECE = regex.compile(r"\p{Lu}?\p{Ll}+|\p{Lu}+|\p{N}+|.", regex.DOTALL)
WORD = regex.compile(r"[\p{L}\p{N}]+")
MASK_WORDS = """seg segs segmentation segmentations segm mask masks msk label labels lbl lab gt groundtruth truth
    annotation annotations annot ann manual roi rois contour contours delineation reference target targets
    maske masken"""
OF_MASKS = frozenset(MASK_WORDS.split())
MOST_FREE = 8  # parts of a pattern that match any text: more would take long on long names
PATIENCE_S = 2.0  # for all names


@dataclass(frozen=True)
class Match:
    """A file with what its name says."""

    name: str
    case: str
    token: str = ""  # what stands for {channel} or {label}
    series: str = ""  # of several DICOM series in a folder, the one that the pattern names


def with_series(pattern: str) -> tuple[str, str]:
    """A pattern like {case}/*.dcm#3 as the pattern of the files, and the series among them."""
    found = OF_SERIES.fullmatch(pattern)
    named = found and not ending_of(found[2]) and not found[2].endswith(".*")  # else # is a sign in files' names
    return (found[1], found[2]) if found and named else (pattern, "")


def split_head(pattern: str, settings: Settings, what: str) -> tuple[Path | None, str]:
    """The folder that an absolute pattern begins with, if it is one, and the pattern below it.

    Raises:
        Refused: it leads out of the allowed folders.
    """
    parts = pattern.split("/")
    if ".." in parts or "\0" in pattern or "\\" in pattern:
        raise Refused(f"{what} {clean(pattern)!r} must stay below its folder: no .. and no backslash.")
    if not pattern.startswith("/"):
        return None, pattern.removeprefix("./")
    fixed = next((at for at, part in enumerate(parts) if FIELD.search(part)), len(parts))
    folder = allowed_path(settings, "/".join(parts[:fixed]) or "/", what=what)
    return folder, "/".join(parts[fixed:])


def matches(pattern: str, names: Iterable[str], what: str, tokens: Sequence[str] = ()) -> list[Match]:
    """The names that a pattern fits. Text in it stands for itself; `tokens` are all that its {channel} or {label} may
    be.

    Raises:
        Refused: the pattern cannot be used.
    """
    expression = _expression(pattern, what, tokens)
    fitting = whole_matches(expression, {name: unicodedata.normalize("NFC", name) for name in names}, pattern, what)
    found = []
    for name, parts in fitting.items():
        case = "/".join(filter(None, (parts.get("group"), parts["case"])))
        found.append(Match(name, case, parts.get("token") or ""))
    return found


def image_matches(pattern: str, names: Iterable[str], tokens: Sequence[str] = ()) -> list[Match]:
    """As `matches`, of a pattern that may name one of several DICOM series behind #.

    Raises:
        Refused: as `matches`, or it names a series and fits no DICOM files.
    """
    files, series = with_series(pattern)
    hits = matches(files, names, "images", tokens)
    if not series:
        return hits
    of_series = [replace(hit, series=series) for hit in hits if is_series(hit.name)]
    if hits and not of_series:
        raise Refused(
            f"images {clean(pattern)!r} names a DICOM series by #{clean(series)} and fits no DICOM files, but "
            f"{clean(hits[0].name)}. Leave #{clean(series)} out."
        )
    return of_series


def whole_matches(
    expression: "regex.Pattern[str]", texts: Mapping[str, str], pattern: str, what: str
) -> dict[str, dict[str, str]]:
    """What stands for each field of a pattern, by the name of each text that it fits; all in PATIENCE_S.

    Raises:
        Refused: it takes longer.
    """
    found, until = {}, time.monotonic() + PATIENCE_S
    try:
        for name, text in texts.items():
            if match := expression.fullmatch(text, timeout=max(until - time.monotonic(), 0.0)):
                found[name] = match.groupdict()
    except TimeoutError:
        raise Refused(f"{what} {clean(pattern)!r} takes too long to compare. Use fewer * and fields.") from None
    return found


def words_of(text: str) -> set[str]:
    """Its words in lower case; the border between letters and digits parts words."""
    return {piece.lower() for piece in PIECE.findall(text) if WORD.fullmatch(piece)} | {
        word.lower() for word in WORD.findall(text)
    }


def unpadded(case: str) -> str:
    """The case with its numbers as numbers: 001 is 1."""
    return PADDING.sub("", case)


def _expression(pattern: str, what: str, tokens: Sequence[str]) -> "regex.Pattern[str]":
    pieces = [piece for piece in FIELD.split(unicodedata.normalize("NFC", pattern)) if piece]
    fields = [piece[1:-1] for piece in pieces if piece[0] == "{" and piece[-1] == "}"]
    own = "label" if what == "labels" else "channel"
    if "case" not in fields or not set(fields) <= {"case", "group", own}:
        raise Refused(
            f"{what} {clean(pattern)!r} must hold {{case}}, and besides only {{{own}}}, {{group}} and *, for example "
            f"{'masks' if own == 'label' else 'images'}/{{case}}.nii.gz."
        )
    if len([piece for piece in pieces if piece == "*"]) + len(set(fields)) > MOST_FREE:
        raise Refused(f"{what} {clean(pattern)!r} has too many * and fields; {MOST_FREE} are read.")
    seen: set[str] = set()
    any_ending = pattern.endswith(".*")
    text = "".join(_piece(piece, seen, tokens) for piece in (pieces[:-1] if any_ending else pieces))
    if any_ending:
        text = text[: -len(r"\.")] + f"(?i:{'|'.join(regex.escape(ending) for ending in ENDINGS)})"
    return regex.compile(text, regex.DOTALL)


def _piece(piece: str, seen: set[str], tokens: Sequence[str]) -> str:
    if piece == "*":
        return "[^/]*"
    if piece[0] != "{" or piece[1:-1] not in FIELDS:
        return str(regex.escape(piece))
    name = "token" if piece[1:-1] in ("channel", "label") else piece[1:-1]
    if name in seen:
        return f"(?P={name})"
    seen.add(name)
    known = sorted((unicodedata.normalize("NFC", token) for token in tokens), key=len, reverse=True)
    one_of = "|".join(regex.escape(token) for token in known)
    return f"(?P<{name}>{one_of if name == 'token' and one_of else '[^/]+'})"
