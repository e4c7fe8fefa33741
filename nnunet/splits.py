"""Which cases a fold trains on and which it validates with: in the split on disk, and in trained folds."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import Refused
from ..files import NotPlain, read_model, read_plain, write_model, write_text
from ..texts import numbered, some, told
from .datasets import DatasetFiles, FoldFiles
from .preprocessed import DatasetNote, dataset_note_file, raw_cases
from .summary import measured_cases

USUAL_FOLDS = 5
SEED = 12345

# pat00_visit1, sub-03_ses-2, p7_t0: a word for a visit or a time, and its number.
VISIT = re.compile(
    r"^(?P<patient>.*?)[_-](?:visit|scan|session|ses|timepoint|time|tp|t|exam|study|day|followup|fu)[_-]?\d+$",
    re.IGNORECASE,
)
# ms12_slice004: a patient may have any number of slices.
SLICE = re.compile(r"^(?P<patient>.*\d.*?)[_-](?:slice|slc|z)[_-]?\d+$", re.IGNORECASE)
# 07_L and 07_R, p3_a and p3_b: a side or a letter after a number.
SIDE = re.compile(r"^(?P<patient>.*\d)(?:[LR]|[_-](?:[a-z]|left|right|od|os))$", re.IGNORECASE)
# training01_03, the naming of the MS lesion challenge of ISBI 2015: two numbers.
SECOND_NUMBER = re.compile(r"^(?P<patient>.*\d)[_-]\d+$")
# More scans than this per patient, and the first number is rather a year or a site. ISBI 2015 has four to six.
MOST_SCANS = 6


class FoldCases(BaseModel):
    """The cases of a fold, as nnU-Net's splits_final.json has them."""

    model_config = ConfigDict(frozen=True)

    train: tuple[str, ...]
    val: tuple[str, ...]

    @property
    def every(self) -> frozenset[str]:
        return frozenset(self.train) | frozenset(self.val)

    def same(self, other: "FoldCases") -> bool:
        return set(self.train) == set(other.train) and set(self.val) == set(other.val)


class TrainedCases(FoldCases):
    """The cases that a training began with. It keeps to them until its last validation, even when the split changes."""

    raw_identity: str = Field(default="", description="Of the raw data that the preprocessed cases were made from.")


class SplitNote(BaseModel):
    """How the splits_final.json with this digest was made."""

    digest: str
    made: str


Split = tuple[FoldCases, ...]
_SPLIT = TypeAdapter[Split](Split)


def read_split(path: Path) -> Split | None:
    """A split file, or None where there is none.

    Raises:
        Refused: it is no split.
    """
    try:
        split = _SPLIT.validate_json(read_plain(path))
    except FileNotFoundError:
        return None
    except (NotPlain, ValidationError):
        split = ()
    if not split:
        raise Refused(
            f"{path} is no split of nnU-Net: a list of folds, each with 'train' and 'val', which list cases. Correct "
            "it, or remove it."
        )
    return split


def usual_split(cases: Sequence[str], folds: int = USUAL_FOLDS, seed: int = SEED) -> Split | None:
    """The folds that nnU-Net makes from the sorted cases, five unless told; None where there are too few cases.

    Source: nnunetv2 2.8.1, utilities/crossval_split.py (scikit-learn's KFold, shuffled).
    """
    import numpy

    if len(cases) < folds:
        return None
    order = numpy.arange(len(cases))
    numpy.random.RandomState(seed).shuffle(order)
    return split_of(cases, [{cases[number] for number in part} for part in numpy.array_split(order, folds)])


def split_of(cases: Sequence[str], held_out: Sequence[Set[str]]) -> Split:
    """The split in which each fold validates its part and trains on all other cases."""
    return tuple(
        FoldCases(
            train=tuple(case for case in cases if case not in part),
            val=tuple(case for case in cases if case in part),
        )
        for part in held_out
    )


def faults(split: Split, cases: Collection[str], patients: Mapping[str, str]) -> list[str]:
    """What makes the folds useless or their results too good, in words; `patients` are those of the cases, as far as
    they are known."""
    known = set(cases)
    return [f"fold {number} {fault}" for number, fold in enumerate(split) for fault in _faults(fold, known, patients)]


