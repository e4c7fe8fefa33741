"""Print the tools' answers for people: tables, cards and plain lines. Without a terminal: no colours, no wrapping."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from ...schemas.datasets import DatasetDetails, DatasetsAnswer, Prepared
from ...schemas.logs import LogsAnswer
from ...schemas.models import CompareAnswer, ImportAnswer, PredictionStarted, Report, ZipContents
from ...schemas.preflight import PreflightAnswer
from ...schemas.progress import ProgressAnswer
from ...schemas.records import BestConfiguration, Failure
from ...schemas.results import Result
from ...schemas.run_list import CancelAnswer, RunLine, RunsAnswer, RunStarted, TrainingStarted
from ...schemas.system import Check, DoctorAnswer
from .screen import STYLES, console, draw_card, draw_next, draw_notes, draw_table, duration, line
from .show_dataset import facts, label_rows, plan_rows

FITS = {"fits": "fits", "tight": "may just not fit", "no": "does not fit"}


def show(answer: BaseModel) -> None:
    """Print an answer for people."""
    SHOWN.get(type(answer), _fields)(console(), answer)


def _fields(screen: Console, answer: BaseModel) -> None:
    """An answer without a layout of its own: its fields, and lists of records as tables."""
    shown = answer.model_dump(mode="json", exclude={"notes", "next_step"})
    tables = {name: held for name, held in shown.items() if isinstance(held, list) and held and _are_rows(held)}
    draw_card(screen, [(name, _plain(held)) for name, held in shown.items() if name not in tables])
    for name, rows in tables.items():
        line(screen, name, "bold")
        draw_table(screen, rows[0], [[_plain(held) for held in row.values()] for row in rows])
    draw_notes(screen, getattr(answer, "notes", ()))
    draw_next(screen, getattr(answer, "next_step", ""))


def _are_rows(held: list[Any]) -> bool:
    return all(isinstance(row, dict) and row.keys() == held[0].keys() for row in held)


def _plain(held: object) -> object:
    if isinstance(held, list):
        return ", ".join(str(_plain(one)) for one in held)
    if isinstance(held, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in held.items())
    return held


def _failure(screen: Console, failure: Failure | None) -> None:
    if failure:
        draw_card(screen, [("cause", failure.cause), ("evidence", failure.evidence), ("remedy", failure.remedy)])


def _training(screen: Console, answer: TrainingStarted) -> None:
    what = f"{answer.dataset_name}, {answer.configuration}" + (f", fold {answer.fold}" if answer.fold else "")
    device = _device(answer.device, answer.device_reason)
    draw_card(screen, [("run", answer.run_id), ("status", answer.status), ("training", what), ("device", device)])
    draw_table(screen, ("stage", "status", ""), [(s.name, s.status, s.detail) for s in answer.stages])
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _device(device: str | None, reason: str) -> str:
    """ "cuda: there is NVIDIA H200, 143.8 GB"."""
    return ": ".join(filter(None, (device, reason)))


def _left(answer: ProgressAnswer) -> str | None:
    if answer.eta_s is None or answer.eta is None:
        return None
    between = f"{duration(answer.eta.low_s)} to {duration(answer.eta.high_s)}"
    return f"about {duration(answer.eta_s)} ({between}), until {answer.eta.at}; {answer.eta.basis}"


def _progress(screen: Console, answer: ProgressAnswer) -> None:
    epoch = f"{answer.epoch}/{answer.epochs}" if answer.epochs else answer.epoch
    draw_card(
        screen,
        [
            ("run", answer.run_id),
            ("status", answer.status),
            ("done", f"{answer.percent} %, {duration(answer.elapsed_s)} so far"),
            ("stage", ": ".join(part for part in (answer.stage, answer.phase) if part)),
            ("epoch", epoch),
            ("train_loss", answer.train_loss),
            ("val_loss", answer.val_loss),
            ("pseudo Dice", answer.pseudo_dice),
            ("time left", _left(answer)),
            ("Dice", answer.dice),
            ("health", f"{answer.health.verdict}: {answer.health.detail}"),
        ],
    )
    _failure(screen, answer.failure)
    draw_next(screen, answer.next_step)


def _logs(screen: Console, answer: LogsAnswer) -> None:
    for text in answer.lines:
        line(screen, text)


def _results(screen: Console, answer: Result) -> None:
    what = f"{answer.dataset_name}, {answer.configuration}" + (f", fold {answer.fold}" if answer.fold else "")
    metrics = answer.metrics
    draw_card(
        screen,
        [
            ("run", answer.run_id),
            ("status", answer.status),
            ("note", answer.note),
            ("training" if answer.fold else "run of", what),
            ("Dice", metrics.dice),
            ("IoU", metrics.iou),
            ("validation loss", metrics.validation_loss),
            ("Dice of the folds", answer.dice_mean_sd),
            ("trainer", answer.trainer),
            ("epochs", answer.epochs),
            ("model", answer.model_path),
            ("weights", answer.checkpoint),
            ("predictions", answer.predictions),
            ("zip", answer.archive),
            ("evaluation", answer.evaluation),
        ],
    )
    if answer.best:
        _best(screen, answer.best)
    if answer.per_class:
        draw_table(screen, ("class", "Dice", "IoU"), [(c.label, c.dice, c.iou) for c in answer.per_class])
    if answer.surface:
        heads = ("class", "HD95 (mm)", f"NSD ({answer.surface.tolerance_mm:g} mm)", "cases", "without HD95")
        lines = answer.surface.per_class
        draw_table(screen, heads, [(c.label, c.hd95_mm, c.nsd, c.cases, c.without_hd95) for c in lines])
    if len(answer.folds) > 1:
        rows = [(f.fold, f.dice, f.iou, f.validation_loss, f.cases) for f in answer.folds]
        draw_table(screen, ("fold", "Dice", "IoU", "validation loss", "cases"), rows)
    if answer.worst_cases:
        draw_table(screen, ("worst cases", "Dice"), [(c.case, c.dice) for c in answer.worst_cases])
    if answer.uncertain_cases:
        columns = ("most uncertain cases", "disagreement", "entropy", "nothing predicted")
        shown = [(c, "yes" if c.nothing_predicted else "") for c in answer.uncertain_cases]
        draw_table(screen, columns, [(c.case, c.disagreement, c.entropy, nothing) for c, nothing in shown])
    _failure(screen, answer.failure)
    draw_notes(screen, answer.notes)
    draw_next(screen, "" if answer.complete else answer.next_step)


def _preflight(screen: Console, answer: PreflightAnswer) -> None:
    network, hours = answer.network, answer.hours
    told = f"{hours.expected:g} ({hours.low:g} to {hours.high:g}): {hours.basis}" if hours else "not known"
    memory = f"{network.gpu_memory_gb} GB on a GPU, {network.parameters / 1e6:.1f} million weights" if network else None
    if network and network.fit:
        memory = f"{memory}; {FITS[network.fit]} in {network.device_memory_gb} GB"
    draw_card(
        screen,
        [
            ("possible", "yes" if answer.possible else "no"),
            ("dataset", answer.dataset_name),
            ("device", _device(answer.device, answer.device_reason)),
            ("hours", told),
            ("memory", memory),
            *(("disk", f"{room.needed_gb} of {room.free_gb} GB free in {room.folder}") for room in answer.disk),
            *(("queue", text) for text in answer.queue),
        ],
    )
    for problem in answer.problems:
        line(screen, problem, "red")
    draw_table(screen, ("stage", "status", ""), [(s.name, s.status, s.detail) for s in answer.stages])
    if answer.recommended:
        line(screen, f"recommended: {answer.recommended.configuration}. {' '.join(answer.recommended.reasons)}")
    for choice in answer.choices:
        line(screen, choice)
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _compare(screen: Console, answer: CompareAnswer) -> None:
    line(screen, answer.table)
    for found in answer.differences:
        interval = f"{found.low:+.4f} to {found.high:+.4f} over {found.cases} cases"
        line(screen, f"{found.model} against {found.against}: Dice {found.difference:+.4f} ({interval})")
    for model in answer.models:
        if model.differs:
            line(screen, f"{model.name} was trained with {'; '.join(model.differs)}")
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _prediction(screen: Console, answer: PredictionStarted) -> None:
    cases = f"{answer.cases}, folds {', '.join(answer.folds)}"
    told = [("run", answer.run_id), ("status", answer.status), ("device", answer.device), ("cases", cases)]
    draw_card(screen, [*told, ("estimate", answer.estimate), ("output", answer.output)])
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _started(screen: Console, answer: RunStarted) -> None:
    draw_card(screen, [("run", answer.run_id), ("status", answer.status)])
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _imported(screen: Console, answer: ImportAnswer) -> None:
    draw_card(screen, [("run", answer.run_id), ("status", answer.status)])
    if answer.contents:
        _zipped(screen, answer.contents)
    draw_notes(screen, answer.notes)
    draw_next(screen, answer.next_step)


def _zipped(screen: Console, found: ZipContents) -> None:
    rows = [(one.model, " ".join(one.folds), f"{one.trainer} ({one.whose})", one.dice) for one in found.models]
    takes = [("channels", ", ".join(found.channels)), ("labels", ", ".join(found.labels))]
    draw_card(screen, [("dataset", found.dataset_name), *takes, ("cases", found.cases)])
    draw_table(screen, ("model", "folds", "trainer", "Dice"), rows)
    draw_notes(screen, [why for one in found.models for why in one.problems])


def _best(screen: Console, found: BestConfiguration) -> None:
    draw_table(screen, ("candidates", "Dice"), [(one.name, one.dice) for one in found.candidates])
    draw_card(screen, [("best", found.name), ("Dice", found.dice), ("postprocessed", found.dice_postprocessed)])
    draw_notes(screen, found.postprocessing)


def _runs(screen: Console, answer: RunsAnswer) -> None:
    heads = ("run", "status", "dataset", "configuration", "fold", "started (UTC)", "stage", "epoch", "Dice", "")
    rows: list[tuple[Any, ...]] = [
        (r.run_id, r.status, r.dataset, r.configuration, what, _minute(r.started), r.stage, r.epoch, r.dice, _told(r))
        for r in answer.runs
        for what in [r.fold or r.kind]
    ]
    if rows:
        draw_table(screen, heads, rows)
    if answer.shown < answer.total:
        line(screen, f"Showing {answer.shown} of {answer.total}; --limit shows more.", "dim")
    draw_next(screen, "" if rows else answer.next_step)


def _told(run: RunLine) -> str:
    return "; ".join(filter(None, (run.note, run.detail)))


def _minute(iso: str) -> str:
    return iso[:16].replace("T", " ")


def _cancel(screen: Console, answer: CancelAnswer) -> None:
    draw_card(screen, [("run", answer.run_id), ("status", answer.status)])
    line(screen, answer.detail)
    draw_next(screen, answer.next_step)


def _datasets(screen: Console, answer: DatasetsAnswer) -> None:
    rows = [
        (
            f"{d.dataset_id:03d}",
            d.name,
            d.cases,
            ", ".join(d.channels),
            ", ".join(d.labels),
            ", ".join(d.preprocessed),
            "; ".join(f"{m.configuration} {m.trainer} folds {','.join(m.folds)}" for m in d.trained),
        )
        for d in answer.datasets
    ]
    if rows:
        draw_table(screen, ("id", "name", "cases", "channels", "labels", "preprocessed", "trained"), rows)
    if answer.others:
        line(screen, f"and {', '.join(answer.others)}")
    for dataset in answer.datasets:
        if isinstance(dataset, DatasetDetails):
            _details(screen, dataset)
        for problem in dataset.problems:
            line(screen, f"{dataset.dataset_id:03d}: {problem}", "red")
    draw_next(screen, answer.next_step)


def _details(screen: Console, dataset: DatasetDetails) -> None:
    draw_card(screen, facts(dataset))
    if rows := label_rows(dataset):
        draw_table(screen, ("label", "share", "cases"), rows)
    if plans := plan_rows(dataset):
        draw_table(screen, ("plans", "patch", "batch", "spacing", "stages", "preprocessed"), plans)
    for warning in dataset.warnings:
        line(screen, f"{dataset.dataset_id:03d}: {warning}", STYLES["warning"])


def _prepared(screen: Console, answer: Prepared) -> None:
    cases = f"{answer.cases}, and {answer.test_cases} to test" if answer.test_cases else answer.cases
    pairs = [("dataset", answer.dataset_name), ("cases", cases), ("channels", ", ".join(answer.channels))]
    draw_card(screen, [*pairs, ("labels", ", ".join(answer.labels)), ("folder", answer.path)])
    for layout in answer.layouts:
        line(screen, f"{layout.cases} cases: {layout.call}", "bold")
        for text in (*layout.pairs, *(f"left over: {name}" for name in layout.left_over)):
            line(screen, f"  {text}")
    for change in answer.changes:
        line(screen, f"{'changed' if answer.written else 'would change'}: {change}", "dim")
    for doubt in answer.doubts:
        line(screen, f"in doubt: {doubt}", STYLES["warning"])
    draw_next(screen, answer.next_step)


def _doctor(screen: Console, answer: DoctorAnswer) -> None:
    for check in answer.checks:
        _check(screen, check)
    line(screen, answer.next_step, "bold")


def _check(screen: Console, check: Check) -> None:
    line(screen, f"{check.level:8} {check.name}: {check.detail}", STYLES[check.level])
    if check.fix:
        line(screen, f"{'':8} → {check.fix}")


def _report(screen: Console, answer: Report) -> None:
    for text in (*answer.says, answer.file, answer.methods):
        line(screen, text)
    draw_notes(screen, answer.notes)
    draw_notes(screen, [f"not known: {', '.join(answer.not_known)}"] if answer.not_known else ())
    draw_next(screen, answer.next_step)


SHOWN: dict[type[BaseModel], Callable[[Console, Any], None]] = {
    TrainingStarted: _training,
    PreflightAnswer: _preflight,
    CompareAnswer: _compare,
    PredictionStarted: _prediction,
    RunStarted: _started,
    ImportAnswer: _imported,
    ProgressAnswer: _progress,
    LogsAnswer: _logs,
    Result: _results,
    Report: _report,
    RunsAnswer: _runs,
    CancelAnswer: _cancel,
    DatasetsAnswer: _datasets,
    Prepared: _prepared,
    DoctorAnswer: _doctor,
}
