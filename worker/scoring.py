"""Scores of predictions against labels, case by case: nnU-Net's own arithmetic, beside it volumes and surfaces.

A case that cannot be compared is left out with the reason, and the others are scored.
"""

import math
import multiprocessing
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy

from ..allowed_paths import readable_file
from ..errors import RunError
from ..image_files import PICTURES, TIFF
from ..nnunet.summary import NO_AXIS
from ..schemas.datasets import LabelLook, Reader
from ..schemas.records import CaseSurface
from ..settings import Settings
from ..texts import some
from .asks.inspection.images import header_of, look_at_label, sentence
from .resources import usable_memory
from .stage import Job
from .surfaces import surface_of

NO_AXIS_MM = 999.0  # what nnU-Net says of pictures (2.8.1, imageio/natural_image_reader_writer.py:59)
READERS: dict[str, Reader] = {"NaturalImage2DIO": "natural", "Tiff3DIO": "tiff"}
# Headers say where voxels lie in few digits: 1 % of a spacing, and 0.6 degrees.
SPACING, DIRECTION = 0.01, 0.01
# Two images as float32, masks, and distances. Measured: 32 where the classes fill most of a volume of 256 x 256 x 256.
BYTES_PER_VOXEL = 48
SHARE_OF_MEMORY = 0.5
FEW = 8  # cases per process: with fewer its start takes longer than what it saves
MOST_REASONS = 5
HEADERS = 100  # of the largest files; reading one takes about a millisecond
Key = int | tuple[int, ...]
# What nnU-Net counts of a class that occurs in neither image (2.8.1, evaluation/evaluate_predictions.py:107-118).
ABSENT = {"Dice": math.nan, "IoU": math.nan, **dict.fromkeys(("FP", "TP", "FN", "n_pred", "n_ref"), 0)}


@dataclass(frozen=True)
class Pair:
    """A case: what was predicted and what is true."""

    case: str
    prediction: str
    reference: str


@dataclass(frozen=True)
class Wanted:
    """What is measured: these classes, or every value that occurs; `tolerance_mm` asks for surfaces."""

    classes: tuple[Key, ...] | None
    ignored: int | None = None
    reader: type[Any] | None = None
    tolerance_mm: float | None = None

    @classmethod
    def of(cls, labels: Mapping[str, Any], **more: Any) -> "Wanted":
        """The labels of a dataset.json; of nnU-Net's own regions each one that is not the background.

        Source: nnunetv2 2.8.1, utilities/label_handling/label_handling.py:49-108.
        """
        named = {name: value for name, value in labels.items() if name != "ignore" and value not in (0, [0])}
        regions = any(isinstance(value, list) and len(value) > 1 for value in named.values())
        values: Iterable[Key] = (tuple(value) if isinstance(value, list) else value for value in named.values())
        if not regions:
            values = sorted({part for value in values for part in (value if isinstance(value, tuple) else (value,))})
        return cls(tuple(values) if named else None, labels.get("ignore"), **more)

    @cached_property
    def declared(self) -> set[int]:
        """Every value that a voxel may have."""
        parts = (one if isinstance(one, tuple) else (one,) for one in self.classes or ())
        return {0, *(part for one in parts for part in one), *([] if self.ignored is None else [self.ignored])}


@dataclass
class Scored:
    """A case as nnU-Net's summary.json has it, and what we add; or `fault`, why it is left out."""

    case: str
    entry: dict[str, Any] = field(default_factory=dict)
    voxels: int = 0
    voxel_ml: float | None = None
    surface: dict[Key, CaseSurface] = field(default_factory=dict)
    undeclared: tuple[int, ...] = ()
    moved: bool = False  # the origins differ
    fault: str = ""
    no_surface: str = ""  # why there are no surface distances


class Misfit(Exception):
    """Why a case cannot be compared."""