def _faults(fold: FoldCases, known: set[str], patients: Mapping[str, str]) -> Iterator[str]:
    yield from unusable(fold)
    if unknown := sorted(fold.every - known):
        yield f"names cases that the dataset does not have: {some(unknown)}"
    trained = {patients[case] for case in fold.train if case in patients}
    if both := sorted({patients[case] for case in fold.val if case in patients} & trained):
        yield f"has cases of the same patient in training and in validation: {some(both)}"


def patients_of(cases: Iterable[str]) -> dict[str, str]:
    """The patient of each case; each case is its own where the names show nothing."""
    wanted = sorted(cases)
    for pattern in (SLICE, VISIT, SIDE, SECOND_NUMBER):
        found = {case: match["patient"] if (match := pattern.match(case)) else case for case in wanted}
        patients = len(set(found.values()))
        if 1 < patients < len(wanted) and (pattern is SLICE or len(wanted) <= MOST_SCANS * patients):
            return found
    return {case: case for case in wanted}


def torn_patients(split: Split, cases: Collection[str]) -> tuple[str, str]:
    """Patients who are on both sides of folds, as far as names show them, in words; and the pattern of the names that
    says whose each case is, "" where none does."""
    patients = patients_of(cases)
    both = [{patients.get(c, c) for c in fold.train} & {patients.get(c, c) for c in fold.val} for fold in split]
    torn = set[str]().union(*both)
    if not torn:
        return "", ""
    scans: dict[str, list[str]] = {}
    for case, patient in patients.items():
        scans.setdefault(patient, []).append(case)
    several = sum(len(own) > 1 for own in scans.values())
    named = told((name, some(own)) for name, own in scans.items() if name in torn)
    return (
        f"{numbered(several, 'patient')} seem to have several cases, by their names, and {len(torn)} of them are in "
        f"training and in validation of {sum(map(bool, both))} of {numbered(len(split), 'fold')}: {named}. Then the "
        "validation measures patients that were trained on",
        _pattern_of(patients),
    )


def _pattern_of(patients: Mapping[str, str]) -> str:
    """Such as {patient}_visit*. The patient ends where the text after it first occurs."""
    after = {case.removeprefix(patient).rstrip("0123456789") for case, patient in patients.items() if case != patient}
    start = os.path.commonprefix(list(patients.values())).rstrip("0123456789")  # noqa: RUF071 - names, no paths
    for begin, ending in product(("", start), [*sorted(after), "_", "-"]):
        if not (begin + ending).isprintable() or set(begin + ending) & set("{}*"):
            continue
        expression = re.compile(f"{re.escape(begin)}(.+?){re.escape(ending)}.*", re.DOTALL)
        found = {case: match[1] for case in patients if (match := expression.fullmatch(case))}
        pairs = {(found.get(case), patient) for case, patient in patients.items()}
        if len(found) == len(patients) and len(pairs) == len(set(found.values())) == len(set(patients.values())):
            return f"{begin}{{patient}}{ending}*"
    return ""


def keep_split(files: DatasetFiles, split: Split, made: str) -> Path | None:
    """Write the split beside the raw data; returns where one that is not ours is kept."""
    path, text, kept = files.own_splits_file, text_of(split), None
    before = read_plain(path).decode(errors="replace") if path.is_file() else text
    if before != text and _how_made(files, before) is None:
        kept = path.with_name(f"splits_before_{digest(before)[:8]}.json")
        write_text(kept, before)
    # The note comes first: it counts only for the split with this digest.
    write_model(_split_note_file(files), SplitNote(digest=digest(text), made=made))
    write_text(path, text)
    return kept


def _split_note_file(files: DatasetFiles) -> Path:
    return files.raw / "nnunet_mcp_split.json"


def _how_made(files: DatasetFiles, text: str) -> str | None:
    note = read_model(_split_note_file(files), SplitNote)
    return note.made if note is not None and note.digest == digest(text) else None


