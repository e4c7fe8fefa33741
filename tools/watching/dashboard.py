"""nnunet_dashboard: a run at a glance, in words for the chat and in numbers for the page."""

from typing import Any

from ...calls import call, calls_in
from ...runs.layout import RunDir
from ...schemas.base import Record
from ...schemas.dashboard import (
    CaseScore,
    Curves,
    DashboardAnswer,
    DashboardData,
    DashboardDataRequest,
    DashboardRequest,
    FoldScore,
    Resume,
    RunFacts,
    Scores,
    Selected,
    StageFacts,
)
from ...schemas.jobs import NO_DATASET
from ...schemas.records import ACTIVE, CaseMetrics, ClassMetrics, Metrics, QueueAction, RunRecord, StageSpec
from ...schemas.results import FoldResult
from ...schemas.run_list import RunLine, RunsRequest
from ...settings import Settings
from ...texts import short
from .curves import LABEL_CHARACTERS, curves_of, sparkline
from .progress import answer
from .results import result_of
from .resuming import after_failure, resume_hint
from .run_lines import iso
from .runs import nnunet_runs
from .snapshot import RunSnapshot, newest_at_work, recorded, snapshot, tend

# Bounds that keep the page's data under 30 kB and the answer in words under 1,500 characters.
RUNS_SHOWN = 10
RUNS_NAMED = 3
CLASSES_SHOWN = 20
CASES_SHOWN = 15
NOTES_SHOWN = 3
NAME_CHARACTERS = 60
NOTE_CHARACTERS = 180
TEXT_CHARACTERS = 1100
# How often the page looks for new runs while another run than the shown one is at work.
OTHERS_EVERY_S = 15
# A look of the page costs no chat a word, so it need not wait as long as progress.retry_after_s says.
LIVE_EVERY_S = 10


def nnunet_dashboard(request: DashboardRequest, settings: Settings, *, read_only: bool) -> DashboardAnswer:
    """The run in words and small curves, for hosts that show no pages.

    Raises:
        NotFound: no such run.
    """
    data = nnunet_dashboard_data(DashboardDataRequest(run_id=request.run_id), settings, read_only=read_only)
    if data.run is None:
        return DashboardAnswer(run_id=None, text="There are no runs yet.", retry_after_s=0, next_step=data.next_step)
    run_id = data.run.facts.run_id
    return DashboardAnswer(
        run_id=run_id,
        text=short("\n".join(_words(data.run, data.runs)), TEXT_CHARACTERS),
        retry_after_s=data.run.progress.retry_after_s,
        next_step="Where the host shows the dashboard it refreshes itself; elsewhere report this text. Numbers: "
        f"{call('nnunet_progress', run_id=run_id)}.",
    )


def nnunet_dashboard_data(request: DashboardDataRequest, settings: Settings, *, read_only: bool) -> DashboardData:
    """Everything the page draws.

    Raises:
        NotFound: no such run.
    """
    view = _view(request, settings, read_only=read_only)
    chosen = _selected(view, read_only=read_only, classes=request.classes) if view else None
    wanted = {name: getattr(request, name) for name in RunsRequest.model_fields}
    listed = nnunet_runs(RunsRequest.model_construct(**wanted), settings, view)  # a page may list more than a chat
    waiting = OTHERS_EVERY_S if any(line.status in ACTIVE for line in listed.runs) else 0
    return DashboardData(
        runs=tuple(_brief(line) for line in listed.runs),
        total=listed.total,
        run=chosen,
        datasets=_datasets(settings),
        retry_after_s=min(LIVE_EVERY_S, chosen.progress.retry_after_s if chosen else 0) or waiting,
        next_step=chosen.progress.next_step if chosen else listed.next_step,
    )


def _datasets(settings: Settings) -> tuple[int, ...]:
    """The datasets of all runs, by the ids of the runs; nothing of them is read."""
    named = {run_id[1:].partition("-")[0] for run_id in recorded(settings)}
    numbers = {int(number) for number in named if number.isdecimal()}
    return tuple(sorted(numbers - {NO_DATASET}))


def _view(request: DashboardDataRequest, settings: Settings, *, read_only: bool) -> RunSnapshot | None:
    if request.run_id is None:
        found = newest_at_work(settings, among=RUNS_SHOWN)
        if found is not None and not read_only:
            found.go_on_starting()
        return found
    return snapshot(settings, request.run_id) if read_only else tend(settings, request.run_id)


def _brief(line: RunLine) -> RunLine:
    texts = {"dataset": line.dataset, "configuration": line.configuration, "detail": line.detail}
    return line.model_copy(update={name: short(text, NAME_CHARACTERS) for name, text in texts.items() if text})


def _selected(view: RunSnapshot, *, read_only: bool, classes: bool) -> Selected:
    curves = curves_of(view.run, view.record, classes=classes)  # first: who has read all epochs needs no recent ones
    return Selected(
        facts=_facts(view.record),
        progress=answer(view),
        stages=tuple(_stage(view, spec) for spec in view.record.stages),
        curves=curves,
        scores=_scores(view),
        can_cancel=not read_only and view.judged.status in ACTIVE,
        queue=() if read_only else _queue(view),
        resume=None if read_only else _resume(view),
    )


