"""How the names in a folder may be read as cases: found by their structure, without a list of known data sets.

A template is a path in which the case's name is replaced by {case}. All templates with the same cases together are a
reading of the folder: p1/p1_t1 and p1/p1_seg give {case}/{case}_t1 and {case}/{case}_seg with the same cases.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import regex

from ...image_files import ending_of
from .import_patterns import OF_MASKS, PIECE, WORD, unpadded, words_of

BORDER = regex.compile(r"([/_\-. ]|\{case\}|\{group\})")
IMAGE_WORDS = "image images img imgs im scan scans volume volumes raw photo photos picture pictures bild bilder"
OF_IMAGES = frozenset(IMAGE_WORDS.split())
BRACKETS = (("(", ")"), ("[", "]"))
FEW_WORDS = 7  # a part with more words is only cut at its ends
MANY_FILES = 1500  # what takes about two seconds; of more files a part is tried
FEW_FILES = 100
DEEP = 4  # parts of a path: with two folders that differ, {group} is not enough
CORES = 30
INSIDE = 0.8  # of a template's cases are cases of the reading
BEST = 6


@dataclass(frozen=True)
class Template:
    """A path with {case} in it, without its ending, and the file of each case."""

    text: str
    files: dict[str, str]

    @property
    def loose(self) -> bool:
        """Whether folders in it may have any name."""
        return "{group}" in self.text or "/*/" in self.text

    @property
    def pattern(self) -> str:
        """With its ending, or .* where there are several."""
        endings = {ending_of(name) for name in self.files.values()}
        return self.text + (endings.pop() if len(endings) == 1 else ".*")


@dataclass(frozen=True)
class Reading:
    """Templates with the same cases."""

    cases: frozenset[str]
    templates: tuple[Template, ...]

    @property
    def covered(self) -> int:
        return sum(len(template.files) for template in self.templates)

    @cached_property
    def shared(self) -> frozenset[str]:
        """Parts of the path that all templates have: they tell nothing apart."""
        return frozenset(set.intersection(*(set(one.text.split("/")) for one in self.templates)))

    @property
    def role_words(self) -> float:
        """The share of cases that are called as masks or images are, without a number: then they are none."""
        named = [words for words in map(words_of, self.cases) if not any(map(str.isdecimal, words))]
        return sum(bool(words & (OF_MASKS | OF_IMAGES)) for words in named) / len(self.cases)

    def score(self, files: int) -> float:
        said = any(role_of(template, self.shared) == "mask" for template in self.templates)
        group = any(template.loose for template in self.templates)
        length = sum(map(len, self.cases)) / len(self.cases)
        split = len(self.templates) / (len(self.templates) + len(self.cases))  # train/ and val/ are no two cases
        return self.covered / files - self.role_words + 0.2 * said - 0.1 * group - 0.3 * split + min(length, 60) / 1000


def role_of(template: Template, shared: Collection[str]) -> str:
    """ "mask" or "image" by a word in the last part of the path that has one and is not the same in all; or ""."""
    parts = template.text.split("/")
    for part in reversed([part for part in parts if part not in shared]):
        words = words_of(part.replace("{case}", "_").replace("{group}", "_"))
        mask, image = bool(words & OF_MASKS), bool(words & OF_IMAGES)
        if mask != image:
            return "mask" if mask else "image"
    return ""


def readings(names: Iterable[str], *, by_number: bool = False) -> list[Reading]:
    """The readings of these names, the best first; `by_number` takes 001 and 1 for the same case."""
    all_names = _sampled(sorted(names))
    templates = _templates(all_names, unpadded if by_number else str)
    if not templates:
        return []
    cores: dict[frozenset[str], int] = defaultdict(int)
    by_case: dict[str, list[int]] = defaultdict(list)
    for number, template in enumerate(templates):
        cores[frozenset(template.files)] += len(template.files)
        for case in template.files:
            by_case[case].append(number)
    best = sorted(cores, key=lambda core: (cores[core], sorted(core)), reverse=True)[:CORES]
    found: dict[frozenset[frozenset[str]], Reading] = {}
    for core in best:
        reading = _reading(core, templates, by_case)
        same = frozenset(frozenset(template.files.values()) for template in reading.templates)
        if len(reading.templates) > 1 and (
            same not in found or reading.score(len(all_names)) > found[same].score(len(all_names))
        ):
            found[same] = reading
    ranked = sorted(found.values(), key=lambda one: (one.score(len(all_names)), sorted(one.cases)), reverse=True)
    return ranked[:BEST]


def _sampled(names: list[str]) -> list[str]:
    """All files of some cases, where there are many: files of a case share their longest number that is rare."""
    if len(names) <= MANY_FILES:
        return names
    words = {name: [word for word in WORD.findall(name) if any(map(str.isdecimal, word))] for name in names}
    counts = Counter(word for found in words.values() for word in set(found))
    every = -(-len(names) // MANY_FILES)
    kept = []
    for name in names:
        rare = [word for word in words[name] if counts[word] < len(names) / 4]
        if crc32(max(rare, key=lambda word: (len(word), word), default=name).encode()) % every == 0:
            kept.append(name)
    return kept if len(kept) > FEW_FILES else names[:MANY_FILES]


def _reading(core: frozenset[str], templates: list[Template], by_case: dict[str, list[int]]) -> Reading:
    """Add the templates whose cases are in the core, none with a file of another.

    A template may have further cases: {case}.png also fits p1_seg.png, which {case}_seg.png explains better.
    """
    shared = Counter(number for case in core for number in by_case[case])
    fitting = [
        Template(one.text, {case: name for case, name in one.files.items() if case in core})
        for one, count in ((templates[number], count) for number, count in shared.items())
        if count > 1 and count >= INSIDE * min(len(one.files), len(core))
    ]
    fitting.sort(key=lambda one: (-len(one.files), one.loose, one.text))
    taken: set[str] = set()
    kept = []
    for template in fitting:
        if not taken & set(template.files.values()):
            taken |= set(template.files.values())
            kept.append(template)
    return Reading(core, tuple(kept))


def _templates(names: list[str], case_of: Callable[[str], str]) -> list[Template]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        stem = unicodedata.normalize("NFC", name.removesuffix(ending_of(name)))
        for text, case in _cuts(stem):
            found[text].setdefault(case_of(case), name)
    return [Template(text, files) for text, files in found.items() if len(files) > 1]


def _cuts(stem: str) -> Iterator[tuple[str, str]]:
    """Every template of a path with its case."""
    parts = [PIECE.findall(part) for part in stem.split("/")]
    whole = ["".join(part) for part in parts]
    for at, part in enumerate(parts):
        for run in _runs(part):
            text, case = "/".join("".join(_replaced(one, run, "{case}")) for one in parts), "".join(run)
            yield text, case
            if DEEP <= len(parts) == at + 1:
                yield "/".join([whole[0], *["*"] * (at - 1), text.rpartition("/")[2]]), case
            for above in range(at):
                if whole[above] != case and "{case}" not in whole[above]:
                    outer = parts[above]
                    grouped = [["{group}"] if one == outer else _replaced(one, run, "{case}") for one in parts]
                    yield "/".join("".join(one) for one in grouped), f"{whole[above]}/{case}"


def _runs(part: list[str]) -> Iterator[list[str]]:
    """Sequences of words in a part of a path that may be the case's name."""
    words = [at for at, piece in enumerate(part) if WORD.fullmatch(piece)]
    for number, start in enumerate(words):
        for end in words[number:]:
            if len(words) <= FEW_WORDS or start == words[0] or end == words[-1]:
                yield part[start : end + 1 + _closes(part, start, end + 1)]