class _Keeping:
    """A reader of nnU-Net's that keeps what it has read."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.found: dict[str, Any] = {}

    def read_seg(self, file: str) -> Any:
        self.found[file] = self.reader.read_seg(file)
        return self.found[file]


def score_case(pair: Pair, wanted: Wanted) -> Scored:
    """Measure one case; what speaks against it is told, never raised."""
    try:
        return _scored(pair, wanted)
    except Misfit as misfit:
        return Scored(pair.case, fault=str(misfit))
    except RunError as error:
        return Scored(pair.case, fault=error.text)
    except Exception as error:  # an exception of an image library must not end the other cases
        return Scored(pair.case, fault=sentence(error, Path(pair.prediction)))


def _scored(pair: Pair, wanted: Wanted) -> Scored:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics, region_or_label_to_mask

    reader = wanted.reader or _reader_of(pair)
    predicted, true = _look(pair.prediction, "prediction", reader), _look(pair.reference, "label", reader)
    _refuse_elsewhere(predicted, true)
    values = {*predicted.values, *true.values}
    classes = wanted.classes if wanted.classes is not None else tuple(sorted(values - {0}))
    keeping = _Keeping(reader())
    entry = compute_metrics(pair.reference, pair.prediction, keeping, list(classes), wanted.ignored)
    scored = Scored(
        pair.case, entry, math.prod(true.shape), _voxel_ml(true, pair.reference), moved=_moved(predicted, true)
    )
    if wanted.classes is not None:
        scored.undeclared = tuple(sorted(values - wanted.declared))
    if wanted.tolerance_mm is not None:
        truth, prediction = (keeping.found[file][0][0] for file in (pair.reference, pair.prediction))
        counted = truth != wanted.ignored if wanted.ignored is not None else numpy.True_
        try:
            for one in classes:
                masks = (region_or_label_to_mask(image, one) & counted for image in (truth, prediction))
                scored.surface[one] = surface_of(*masks, spacing=true.spacing, tolerance_mm=wanted.tolerance_mm)
        except Exception as error:  # nnU-Net's own numbers are there
            scored.surface, scored.no_surface = {}, sentence(error, Path(pair.prediction))
    return scored


def _reader_of(pair: Pair) -> type[Any]:
    """nnU-Net's reader of these files; both must be of one kind. ITK also reads .nii."""
    from nnunetv2.imageio.reader_writer_registry import NaturalImage2DIO, SimpleITKIO, Tiff3DIO

    kinds = [_kind(pair.prediction), _kind(pair.reference)]
    if kinds[0] != kinds[1]:
        raise Misfit(f"the prediction is a {kinds[0]}, the label a {kinds[1]}")
    found: type[Any] = {"picture": NaturalImage2DIO, "stack": Tiff3DIO, "volume": SimpleITKIO}[kinds[0]]
    return found


def _kind(file: str) -> str:
    ending = Path(file).suffix.lower()
    if ending not in TIFF:
        return "picture" if ending in PICTURES else "volume"
    look = look_at_label(readable_file(Path(file), Settings()), None)
    return "picture" if look.spacing[:1] == (NO_AXIS_MM,) else "stack"


def _look(file: str, what: str, reader: type[Any]) -> LabelLook:
    path = readable_file(Path(file), Settings())
    usual: Reader = "nibabel" if reader.__name__.startswith("Nibabel") else "simpleitk"
    look = look_at_label(path, READERS.get(reader.__name__, usual))
    if look.error:
        raise Misfit(f"the {what} cannot be read: {look.error}")
    if look.channels > 1:
        raise Misfit(f"the {what} has {look.channels} channels or colours")
    if look.fractional or look.uncounted or look.not_numbers or look.infinite:
        raise Misfit(f"the {what} has values as an image has them, not those of classes")
    return look


def _refuse_elsewhere(predicted: LabelLook, true: LabelLook) -> None:
    """Raise where voxel by voxel would compare different places."""
    if predicted.shape != true.shape:
        raise Misfit(f"the prediction has {_sizes(predicted.shape)} voxels, the label {_sizes(true.shape)} (z, y, x)")
    if not numpy.allclose(predicted.spacing, true.spacing, rtol=SPACING, atol=0):
        raise Misfit(f"the prediction has the spacing {_sizes(predicted.spacing)}, the label {_sizes(true.spacing)}")
    known = predicted.direction and true.direction
    near = DIRECTION * max(map(abs, true.direction), default=0.0)  # nibabel's have the length of a voxel
    if known and not numpy.allclose(predicted.direction, true.direction, rtol=0, atol=near):
        raise Misfit("prediction and label are stored in different directions")


def _sizes(lengths: Sequence[float]) -> str:
    return " × ".join(f"{length:.4g}" for length in lengths)


def _moved(predicted: LabelLook, true: LabelLook) -> bool:
    """Whether the first voxels lie more than half a voxel apart."""
    known = predicted.origin and true.origin and len(true.shape) == 3
    return bool(known) and not numpy.allclose(predicted.origin, true.origin, rtol=0, atol=min(true.spacing) / 2)