def split_told(files: DatasetFiles, *, used: bool = False) -> str:
    """How many folds the dataset's split has and whose choice it is; "" where there is none yet. With `used`, the split
    beside the preprocessed data counts, even if the one beside the raw data is another by now.

    Raises:
        Refused: a file is no split.
    """
    own, there = read_split(files.own_splits_file), read_split(files.splits_file)
    if own is not None and not (used and there is not None and not _begins_with(there, own)):
        made = _how_made(files, read_plain(files.own_splits_file).decode(errors="replace"))
        return f"{numbered(len(own), 'fold')}, {made or 'of a splits_final.json that was put into the raw folder'}"
    if there is None:
        return ""
    usual = made_here(files) or there == usual_split(sorted(there[0].every))
    whose = f"as nnU-Net makes them, with seed {SEED}" if usual else "put beside the preprocessed data"
    return f"{numbered(len(there), 'fold')}, {whose}"


def own_faults(files: DatasetFiles) -> list[str]:
    """What is wrong with a split beside the raw data."""
    own = read_split(files.own_splits_file)
    return faults(own, raw_cases(files), {}) if own else []


def own_idle(files: DatasetFiles) -> str:
    """The cases that a split beside the raw data leaves out, in words; they may have come after it."""
    own = read_split(files.own_splits_file)
    return idle_cases(own, raw_cases(files)) if own else ""


def own_torn(files: DatasetFiles) -> tuple[str, str]:
    """As `torn_patients`, of the split that a training would have.

    Raises:
        Refused: it is not clear which.
    """
    return torn_patients(split_to_make(files) or (), raw_cases(files))


def idle_cases(split: Split, cases: Collection[str]) -> str:
    """Cases that no fold trains on or validates, in words; "" where there are none."""
    idle = sorted(set(cases) - frozenset[str]().union(*(fold.every for fold in split)))
    return f"{len(idle)} of {len(cases)} cases are in no fold of splits_final.json: {some(idle)}" if idle else ""


def unusable(fold: FoldCases) -> Iterator[str]:
    """Why no training should use a fold."""
    for side, held in (("training", fold.train), ("validation", fold.val)):
        if not held:
            yield f"has no case in {side}"
    if both := sorted(set(fold.train) & set(fold.val)):
        yield f"has cases both in training and in validation: {some(both)}"


def split_to_make(files: DatasetFiles) -> Split | None:
    """The split that preprocessing should leave; None where there are too few cases for one.

    A split in the raw folder wins over one that we made, and over the one that nnU-Net makes by itself. A split that
    the user put beside the preprocessed data is kept.

    Raises:
        Refused: the user has two that differ, or a file is no split.
    """
    own = read_split(files.own_splits_file)
    there = chosen_split(files, own)
    if there is not None:
        return there
    if own is not None or not files.raw.is_dir():
        return own or read_split(files.splits_file)
    return usual_split(raw_cases(files))


def chosen_split(files: DatasetFiles, own: Split | None) -> Split | None:
    """The split beside the preprocessed data if it is the user's choice, which `own` beside the raw data does not
    contradict.

    Raises:
        Refused: it does.
    """
    there = read_split(files.splits_file)
    if there is None or made_here(files):
        return None
    if own is None or _begins_with(there, own):
        return there
    if there == usual_split(sorted(there[0].every)):  # nnU-Net has made it without being asked
        return None
    raise Refused(
        f"{files.own_splits_file} and {files.splits_file} differ, and both are yours. Remove the one that is not meant."
    )


def _begins_with(split: Split, beginning: Split) -> bool:
    """Whether one split begins with the folds of the other; nnU-Net accepts more folds too
    (default_experiment_planner.py:578)."""
    return len(split) >= len(beginning) and all(one.same(other) for one, other in zip(split, beginning, strict=False))


def made_here(files: DatasetFiles) -> bool:
    """Whether the split beside the preprocessed data is one that we put there."""
    note = read_model(dataset_note_file(files), DatasetNote)
    if note is None or not files.splits_file.is_file():
        return False
    with suppress(NotPlain):
        return note.own_splits == digest(read_plain(files.splits_file).decode(errors="replace"))
    return False