def _closes(part: list[str], start: int, stop: int) -> bool:
    """Whether the next piece is the bracket that closes one of the name: benign (1)."""
    run, after = part[start:stop], part[stop : stop + 1]
    return any(run.count(left) > run.count(right) and after == [right] for left, right in BRACKETS)


def _replaced(part: list[str], run: list[str], by: str) -> list[str]:
    found, at = [], 0
    while at < len(part):
        if part[at : at + len(run)] == run:
            found.append(by)
            at += len(run)
        else:
            found.append(part[at])
            at += 1
    return found


def merged(templates: Sequence[Template], by: str) -> str | None:
    """One pattern for several templates that differ in one word, which `by` replaces; None where they differ more."""
    cuts = [BORDER.split(template.text) for template in templates]
    if len({len(cut) for cut in cuts}) == 1 and (text := _by_position(cuts, by)):
        return text + _ending(templates)
    texts = [template.text for template in templates]
    start = shared([BORDER.split(text) for text in texts])
    end = shared([BORDER.split(text)[::-1] for text in texts])[::-1]
    head, tail = "".join(start), "".join(end)
    if any(len(head) + len(tail) >= len(text) for text in texts):
        return None
    middles = [text[len(head) : len(text) - len(tail)] for text in texts]
    if len(set(middles)) < len(texts) or any("/" in middle or "{" in middle for middle in middles):
        return None
    return head + by + tail + _ending(templates)


def _by_position(cuts: list[list[str]], by: str) -> str | None:
    """Where the same word differs at several places: t1/{case}_t1."""
    places = [at for at in range(len(cuts[0])) if len({cut[at] for cut in cuts}) > 1]
    tokens = [{cut[at] for at in places} for cut in cuts]
    if not places or any(len(token) > 1 or not all(token) or BORDER.search(min(token)) for token in tokens):
        return None
    return "".join(by if at in places else piece for at, piece in enumerate(cuts[0]))


def shared(cuts: list[list[str]]) -> list[str]:
    """The pieces with which all begin."""
    found = []
    for pieces in zip(*cuts, strict=False):
        if len(set(pieces)) > 1:
            break
        found.append(pieces[0])
    return found


def _ending(templates: Sequence[Template]) -> str:
    endings = {template.pattern.removeprefix(template.text) for template in templates}
    return endings.pop() if len(endings) == 1 else ".*"
