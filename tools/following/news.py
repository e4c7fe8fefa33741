"""What there is to tell of a run, in names and numbers: no paths, no names of cases, nobody's own words."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...nnunet.datasets import CASE_ENDINGS, CHANNEL, DatasetFiles, label_files
from ...runs.failures.diagnosis import without_quotes
from ...runs.result import compose_result
from ...schemas.progress import HealthVerdict
from ...schemas.records import ClassMetrics, RunRecord
from ...texts import clean, fold_name, for_agents, numbered, short
from ..watching.health import health
from ..watching.snapshot import RunSnapshot

WAITS_S = 2 * 3600.0
# What a person would want to stop or to look at now; everything else can wait until somebody asks.
ALARMING: Mapping[HealthVerdict, str] = {
    "stalled": "does not move",
    "diverging": "diverges",
    "nan": "has a loss that is not a number",
    "collapsed": "predicts only background",
    "class_missing": "misses classes",
}
CLASSES = 10
TEXT_CHARACTERS = 600
ENDING = f"(?:{'|'.join(map(re.escape, (*CASE_ENDINGS, '.json', '.npz', '.pkl', '.b2nd')))})\\b"
# One in quotes is taken whole, and one that has blanks up to the ending of a file.
PATH = re.compile(
    r"(?<!\w)(?P<quote>['\"])[^'\"\n]*[/\\][^'\"\n]*(?P=quote)(?!\w)"
    rf"|(?<!\S)(?:~|[A-Za-z]:)?[/\\][^'\"\n]*?{ENDING}"
    r"|[^\s'\"(),;]*[/\\][^\s'\"(),;]*"
)
FILE = re.compile(rf"[^\s'\"(),;]+{ENDING}")
IMAGES = ("imagesTr", "imagesTs")
# A shorter name is a number or a letter, which says nothing of a patient.
TELLING = 3


@dataclass(frozen=True)
class News:
    """One thing to tell, once in a run."""

    event: str
    title: str
    text: str


def news(view: RunSnapshot) -> News | None:
    """What there is to tell now; None while the run simply goes on."""
    status = view.judged.status
    if status == "running":
        found = health(view)
        if found.verdict not in ALARMING:
            return None
        return _news(view, found.verdict, ALARMING[found.verdict], found.detail)
    if status == "queued":
        hours = (time.time() - _waits_since(view)) / 3600
        said = f"For {hours:.1f} h: {view.judged.reason}"
        return _news(view, "waiting", "is waiting", said) if hours * 3600 >= WAITS_S else None
    if status == "success":
        return _news(view, "ended", "has finished", "\n".join(_measured(view)))
    if status == "cancelled":
        return _news(view, "ended", "was stopped", view.judged.reason)
    return _news(view, "failed", "has failed", _why(view))


def _news(view: RunSnapshot, event: str, what: str, text: str) -> News:
    said = short(clean_of_names(for_agents(text), view.record), TEXT_CHARACTERS)
    return News(event, f"{_subject(view.record)} {what}", f"{said}\nRun {view.record.run_id}".strip())


def _subject(record: RunRecord) -> str:
    if record.fold is None:
        return f"{record.dataset_name}: {record.job.kind}"
    return f"{record.dataset_name} {record.job.configuration} fold {fold_name(record.fold)}"


def _waits_since(view: RunSnapshot) -> float:
    """Since its start, or since a stage last worked or ended: a job that Slurm requeued waits again."""
    stages = [view.run.stage(spec.name) for spec in view.record.stages]
    ended = [state.ended_at for stage in stages if (state := stage.state()) and state.ended_at]
    worked = [progress.heartbeat for stage in stages if (progress := stage.progress())]
    return max(view.record.created_at, *ended, *worked)


def _measured(view: RunSnapshot) -> Iterator[str]:
    found = compose_result(view.run, view.record, view.judged)
    if found.metrics.dice is not None:
        over = f" over {numbered(found.cases, 'case')}" if found.cases else ""
        yield f"Dice {found.metrics.dice:.4f}{over}"
        yield from _classes(found.per_class)
    if found.epochs and found.train_hours:
        yield f"{numbered(found.epochs, 'epoch')} in {found.train_hours:.1f} h"
    if found.is_doubtful:
        yield "Something speaks against it: see the notes of its result."


def _classes(lines: Sequence[ClassMetrics]) -> Iterator[str]:
    known = [(line.label, line.dice) for line in lines if line.dice is not None]
    for label, dice in known[:CLASSES] if len(known) > 1 else ():
        yield f"{clean(label)} {dice:.4f}"
    if len(known) > CLASSES:
        yield f"and {len(known) - CLASSES} more classes"


def _why(view: RunSnapshot) -> str:
    failure = view.judged.failure
    cause = without_quotes(failure.cause) if failure else view.judged.reason
    return f"{cause}\nIt can go on from where it was." if failure and failure.resume else cause


def clean_of_names(text: str, record: RunRecord) -> str:
    """The text without paths, names of files and names of cases."""
    text = PATH.sub("(a file)", text[: 4 * TEXT_CHARACTERS])
    for case in sorted(_cases(record), key=len, reverse=True):
        if case in text:
            text = re.sub(rf"(?<!\w){re.escape(case)}(?:_\d{{4}})?(?:{ENDING})?(?!\w)", "(a case)", text)
    return FILE.sub("(a file)", text)


def _cases(record: RunRecord) -> set[str]:
    raw = DatasetFiles(record.folders, record.dataset_name).raw
    images = {_without_ending(path.name) for folder in IMAGES for path in (raw / folder).glob("*")}
    known = {_without_ending(name) for name in label_files(raw)}
    known |= {found["case"] if (found := CHANNEL.fullmatch(image)) else image for image in images}
    if record.job.kind == "predict" and record.job.originals:
        known |= record.job.originals.cases.keys()
    return {name for name in known if len(name) >= TELLING}


def _without_ending(name: str) -> str:
    return next((name[: -len(ending)] for ending in CASE_ENDINGS if name.endswith(ending)), name)
