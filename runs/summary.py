"""nnU-Net's validation/summary.json as numbers that can be trusted: NaN is null, labels have names.

Source: nnunetv2 2.8.1, evaluation/evaluate_predictions.py:121-173.
"""

import math
from pathlib import Path
from typing import Any

from ..schemas.runs import CaseMetrics, ClassMetrics, Metrics, Outcome
from .datasets import CASE_ENDINGS, FoldFiles
from .files import read_json


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
        return CaseMetrics(case=case_name(entry["prediction_file"]), dice=mean, per_class=dice)

    def _name(self, key: str) -> str:
        return self._names.get(key, key)


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


def fold_outcome(fold: FoldFiles) -> Outcome | None:
    """What a finished fold measured: our own note, or nnU-Net's files where it was trained by hand."""
    if not fold.finished():
        return None
    if (own := fold.outcome()) is not None:
        return own
    try:
        return _measured_by_hand(fold)
    except (ValueError, KeyError, TypeError, AttributeError):
        model = fold.path.parent.name
        note = f"{model}/{fold.path.name}: its validation/summary.json cannot be read. Validate this fold again."
        return Outcome(ok=True, model_path=str(fold.path), notes=(note,))


def _measured_by_hand(fold: FoldFiles) -> Outcome:
    labels = (read_json(fold.path.parent / "dataset.json") or {}).get("labels", {})
    summary = Summary(fold.summary, labels)
    return Outcome(
        ok=True,
        model_path=str(fold.path),
        metrics=summary.metrics(None),
        per_class=summary.per_class(),
        cases=summary.cases(),
        notes=(f"{fold.path.name} was trained outside nnunet-mcp: its validation loss is not known.",),
    )
