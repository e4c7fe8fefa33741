"""The numbers of a report: Dice and IoU of each class over cases, of each fold, of single cases."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ...nnunet.scores import interval
from ...texts import clean, fold_name
from .names import Names
from .subjects import Subject
from .wording import hours

UNKNOWN = "–"
OVER_CASES, OF_CASE = "mean over cases of a case's mean", "the case's mean"
MOST_CLASSES = 200  # TotalSegmentator has 117


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Values = Mapping[str, float | None]


def per_class(subject: Subject, names: Names) -> Table:
    """Each class over all cases: mean ± standard deviation between cases, and the interval of the mean."""
    scores = subject.scores
    rows = [(name, *_told(subject, scores.dice[label], scores.iou[label])) for label, name in _classes(subject, names)]
    if (more := len(scores.dice) - MOST_CLASSES) > 0:
        rows.append((f"and {more} more", *("",) * 5))
    if len(scores.dice) > 1:
        of_case = {case: scores.of_case(case) for case in scores.cases}
        rows.append((OVER_CASES, *_told(subject, of_case, {})))
    return Table(("class", "Dice ± SD", "95 % interval", "IoU ± SD", "95 % interval", "cases"), tuple(rows))


def _classes(subject: Subject, names: Names) -> Iterator[tuple[str, str]]:
    """The classes, and how they are shown."""
    return ((label, names(clean(label))) for label in islice(subject.scores.dice, MOST_CLASSES))


def _told(subject: Subject, dice: Values, iou: Values) -> tuple[str, ...]:
    return (
        *_spread(dice, subject.patients),
        *_spread(iou, subject.patients),
        str(sum(value is not None for value in dice.values())),
    )


def _spread(values: Values, patients: Mapping[str, str]) -> tuple[str, str]:
    known = [value for value in values.values() if value is not None]
    if not known:
        return UNKNOWN, UNKNOWN
    deviation = f" ± {statistics.stdev(known):.3f}" if len(known) > 1 else ""
    found = interval(values, patients)
    told = UNKNOWN if found is None else f"{found[0]:.3f} to {found[1]:.3f}"
    return f"{statistics.fmean(known):.3f}{deviation}", told


def per_fold(subject: Subject) -> Table:
    """Each fold: cases, nnU-Net's foreground mean, epochs, time."""
    return Table(("fold", "cases", "Dice", "IoU", "epochs", "time"), tuple(_folds(subject)))


def _folds(subject: Subject) -> Iterator[tuple[str, ...]]:
    for fold, cases in subject.scores.folds.items():
        outcome = subject.outcomes.get(fold)
        epochs, took = (outcome.epochs_trained, outcome.train_hours) if outcome else (None, None)
        yield (
            fold_name(fold),
            str(len(cases)),
            shown(subject.scores.mean(cases=cases)),
            shown(subject.scores.mean("iou", cases)),
            UNKNOWN if epochs is None else str(epochs),
            UNKNOWN if took is None else hours(took),
        )


def shown(value: float | None) -> str:
    """A metric, or a dash."""
    return UNKNOWN if value is None else f"{value:.3f}"


def chosen_cases(subject: Subject) -> dict[str, str]:
    """The worst and the median case by their mean Dice, as far as there are so many."""
    measured = {case: subject.scores.of_case(case) for case in sorted(subject.scores.cases)}
    ranked = sorted((value, case) for case, value in measured.items() if value is not None)
    if len(ranked) < 3:
        return {case: "worst" for _, case in ranked[:1]}
    return {ranked[0][1]: "worst", ranked[(len(ranked) - 1) // 2][1]: "median"}


def of_cases(subject: Subject, names: Names) -> Table:
    """The worst and the median case: Dice of each class."""
    chosen, dice = chosen_cases(subject), subject.scores.dice
    rows = [(name, *(shown(dice[label].get(case)) for case in chosen)) for label, name in _classes(subject, names)]
    rows.append((OF_CASE, *(shown(subject.scores.of_case(case)) for case in chosen)))
    head = ("class", *(f"{names.of_case(case)} ({which})" for case, which in chosen.items()))
    return Table(head, tuple(rows))
