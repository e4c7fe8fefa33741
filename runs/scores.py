"""Dice and IoU of every validation case of a model, read from its folds' summaries, and what can be said about them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .datasets import FoldFiles
from .files import read_json
from .result import nan_mean
from .summary import case_name, finite, label_names

RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)


@dataclass
class Scores:
    """Per label and case the Dice and IoU; null where neither the truth nor the prediction has the label."""

    folds: dict[str, set[str]] = field(default_factory=dict)
    dice: dict[str, dict[str, float | None]] = field(default_factory=dict)
    iou: dict[str, dict[str, float | None]] = field(default_factory=dict)

    @property
    def cases(self) -> set[str]:
        return set().union(*self.folds.values())

    def mean(self, metric: str = "dice", cases: set[str] | None = None) -> float | None:
        """The mean over labels of the mean over cases: nnU-Net's foreground_mean.

        Source: nnunetv2 2.8.1, evaluation/evaluate_predictions.py:150-163.
        """
        return nan_mean(self.per_label(metric, cases).values())

    def per_label(self, metric: str = "dice", cases: set[str] | None = None) -> dict[str, float | None]:
        """The mean over cases of each label."""
        table: dict[str, dict[str, float | None]] = getattr(self, metric)
        wanted = self.cases if cases is None else cases
        return {name: nan_mean(values.get(case) for case in sorted(wanted)) for name, values in table.items()}

    def of_case(self, case: str) -> float | None:
        """The case's mean Dice over the labels that occur in it."""
        return nan_mean(values.get(case) for values in self.dice.values())


def read_scores(model: Path, folds: Iterable[str]) -> Scores:
    """The scores of a model's finished folds ("0"-"4", or "all" for the model of every case)."""
    scores = Scores()
    names = label_names((read_json(model / "dataset.json") or {}).get("labels", {}))
    for fold in folds:
        files = FoldFiles(model / f"fold_{fold}")
        content = read_json(files.summary) if files.finished() else None
        if isinstance(content, dict):
            entries = content.get("metric_per_case", [])
            scores.folds[fold] = {case_name(entry["prediction_file"]) for entry in entries}
            for entry in entries:
                _add(scores, case_name(entry["prediction_file"]), entry["metrics"], names)
    return scores


def _add(scores: Scores, case: str, metrics: Mapping[str, Any], names: Mapping[str, str]) -> None:
    for key, values in metrics.items():
        label = names.get(key, key)
        scores.dice.setdefault(label, {})[case] = finite(values.get("Dice"))
        scores.iou.setdefault(label, {})[case] = finite(values.get("IoU"))


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences in Dice, with a 95 % bootstrap interval over the cases."""

    cases: int
    mean: float
    low: float
    high: float


def paired_difference(first: Scores, second: Scores) -> Difference | None:
    """First minus second, over the cases that both have validated; null with fewer than two.

    The interval is the percentile bootstrap of Efron & Tibshirani (An Introduction to the Bootstrap, 1993, ch. 13)
    with 10,000 resamples of the cases and a fixed seed.
    """
    import numpy

    both = ((first.of_case(case), second.of_case(case)) for case in sorted(first.cases & second.cases))
    values = numpy.array([one - other for one, other in both if one is not None and other is not None])
    if len(values) < 2:
        return None
    random = numpy.random.default_rng(0)
    means = numpy.array([random.choice(values, len(values)).mean() for _ in range(RESAMPLES)])
    low, high = numpy.percentile(means, INTERVAL)
    return Difference(len(values), float(values.mean()), float(low), float(high))


def mean_and_sd(values: Iterable[float | None]) -> tuple[float, float] | None:
    """Mean and sample standard deviation; null when one of them is not known or there is only one."""
    numbers = list(values)
    known = [value for value in numbers if value is not None and math.isfinite(value)]
    if len(known) < 2 or len(known) != len(numbers):
        return None
    mean = math.fsum(known) / len(known)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
