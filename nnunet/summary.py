"""nnU-Net's validation/summary.json as numbers that can be trusted: NaN is null, labels have names.

Source: nnunetv2 2.8.1, evaluation/evaluate_predictions.py:121-173.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..files import read_json
from ..schemas.outcomes import ModelOutcome
from ..schemas.records import CaseMetrics, ClassMetrics, Metrics
from ..schemas.results import HARDLY_ANY
from ..texts import some
from .datasets import CASE_ENDINGS, DatasetFiles, FoldFiles

# Pictures get 999 times their largest spacing along the axis that they lack (simpleitk_reader_writer.py:47,
# natural_image_reader_writer.py:59).
NO_AXIS = 900


class Summary:
    """A read summary.json.

    Raises:
        ValueError: the file is missing or not a summary.
    """

    def __init__(self, path: Path, labels: dict[str, Any]) -> None:
        content = read_json(path)
        if not isinstance(content, dict) or "foreground_mean" not in content:
            raise ValueError(f"{path} is not a summary of nnU-Net's validation")
        self._content = content
        self._names = label_names(labels)

    def metrics(self, validation_loss: float | None) -> Metrics:
        """Dice and IoU as nnU-Net's foreground_mean."""
        mean = self._content["foreground_mean"]
        return Metrics(dice=finite(mean.get("Dice")), iou=finite(mean.get("IoU")), validation_loss=validation_loss)

    def per_class(self) -> tuple[ClassMetrics, ...]:
        """Mean over cases of each class or region, in nnU-Net's order."""
        means = self._content["mean"]
        return tuple(
            ClassMetrics(label=self._name(key), dice=finite(m.get("Dice")), iou=finite(m.get("IoU")))
            for key, m in means.items()
        )

    def cases(self) -> tuple[CaseMetrics, ...]:
        """Every validation case; its Dice is the mean over the classes that occur in it."""
        return tuple(self._case(entry) for entry in self._content["metric_per_case"])

    def _case(self, entry: dict[str, Any]) -> CaseMetrics:
        dice = {self._name(key): finite(m.get("Dice")) for key, m in entry["metrics"].items()}
        numbers = [value for value in dice.values() if value is not None]
        mean = sum(numbers) / len(numbers) if numbers else None
        counted = {key: m for key, m in entry["metrics"].items() if m.keys() >= {"n_pred", "n_ref"}}
        voxels = {self._name(key): (m["n_pred"], m["n_ref"]) for key, m in counted.items()}
        return CaseMetrics(case=case_name(entry["prediction_file"]), dice=mean, per_class=dice, voxels=voxels)

    def _name(self, key: str) -> str:
        return self._names.get(key, key)


class _Case(BaseModel):
    prediction_file: str
    metrics: dict[str, dict[str, Any]]


class _Cases(BaseModel):
    metric_per_case: list[_Case]


CaseTable = dict[str, dict[str, dict[str, Any]]]


def measured_cases(path: Path) -> CaseTable | None:
    """The metrics of each validation case by summary.json's own keys; None where it is not nnU-Net's."""
    try:
        found = _Cases.model_validate(read_json(path))
    except ValidationError:
        return None
    return {case_name(case.prediction_file): case.metrics for case in found.metric_per_case}


def cannot_be_read(fold: FoldFiles) -> str:
    """The sentence for a fold whose summary.json cannot be read."""
    name = f"{fold.path.parent.name}/{fold.path.name}"
    return f"{name}: its validation/summary.json cannot be read. Validate this fold again."


def labels_in(folder: Path) -> dict[str, Any]:
    """The labels of a folder's dataset.json; none where the file is missing or malformed."""
    content = read_json(folder / "dataset.json")
    labels = content.get("labels") if isinstance(content, dict) else None
    return labels if isinstance(labels, dict) else {}


def nan_mean(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers among the values, as numpy.nanmean; null where there is none."""
    numbers = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(numbers) if numbers else None


def why_dice_is_null(per_class: Mapping[str, float | None], cases: str = "validation case") -> str | None:
    """Which classes leave nnU-Net without a mean Dice, in words; None where it has one."""
    absent = [name for name, value in per_class.items() if value is None]
    if not absent:
        return None
    one = len(absent) == 1
    rest = nan_mean(per_class.values())
    without = f"; without {'it' if one else 'them'} the mean is {rest:.4g}" if rest is not None else ""
    classes = f"class {some(absent)} occurs" if one else f"classes {some(absent)} occur"
    return f"Dice is null because {classes} in no {cases}{without}."


def finite(value: Any) -> float | None:
    """A number, or null for NaN, infinity and anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def label_names(labels: dict[str, Any]) -> dict[str, str]:
    """Map summary.json's keys ("1", "(1, 2)") to the names in dataset.json."""
    return {str(tuple(value) if isinstance(value, list) else value): name for name, value in labels.items()}


def case_name(file: str) -> str:
    """The case identifier of an image or prediction file."""
    name = Path(file).name
    ending = next((e for e in CASE_ENDINGS if name.endswith(e)), Path(name).suffix)
    return name.removesuffix(ending)


def voxel_mm3(files: DatasetFiles) -> float | None:
    """The volume of a voxel; null where cases differ by more than 1 %, and for pictures, which have no volume."""
    fingerprint = read_json(files.fingerprint_file)
    spacings = fingerprint.get("spacings") if isinstance(fingerprint, dict) else None
    volumes = [math.prod(spacing) for spacing in spacings or [] if max(spacing) < NO_AXIS * sorted(spacing)[-2]]
    alike = volumes and len(volumes) == len(spacings or []) and max(volumes) <= 1.01 * min(volumes)
    return statistics.median(volumes) if alike else None


def fold_outcome(fold: FoldFiles) -> ModelOutcome | None:
    """What a finished fold measured: our own note, or nnU-Net's files where it was trained by hand."""
    if not fold.finished():
        return None
    own = fold.outcome()
    if own is not None and not measured_since(fold, own):
        return own
    try:
        return _measured_by_hand(fold)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ModelOutcome(ok=True, model_path=str(fold.path), notes=(cannot_be_read(fold),))


def learnt_nothing(source: FoldFiles) -> Iterator[str]:
    """A note where the model that weights are taken from segments nothing, or too little."""
    measured = fold_outcome(source)
    lines = measured.per_class if measured else ()
    missed = [f"{line.label} {line.dice:.3f}" for line in lines if line.dice is not None and line.dice < HARDLY_ANY]
    if missed:
        yield (
            f"Transfer: the pretrained model segments {'nothing' if len(missed) == len(lines) else 'too little'}. Dice "
            f"in its own validation: {some(missed)}. Its weights may be no better than random ones."
        )


def measured_since(fold: FoldFiles, noted: ModelOutcome) -> bool:
    """Whether summary.json has other numbers than our note beside it: someone trained or validated there by hand."""
    try:
        now = Summary(fold.summary, {}).metrics(None)
    except (ValueError, AttributeError):
        return False
    return noted.metrics is not None and (now.dice, now.iou) != (noted.metrics.dice, noted.metrics.iou)


def _measured_by_hand(fold: FoldFiles) -> ModelOutcome:
    summary = Summary(fold.summary, labels_in(fold.path.parent))
    return ModelOutcome(
        ok=True,
        model_path=str(fold.path),
        metrics=summary.metrics(None),
        per_class=summary.per_class(),
        cases=summary.cases(),
        notes=(f"{fold.path.name} was trained outside nnunet-mcp: its validation loss is not known.",),
    )
