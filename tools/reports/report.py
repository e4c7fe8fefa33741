"""nnunet_report: trainings in one file to hand on, with nothing that names a patient or a folder."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ...schemas.models import CompareRequest, Report, ReportRequest
from ...settings import Settings
from ...texts import fold_name, numbered
from ..models.compare import nnunet_compare
from . import facts, figures, tables
from .comparison import comparison
from .methods import CITATION, QUOTED, Methods, methods
from .names import Names
from .page import layout_of, written
from .place import place_of, put
from .subjects import Subject, folders_of, subject_of

Tell = Callable[[int, int], None]
# They give up after 60 s; what has begun is finished, and then written.
BEFORE_HOSTS_GIVE_UP_S = 40.0


def nnunet_report(
    request: ReportRequest,
    settings: Settings,
    tell: Tell = lambda done, total: None,
    patience_s: float = BEFORE_HOSTS_GIVE_UP_S,
) -> Report:
    """Write a report on one run, or on several and their comparison. `tell` gets the pictures drawn, and of how many;
    those that `patience_s` does not suffice for are left out.

    Raises:
        NotFound: no such run, or none of its folds is validated yet.
        Refused: a run is no training, the runs are of different datasets, or the file cannot lie there.
    """
    run_ids = tuple(dict.fromkeys(request.run_ids))
    subjects = [subject_of(run_id, settings) for run_id in run_ids]
    compared = nnunet_compare(CompareRequest(run_ids=run_ids), settings) if len(run_ids) > 1 else None
    target = place_of(request, subjects, settings)
    names = Names(frozenset[str]().union(*(one.cases for one in subjects)), folders_of(settings))
    described = [methods(subject) for subject in subjects]
    says = tuple(names.own(line) for line in map(_said, subjects))
    figured, late = _drawn(subjects, names, settings, tell, patience_s)
    content = {
        "title": names.own(_title(subjects)),
        "made": f"Written by nnunet-mcp, {time.strftime('%Y-%m-%d')}. Cases have numbers in place of names.",
        "says": says,
        "comparison": comparison(compared, names) if compared else None,
        "citation": CITATION,
        "curves": figured[0][0],
        "parts": [_part(*one, names) for one in zip(subjects, described, figured[1:], strict=True)],
    }
    file = put(target, written(layout_of(target), content), request, subjects, settings)
    return Report(
        file=str(file),
        says=says,
        methods=_paragraph(described[0], names),
        not_known=described[0].unknown,
        notes=tuple(_cautions(subjects, names, late)),
        next_step="Read the paragraph against your paper's rules, and cite nnU-Net (the file says how).",
    )


def _cautions(subjects: Sequence[Subject], names: Names, late: int) -> Iterator[str]:
    """What to know before the file is handed on."""
    yield "It names no case, patient or folder; read the note and look at the pictures before you hand it on."
    for subject in subjects:
        if subject.result.is_doubtful and subject.result.notes:
            yield f"{subject.record.run_id}: {names(subject.result.notes[0])}"
    if late:
        yield f"{numbered(late, 'picture')} left out: the machine was too busy to draw in time."


def _title(subjects: Sequence[Subject]) -> str:
    first = subjects[0]
    if len(subjects) > 1:
        return f"{first.files.name}: {numbered(len(subjects), 'training')} compared"
    return f"{first.files.name}: {first.record.job.configuration}, {first.base}"


def _said(subject: Subject) -> str:
    """What was measured, in one line."""
    mean = subject.scores.mean()
    dice = "no mean Dice" if mean is None else f"Dice {mean:.3f}"
    folds = f"of fold{'s' if len(subject.scores.folds) > 1 else ''} {', '.join(map(fold_name, subject.scores.folds))}"
    which = "that it was trained on" if subject.is_of_every_case else folds
    cases = numbered(len(subject.scores.cases), "case")
    return f"{subject.record.run_id}: {dice} (nnU-Net's mean over classes) over {cases} {which}."


def _drawn(
    subjects: Sequence[Subject], names: Names, settings: Settings, tell: Tell, patience_s: float
) -> tuple[list[list[figures.Figure]], int]:
    """The curves of all runs, then the pictures of each; and how many there was no time for."""
    plans = [[figures.curves(subjects)], *(list(figures.of_cases(subject, names)) for subject in subjects)]
    drawn = figures.every([plan for own in plans for plan in own], names, settings, tell, patience_s)
    late = sum(figure.caption.endswith(figures.LATE) for figure in drawn)
    left = iter(drawn)
    return [[next(left) for _ in own] for own in plans], late


def _paragraph(told: Methods, names: Names) -> str:
    """The methods without names of cases."""
    return " ".join((names if topic == QUOTED else names.own)(said) for topic, said in told.sentences.items() if said)


def _part(subject: Subject, told: Methods, drawn: list[figures.Figure], names: Names) -> dict[str, Any]:
    def rows(given: Iterable[facts.Row]) -> list[facts.Row]:
        return [(names.own(name), (names if name in facts.QUOTED else names.own)(value)) for name, value in given]

    return {
        "name": names.own(f"{subject.record.run_id}: {subject.model.folder.name}"),
        "question": names(subject.record.note or ""),
        "classes": tables.per_class(subject, names),
        "folds": tables.per_fold(subject),
        "cases": tables.of_cases(subject, names),
        "limits": list(dict.fromkeys(facts.limits(subject, names))),
        "methods": _paragraph(told, names),
        "unknown": ", ".join(told.unknown),
        "figures": drawn,
        "data": rows(facts.of_data(subject)),
        "training": rows(facts.of_training(subject)),
        "again": " ".join(names.own(facts.again(subject)).split()),
        "digests": rows(facts.digests(subject)),
    }