def _queue(view: RunSnapshot) -> tuple[QueueAction, ...]:
    """What a person can do about the place of a run that waits."""
    if view.judged.status != "queued" or view.stopping is not None:
        return ()
    return ("release",) if view.is_held else ("front", "hold")


def _resume(view: RunSnapshot) -> Resume | None:
    """How to go on from the checkpoint of a run that was stopped, if that makes sense."""
    if view.judged.status not in ("cancelled", "interrupted", "error"):
        return None
    failed = view.judged.failure
    hint = resume_hint(view) if failed is None else after_failure(failed, view)
    resumes = (one for one in calls_in(hint) if one.arguments.get("continue_training"))
    if (one := next(resumes, None)) is None:
        return None
    return Resume(arguments=one.arguments, meaning=hint.partition(str(one))[2].lstrip(".; "))


def _facts(record: RunRecord) -> RunFacts:
    return RunFacts(
        run_id=record.run_id,
        dataset=short(record.dataset_name, NAME_CHARACTERS),
        configuration=record.job.configuration,
        fold=record.fold_or_kind,
        trainer=short(record.trainer, NAME_CHARACTERS),
        device=record.device,
        started=iso(record.created_at),
    )


def _stage(view: RunSnapshot, spec: StageSpec) -> StageFacts:
    return StageFacts(
        name=spec.name,
        status=view.judged.stages[spec.name],
        trains=spec.traits.trains,
        reused=spec.reused,
        seconds=_seconds(view.run, spec.name),
    )


def _seconds(run: RunDir, stage: str) -> int | None:
    state = run.stage(stage).state()
    return round(state.seconds) if state is not None and state.seconds is not None else None


def _scores(view: RunSnapshot) -> Scores:
    result = result_of(view)
    each = max(1, CASES_SHOWN // len(result.folds)) if len(result.folds) > 1 else 0
    return Scores(
        metrics=Metrics.model_validate(_rounded(result.metrics)),
        dice_mean_sd=result.dice_mean_sd,
        folds=tuple(_fold(fold, each) for fold in result.folds),
        classes=tuple(ClassMetrics.model_validate(_rounded(c)) for c in result.per_class[:CLASSES_SHOWN]),
        classes_left_out=max(0, len(result.per_class) - CLASSES_SHOWN),
        worst_cases=() if each else tuple(map(_case, result.worst_cases)),
        model_path=short(result.model_path, NOTE_CHARACTERS) if result.model_path else None,
        notes=tuple(short(note, NOTE_CHARACTERS) for note in result.notes[:NOTES_SHOWN]),
    )


def _fold(fold: FoldResult, most: int) -> FoldScore:
    cases = {"worst_cases": tuple(map(_case, fold.worst_cases[:most]))}
    return FoldScore.model_validate({**_rounded(fold), **cases})


def _case(case: CaseMetrics) -> CaseScore:
    """Its name is whole: the page asks for its picture by it."""
    return CaseScore.model_validate({**_rounded(case), "case": case.case})


def _rounded(found: Record) -> dict[str, Any]:
    """The fields with four decimals and names of a bounded length."""
    numbers = {name: round(value, 4) for name, value in found if isinstance(value, float)}
    names = {name: short(value, LABEL_CHARACTERS) for name, value in found if isinstance(value, str)}
    return {**dict(found), **numbers, **names}


def _words(run: Selected, runs: tuple[RunLine, ...]) -> list[str]:
    """The run in lines, the most important first: the end may be cut off."""
    facts, now, measured = run.facts, run.progress, run.scores.metrics
    of = f"/{now.epochs}" if now.epochs else ""
    epoch = f", epoch {now.epoch}{of}" if now.epoch is not None else ""
    left = f", about {now.eta_s} s left" if now.eta_s is not None else ""
    what = f"fold {facts.fold}" if facts.fold.isdecimal() or facts.fold in ("all", "full") else facts.fold
    lines = [
        f"{facts.run_id}: {facts.dataset}, {facts.configuration}, {what}",
        f"{now.status}: {now.stage or 'done'}{epoch}, {now.percent} %{left}",
    ]
    if measured.dice is not None:
        lines.append(f"Dice {measured.dice:.4f}" + (f", IoU {measured.iou:.4f}" if measured.iou is not None else ""))
    shown = next((c for c in run.curves if c.stage == now.stage), run.curves[-1] if run.curves else None)
    lines += _sparks(shown) if shown else []
    lines += [f"health {now.health.verdict}: {now.health.detail}"]
    lines += [f"cause: {now.failure.cause}", f"remedy: {now.failure.remedy}", now.next_step] if now.failure else []
    lines += [f"stages: {', '.join(f'{stage.name} {stage.status}' for stage in run.stages)}"]
    return lines + _others(facts.run_id, runs)


def _sparks(curves: Curves) -> list[str]:
    rows = (
        ("train_loss", curves.train_loss),
        ("val_loss", curves.val_loss),
        ("pseudo Dice (an estimate)", curves.pseudo_dice),
    )
    return [f"{name} {sparkline(values)} {_number(values[0])} -> {_number(values[-1])}" for name, values in rows]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _others(run_id: str, runs: tuple[RunLine, ...]) -> list[str]:
    others = [f"{line.run_id} {line.status}" for line in runs if line.run_id != run_id][:RUNS_NAMED]
    return [f"other runs: {', '.join(others)}"] if others else []
