"""Whose model a fold folder holds now: a run's own, or that of another run that trained there after it."""

from collections.abc import Iterator

from ..schemas.runs import RunRecord, StageSpec
from .layout import StateDir
from .models import model_of
from .result import model_stages


def taken_over(state: StateDir, record: RunRecord) -> dict[str, str]:
    """The run's folds that hold another run's model, as nnU-Net names them, and that run."""
    return dict(_taken_over(state, record))


def _taken_over(state: StateDir, record: RunRecord) -> Iterator[tuple[str, str]]:
    model = model_of(record)
    for spec in model_stages(record):
        owner = model.fold(str(spec.fold)).owner()
        if owner not in (None, record.run_id) and not _is_of(record, spec, state.run(str(owner)).record()):
            yield str(spec.fold), str(owner)


def _is_of(record: RunRecord, spec: StageSpec, other: RunRecord | None) -> bool:
    """Whether the other run left the model as this run trained or found it."""
    if other is not None and other.created_at > record.created_at:
        return not any(_trains(later, spec) for later in other.stages)
    return spec.reused or spec.kind == "validate"


def _trains(later: StageSpec, spec: StageSpec) -> bool:
    same = (later.configuration, later.fold) == (spec.configuration, spec.fold)
    return same and later.kind == "train" and not later.reused


def told_taken_over(fold: str, run_id: str, other: str) -> str:
    """The fact in words."""
    name = "The model of every case" if fold == "all" else f"Fold {fold}"
    return f"{name} of run {run_id} now holds what run {other} trained."