def text_of(split: Split) -> str:
    """The split as a file's text."""
    return json.dumps([{"train": fold.train, "val": fold.val} for fold in split], indent=4)


def digest(text: str) -> str:
    """The hash by which our note recognises a split that we made."""
    return hashlib.sha256(text.encode()).hexdigest()


def complete_folds(files: DatasetFiles) -> list[str]:
    """The folds of the dataset's split; five where there is none."""
    split = read_split(files.splits_file)
    return [str(number) for number in range(len(split) if split else USUAL_FOLDS)]


def is_fixed_set(files: DatasetFiles) -> bool:
    """Whether the folds of the split validate only some cases: a fixed validation set, which is no cross-validation."""
    split = read_split(files.splits_file) or ()
    every = frozenset[str]().union(*(fold.every for fold in split))
    return bool(every - {case for fold in split for case in fold.val})


def trained_cases(fold: FoldFiles) -> TrainedCases | None:
    """What the training in a fold folder began with; None where it was made by hand or by an earlier version."""
    return read_model(fold.cases_file, TrainedCases)


def validated_cases(fold: FoldFiles) -> frozenset[str]:
    """The cases that summary.json has numbers for; none where it cannot be read."""
    return frozenset(measured_cases(fold.summary) or ())


def other_cases(fold: FoldFiles, wanted: FoldCases) -> str | None:
    """How the cases of a trained fold differ from the split, in words; None where they agree or cannot be compared."""
    own = trained_cases(fold)
    if own is None and not fold.finished():
        return None
    validated = frozenset(own.val) if own else validated_cases(fold)
    if validated != set(wanted.val):
        return f"{fold.path.name} validates {_told(validated)}, but the split says {_told(set(wanted.val))}"
    if own and set(own.train) != set(wanted.train):
        changed = sorted(set(own.train) ^ set(wanted.train))
        return f"{fold.path.name} was trained on other cases than the split says: {some(changed)} differ"
    return None


def begun_otherwise(files: DatasetFiles, split: Split, model: str = "*__*__*") -> list[str]:
    """Folds whose training began with other cases than the split gives them: MODEL/fold_0."""
    present = read_split(files.splits_file) or ()
    folds = sorted(files.results.glob(f"{model}/fold_*"), key=lambda fold: (fold.parent, len(fold.name), fold.name))
    begun = [FoldFiles(path) for path in folds if path.name.removeprefix("fold_").isdecimal()]
    return [f"{one.path.parent.name}/{one.path.name}" for one in begun if _is_of_another(one, split, present)]


def _is_of_another(fold: FoldFiles, split: Split, present: Split) -> bool:
    """A training by hand that is not finished began with the split that lies beside the preprocessed data."""
    number = int(fold.path.name.removeprefix("fold_"))
    if not fold.checkpoints() or number >= len(split):
        return bool(fold.checkpoints())
    if trained_cases(fold) is None and not fold.finished():
        return number < len(present) and not present[number].same(split[number])
    return other_cases(fold, split[number]) is not None


def _told(cases: Set[str]) -> str:
    return some(sorted(cases)) or "no case"


def validated_twice(folds: Mapping[str, Set[str]]) -> str | None:
    """Which cases several folds hold out, in words; such folds are no cross-validation."""
    for fold, cases in folds.items():
        for other, others in folds.items():
            if fold < other and (both := sorted(cases & others)):
                return f"folds {fold} and {other} both validate {some(both)}"
    return None


def known_cases(weights: Path, held_out: Collection[str]) -> list[str]:
    """A note where the pretrained model was trained on cases that are validated with, as far as names show it."""
    source = trained_cases(FoldFiles(weights.parent))
    both = sorted(set(held_out) & set(source.train)) if source else []
    if not both:
        return []
    return [
        f"Transfer: the pretrained model was trained on cases named as {len(both)} of the {len(held_out)} validation "
        f"cases ({some(both)}). If they are the same images, the Dice is too high."
    ]