def _voxel_ml(look: LabelLook, file: str) -> float | None:
    """The volume of a voxel; null for pictures, and for a TIFF stack without a spacing."""
    unknown = look.unplaced and Path(file).suffix.lower() in TIFF
    flat = unknown or len(look.spacing) != 3 or max(look.spacing) >= NO_AXIS * sorted(look.spacing)[-2]
    return None if flat else math.prod(look.spacing) / 1000


def score_all(job: Job, pairs: Sequence[Pair], wanted: Wanted) -> list[Scored]:
    """Every case in order, in as many processes as cores and memory allow.

    Raises:
        StopRequested: somebody asked for the run to stop.
    """
    job.reporter.say("scoring", done=0, total=len(pairs))
    processes = _processes(pairs)
    measure = partial(score_case, wanted=wanted)
    if processes == 1:
        return list(_told(job, map(measure, pairs)))
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(_told(job, pool.imap(measure, pairs)))


def _told(job: Job, scores: Iterable[Scored]) -> Iterator[Scored]:
    for done, scored in enumerate(scores, 1):
        yield scored
        job.reporter.tick(done=done)
        job.reporter.stop_here()


def _processes(pairs: Sequence[Pair]) -> int:
    largest = sorted((Path(pair.reference) for pair in pairs), key=_size)[-HEADERS:]
    shapes = [header["shape"] for header in map(header_of, largest) if header]
    each = BYTES_PER_VOXEL * max(map(math.prod, shapes), default=0)
    fitting = int(usable_memory().available * SHARE_OF_MEMORY / each) if each else len(pairs)
    return max(1, min(int(os.environ.get("nnUNet_def_n_proc", "1")), len(pairs) // FEW, fitting))  # noqa: SIM112


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def summary_of(scores: Sequence[Scored], wanted: Wanted) -> dict[str, Any]:
    """What nnU-Net writes of these cases into summary.json.

    Source: nnunetv2 2.8.1, evaluation/evaluate_predictions.py:149-171.
    """
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    classes = classes_of(scores, wanted)
    entries = [_with_absent(one, classes) for one in scores]
    names = ["Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing but NaN is NaN
        means = {
            key: {name: numpy.nanmean([entry["metrics"][key][name] for entry in entries]) for name in names}
            for key in classes
        }
    foreground = {name: numpy.mean([mean[name] for mean in means.values()]) for name in names}
    found = {"metric_per_case": entries, "mean": means, "foreground_mean": foreground}
    for part in (*entries, means, foreground):
        recursive_fix_for_json_export(part)
    return found


def classes_of(scores: Iterable[Scored], wanted: Wanted) -> tuple[Key, ...]:
    """The classes that were asked for, else every value that occurs anywhere."""
    if wanted.classes is not None:
        return wanted.classes
    return tuple(sorted({key for one in scores for key in one.entry["metrics"]}))


def _with_absent(one: Scored, classes: Iterable[Key]) -> dict[str, Any]:
    nothing = {**ABSENT, "TN": one.voxels}
    return {**one.entry, "metrics": {key: one.entry["metrics"].get(key, nothing).copy() for key in classes}}


def _is_equal(one: Scored) -> bool:
    """Whether something was segmented and no voxel of it is wrong, which no model achieves on an image of a patient."""
    counts = list(one.entry.get("metrics", {}).values())
    return any(found["TP"] for found in counts) and not any(found["FP"] or found["FN"] for found in counts)


def remarks_of(scores: Iterable[Scored]) -> Iterator[str]:
    """Which cases were left out and why, and what is odd about others."""
    every = list(scores)
    reasons: dict[str, list[str]] = {}
    for one in every:
        if one.fault:
            reasons.setdefault(one.fault, []).append(one.case)
    for why, cases in list(reasons.items())[:MOST_REASONS]:
        yield f"Left out: {some(cases)}: {why}."
    if rest := list(reasons.values())[MOST_REASONS:]:
        yield f"Left out for further reasons: {some([case for cases in rest for case in cases])}."
    if moved := [one.case for one in every if one.moved]:
        yield f"Origins of prediction and label differ ({some(moved)}): they were compared voxel by voxel."
    if equal := [one.case for one in every if _is_equal(one)]:
        yield f"Equal to their labels in every voxel ({some(equal)}): are these copies of the labels?"
    if odd := [one for one in every if one.undeclared]:
        values = sorted({value for one in odd for value in one.undeclared})
        yield f"Values that no class has, {some(values, 9)}, count as background ({some([one.case for one in odd])})."
