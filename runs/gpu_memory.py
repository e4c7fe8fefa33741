"""How much GPU memory a training takes: as an earlier one like it did, else as nnU-Net plans it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ..schemas.outcomes import ModelOutcome
from ..schemas.records import RunRecord
from .layout import StateDir

# The planner's estimate leaves out the CUDA context and the gaps of PyTorch's allocator: ResEnc M is planned for 8 GB
# and takes 9 to 11 (nnunetv2 2.8.1, documentation/resenc_presets.md).
MARGIN, CONTEXT_GB = 1.15, 0.6
# nnunetv2 2.8.1: default_experiment_planner.py:26, residual_encoder_unet_planners.py:225,251,276. The longest names
# first: they contain the shorter ones.
PLANNED_GB = {"ResEncUNetXL": 40.0, "ResEncUNetL": 24.0, "ResEncUNetM": 8.0, "nnUNetPlans": 8.0}
RUNS_LOOKED_AT = 100
# A run that waits asks five times a second.
KNOWN_S = 60.0


@dataclass(frozen=True)
class Need:
    """GB of a GPU: `least` is what the planner aims at, `whole` what a training takes with all that comes on top."""

    least: float
    whole: float


def planned_need(record: RunRecord) -> Need | None:
    """By the planner's target; None for plans that no known planner made."""
    training = record.training
    names = f"{(training.planner if training else None) or ''} {record.plans_identifier}"
    target = next((size for name, size in PLANNED_GB.items() if name in names), None)
    asked = training.changes_of_plans.get("gpu_memory_target") if training else None
    if target is None and asked is None:
        return None
    planned = float(asked) if asked is not None else target or 0.0
    return Need(planned, with_margin(planned))


def with_margin(planned: float) -> float:
    """The GB that a training takes if nnU-Net plans it for `planned` GB."""
    return planned * MARGIN + CONTEXT_GB


# By the model: when it was looked up, and what was found.
_MEASURED: dict[object, tuple[float, float | None]] = {}


def need_of(state: StateDir, record: RunRecord) -> Need | None:
    """The most that earlier trainings of the same model took, else what is planned; looked up once a minute."""
    if record.training is None:
        return planned_need(record)
    key = state.path, _model(record)
    at, measured = _MEASURED.get(key, (None, None))
    if at is None or time.monotonic() - at > KNOWN_S:
        measured = max(_measured(state, record), default=None)
        _MEASURED[key] = time.monotonic(), measured
    return Need(measured, measured) if measured is not None else planned_need(record)


def _model(record: RunRecord) -> object:
    """What trainings have in common that take the same memory."""
    return record.dataset_name, record.job.model, record.device, record.num_gpus


def _measured(state: StateDir, record: RunRecord) -> Iterator[float]:
    """What each fold of the same model took."""
    named_alike = f"d{record.job.dataset_id:03d}-{record.job.configuration}-"
    names = (run_id for run_id in state.run_ids() if run_id.startswith(named_alike))
    for run in map(state.run, islice(names, RUNS_LOOKED_AT)):
        other = run.record()
        if other is None or other.training is None or _model(other) != _model(record):
            continue
        outcomes = (run.stage(spec.name).outcome() for spec in other.model_stages)
        yield from (found.gpu_gb for found in outcomes if isinstance(found, ModelOutcome) and found.gpu_gb)
