"""Dice and IoU of every validation case of a model, read from the summaries of its folds, and their comparison."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..schemas.records import CaseMetrics
from .models import Model
from .summary import cannot_be_read, finite, label_names, labels_in, measured_cases, nan_mean

EVALUATED = "evaluated"  # in place of a fold, for predictions that are no model's validation
RESAMPLES = 10_000
MOST_DRAWN = 1_000_000  # numbers at once: 8 MB
INTERVAL = (2.5, 97.5)
LEVEL = 0.05
# 2^13 = 8,192 patterns of signs.
MOST_UNITS_OF_ALL_SIGNS = 13


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


def scores_of(cases: Iterable[CaseMetrics]) -> Scores:
    """The scores of predictions that were evaluated, whoever made them. IoU follows from Dice: D / (2 - D)."""
    scores = Scores()
    for case in cases:
        scores.folds.setdefault(EVALUATED, set()).add(case.case)
        for label, dice in case.per_class.items():
            scores.dice.setdefault(label, {})[case.case] = dice
            scores.iou.setdefault(label, {})[case.case] = None if dice is None else dice / (2 - dice)
    return scores


def _add(scores: Scores, case: str, metrics: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> None:
    for key, values in metrics.items():
        label = names.get(key, key)
        scores.dice.setdefault(label, {})[case] = finite(values.get("Dice"))
        scores.iou.setdefault(label, {})[case] = finite(values.get("IoU"))


@dataclass(frozen=True)
class Difference:
    """Two models over the cases that both have validated; `dice` and `other` are means over these cases.

    A unit is a patient where the names show patients, else a case.
    """

    cases: int
    units: int
    dice: float
    other: float
    low: float
    high: float
    p: float

    @property
    def mean(self) -> float:
        return self.dice - self.other

    @property
    def clear(self) -> bool:
        """The interval and the test agree that there is a difference.

        Both, because the interval of few cases is too narrow: of five equal signs it never contains 0, though such
        signs come by chance once in sixteen times.
        """
        return self.p < LEVEL and (self.low > 0 or self.high < 0)


def paired_difference(first: Scores, second: Scores, patients: Mapping[str, str]) -> Difference | None:
    """First minus second, over the cases that both have validated; null without such a case. `patients` says whose
    each of them is.

    The interval is the percentile bootstrap of Efron & Tibshirani (An Introduction to the Bootstrap, 1993, ch. 13), the
    test Fisher's: how often random signs of the differences give a mean as large (ch. 15). Both draw patients, with a
    fixed seed.
    """
    import numpy

    known = {case: (first.of_case(case), second.of_case(case)) for case in sorted(first.cases & second.cases)}
    both = {case: (one, other) for case, (one, other) in known.items() if one is not None and other is not None}
    if not both:
        return None
    random = numpy.random.default_rng(0)
    sums, low, high = _bootstrap({case: one - other for case, (one, other) in both.items()}, patients, random)
    dice, reference = (float(numpy.mean(values)) for values in zip(*both.values(), strict=True))
    return Difference(len(both), len(sums), dice, reference, low, high, _sign_flip(sums, random))


def interval(values: Mapping[str, float | None], patients: Mapping[str, str]) -> tuple[float, float] | None:
    """The 95 % interval of the mean over the cases that have a value, by the same bootstrap; null of fewer than two
    patients, which vary in nothing."""
    import numpy

    known = {case: values[case] for case in sorted(values)}
    measured = {case: value for case, value in known.items() if value is not None}
    if len({patients[case] for case in measured}) < 2:
        return None
    _, low, high = _bootstrap(measured, patients, numpy.random.default_rng(0))
    return low, high


def _bootstrap(values: Mapping[str, float], patients: Mapping[str, str], random: Any) -> tuple[Any, float, float]:
    """The sum of each patient's values, and the interval of their mean."""
    import numpy

    place = {name: number for number, name in enumerate(sorted({patients[case] for case in values}))}
    sums, sizes = numpy.zeros(len(place)), numpy.zeros(len(place))
    for case, value in values.items():
        sums[place[patients[case]]] += value
        sizes[place[patients[case]]] += 1
    means = [sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1) for drawn in _draws(random, len(place), len(place))]
    low, high = numpy.percentile(numpy.concatenate(means), INTERVAL)
    return sums, float(low), float(high)


def _sign_flip(sums: Any, random: Any) -> float:
    """Two-sided p: all sign patterns of few units, else a random 10,000 of them and the one that was seen."""
    import numpy

    count = len(sums)
    every = count <= MOST_UNITS_OF_ALL_SIGNS
    patterns = [(numpy.arange(2**count)[:, None] >> numpy.arange(count)) & 1] if every else _draws(random, 2, count)
    # Sums of the same numbers in another order differ in the last digits.
    seen = abs(sums.sum()) - 1e-12
    extreme = sum(int((abs((2 * bits - 1) @ sums) >= seen).sum()) for bits in patterns)
    return extreme / 2**count if every else (extreme + 1) / (RESAMPLES + 1)


def _draws(random: Any, below: int, count: int) -> Iterator[Any]:
    """RESAMPLES rows of `count` random numbers, in blocks that take little memory."""
    rows = max(1, MOST_DRAWN // count)
    for done in range(0, RESAMPLES, rows):
        yield random.integers(0, below, (min(rows, RESAMPLES - done), count))
