"""nnunet_report: trainings in one file to hand on, with nothing that names a patient or a folder."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import Refused
from ...files import make_folder, write_new
from ...nnunet.output_paths import REPORTS, chosen_output, same_output
from ...schemas.models import CompareAnswer, CompareRequest, Report, ReportRequest
from ...settings import Settings
from ...texts import fold_name, numbered
from ..models.compare import nnunet_compare
from . import facts, figures, tables
from .methods import CITATION, Methods, methods
from .names import Names
from .page import ENDINGS, layout_of, written
from .subjects import Subject, folders_of, subject_of

Tell = Callable[[int, int], None]
MOST_NAMES = 999  # files of one default name


def nnunet_report(request: ReportRequest, settings: Settings, tell: Tell = lambda done, total: None) -> Report:
    """Write a report on one run, or on several and their comparison. `tell` gets the pictures drawn, and of how many.

    Raises:
        NotFound: no such run, or none of its folds is validated yet.
        Refused: a run is no training, the runs are of different datasets, or the file cannot lie there.
    """
    run_ids = tuple(dict.fromkeys(request.run_ids))
    subjects = [subject_of(run_id, settings) for run_id in run_ids]
    compared = nnunet_compare(CompareRequest(run_ids=run_ids), settings) if len(run_ids) > 1 else None
    target = _target(request, subjects, settings)
    names = Names(frozenset[str]().union(*(one.cases for one in subjects)), folders_of(settings))
    described = [methods(subject) for subject in subjects]
    says = tuple(names(line) for line in map(_said, subjects))
    content = {
        "title": names(_title(subjects)),
        "made": f"Written by nnunet-mcp, {time.strftime('%Y-%m-%d')}. Cases have numbers in place of names.",
        "says": says,
        "comparison": _comparison(compared, names) if compared else None,
        "citation": CITATION,
        **_drawn(subjects, described, names, settings, tell),
    }
    text = written(layout_of(target), content)
    same_output(settings, target, [subject.model for subject in subjects])  # drawing took a while
    file = _write(target, text, fixed=request.output is not None)
    return Report(
        file=str(file),
        says=says,
        methods=names(described[0].text),
        not_known=described[0].unknown,
        next_step="Read the paragraph against your paper's rules, and cite nnU-Net (the file says how).",
    )


def _target(request: ReportRequest, subjects: Sequence[Subject], settings: Settings) -> Path:
    """Where the file is to lie; a name of our own may still get a number.

    Raises:
        Refused: it cannot lie there, or is there already.
    """
    models, first = [subject.model for subject in subjects], subjects[0]
    if request.output is None:
        more = f"_and_{len(subjects) - 1}_more" if len(subjects) > 1 else ""
        name = f"{first.record.run_id}{more}{ENDINGS[request.format or 'html'][0]}"
        return chosen_output(settings, str(first.files.results / REPORTS / name), models)
    output = chosen_output(settings, request.output, models)
    endings = ENDINGS[request.format] if request.format else tuple(one for both in ENDINGS.values() for one in both)
    if output.suffix.lower() not in endings:
        raise Refused(f"output {request.output!r} does not end with {' or '.join(endings)}. Give it such a name.")
    if output.exists() or output.is_symlink():
        raise _taken(output)
    return output


def _taken(output: Path) -> Refused:
    return Refused(f"{output} is there already, and nothing is overwritten. Choose another output.")


def _write(target: Path, text: str, *, fixed: bool) -> Path:
    """Write the file; beside an earlier report under the name of our own, with a number."""
    make_folder(target.parent)
    for number in range(1, 2 if fixed else MOST_NAMES):
        path = target if number == 1 else target.with_name(f"{target.stem}_{number}{target.suffix}")
        with suppress(FileExistsError):
            write_new(path, text)
            return path
    raise _taken(target)


def _title(subjects: Sequence[Subject]) -> str:
    first = subjects[0]
    if len(subjects) > 1:
        return f"{first.files.name}: {numbered(len(subjects), 'training')} compared"
    return f"{first.files.name}: {first.record.job.configuration}, {first.base}"


def _said(subject: Subject) -> str:
    """What was measured, in one line."""
    mean = subject.scores.mean()
    dice = "no mean Dice" if mean is None else f"Dice {mean:.3f}"
    folds = f"fold{'s' if len(subject.scores.folds) > 1 else ''} {', '.join(map(fold_name, subject.scores.folds))}"
    cases = numbered(len(subject.scores.cases), "case")
    return f"{subject.record.run_id}: {dice} (nnU-Net's mean over classes) over {cases} of {folds}."


def _comparison(found: CompareAnswer, names: Names) -> dict[str, Any]:
    head = ("model", "folds", "cases", "Dice", "over folds", "IoU", "epochs")
    rows = tuple(
        (
            names(model.name),
            ", ".join(model.folds),
            str(model.cases),
            tables.shown(model.dice),
            model.dice_mean_sd or tables.UNKNOWN,
            tables.shown(model.iou),
            str(model.epochs or tables.UNKNOWN),
        )
        for model in found.models
    )
    verdicts = [
        f"{one.verdict[0].upper()}{one.verdict[1:]}: difference {one.difference:.4f}, 95 % interval {one.low:.4f} to "
        f"{one.high:.4f}, p {one.p:.4f}."
        for one in found.differences
    ]
    told = [*verdicts, *found.notes]
    return {
        "table": tables.Table(head, rows),
        "verdicts": [names(one) for one in told],
        "method": names(_of_differences(found)),
    }


def _of_differences(found: CompareAnswer) -> str:
    """How they were tested; the answer's own fields, which its method explains first, are none of the report's."""
    return "".join(found.method.partition("differences: ")[1:])


def _drawn(
    subjects: Sequence[Subject], described: Sequence[Methods], names: Names, settings: Settings, tell: Tell
) -> dict[str, Any]:
    """The curves of all runs, and a part for each of them."""
    plans = [list(figures.of_cases(subject, names)) for subject in subjects]
    curves, *others = figures.every(
        [figures.curves(subjects), *(plan for own in plans for plan in own)], names, settings, tell
    )
    left = iter(others)
    return {
        "curves": curves,
        "parts": [
            _part(subject, told, [next(left) for _ in own], names)
            for subject, told, own in zip(subjects, described, plans, strict=True)
        ],
    }


def _part(subject: Subject, told: Methods, drawn: list[figures.Figure], names: Names) -> dict[str, Any]:
    def rows(given: Iterable[facts.Row]) -> list[facts.Row]:
        return [(names(name), names(value)) for name, value in given]

    return {
        "name": names(f"{subject.record.run_id}: {subject.model.folder.name}"),
        "question": names(subject.record.note or ""),
        "classes": tables.per_class(subject, names),
        "folds": tables.per_fold(subject),
        "cases": tables.of_cases(subject, names),
        "limits": [names(line) for line in dict.fromkeys(facts.limits(subject))],
        "methods": names(told.text),
        "unknown": ", ".join(told.unknown),
        "figures": drawn,
        "data": rows(facts.of_data(subject)),
        "training": rows(facts.of_training(subject)),
        "again": " ".join(names(facts.again(subject)).split()),
        "digests": rows(facts.digests(subject)),
    }
