"""Which cases a fold trains on and which it validates with: in the split on disk, and in trained folds."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import Refused
from ..files import NotPlain, read_model, read_plain
from ..texts import some
from .datasets import DatasetFiles, FoldFiles
from .preprocessed import DatasetNote, dataset_note_file, raw_cases
from .summary import measured_cases

USUAL_FOLDS = 5
SEED = 12345


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


def usual_split(cases: Sequence[str]) -> Split | None:
    """The five folds that nnU-Net makes from the sorted cases; None where there are too few cases.

    Source: nnunetv2 2.8.1, utilities/crossval_split.py (scikit-learn's KFold, shuffled).
    """
    import numpy

    if len(cases) < USUAL_FOLDS:
        return None
    order = numpy.arange(len(cases))
    numpy.random.RandomState(SEED).shuffle(order)
    held_out = [set(part.tolist()) for part in numpy.array_split(order, USUAL_FOLDS)]
    return tuple(
        FoldCases(
            train=tuple(case for number, case in enumerate(cases) if number not in part),
            val=tuple(case for number, case in enumerate(cases) if number in part),
        )
        for part in held_out
    )


def split_to_make(files: DatasetFiles) -> Split | None:
    """The split that preprocessing should leave; None where there are too few cases for one.

    A split in the raw folder wins over one that we made. A split that the user put beside the preprocessed data is
    kept.

    Raises:
        Refused: the user has two that differ, or a file is no split.
    """
    own, there = read_split(files.own_splits_file), read_split(files.splits_file)
    if there is not None and not made_here(files):
        if own is not None and not _begins_with(there, own):
            raise Refused(
                f"{files.own_splits_file} and {files.splits_file} differ, and both are yours. Remove the one that is "
                "not meant."
            )
        return there
    if own is not None or not files.raw.is_dir():
        return own or there
    return usual_split(raw_cases(files))


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
