"""Dice and IoU of every validation case of a model, read from the summaries of its folds, and their comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .models import Model
from .summary import cannot_be_read, finite, label_names, labels_in, measured_cases, nan_mean

RESAMPLES = 10_000
INTERVAL = (2.5, 97.5)


@dataclass
class Scores:
    """Per label and case the Dice and IoU; null where neither the truth nor the prediction has the label.

    `unread` says of each finished fold whose summary.json is odd that it is left out.
    """

    folds: dict[str, set[str]] = field(default_factory=dict)
    dice: dict[str, dict[str, float | None]] = field(default_factory=dict)
    iou: dict[str, dict[str, float | None]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @property
    def cases(self) -> set[str]:
        return set().union(*self.folds.values())

    def mean(self, metric: str = "dice", cases: set[str] | None = None) -> float | None:
        """The mean over labels of the mean over cases: nnU-Net's foreground_mean.

        Null where a label has no mean, because it occurs in none of the cases (nnU-Net's NaN).
        Source: nnunetv2 2.8.1, evaluation/evaluate_predictions.py:150-163.
        """
        means = list(self.per_label(metric, cases).values())
        return None if None in means else nan_mean(means)

    def per_label(self, metric: str = "dice", cases: set[str] | None = None) -> dict[str, float | None]:
        """The mean over cases of each label."""
        table: dict[str, dict[str, float | None]] = getattr(self, metric)
        wanted = self.cases if cases is None else cases
        return {name: nan_mean(values.get(case) for case in sorted(wanted)) for name, values in table.items()}

    def of_case(self, case: str) -> float | None:
        """The case's mean Dice over the labels that occur in it."""
        return nan_mean(values.get(case) for values in self.dice.values())


def read_scores(model: Model) -> Scores:
    """The scores of the finished folds of a model."""
    scores = Scores()
    names = label_names(labels_in(model.folder))
    for fold in model.folds:
        files = model.fold(fold)
        if not files.finished():
            continue
        measured = measured_cases(files.summary)
        if measured is None:
            scores.unread.append(cannot_be_read(files))
            continue
        scores.folds[fold] = set(measured)
        for case, metrics in measured.items():
            _add(scores, case, metrics, names)
    return scores


def _add(scores: Scores, case: str, metrics: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> None:
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
