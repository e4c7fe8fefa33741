"""How long a validation takes that nothing has measured yet: from the patch, the cases and the time of the steps."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import RunError
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.preprocessed import planned
from ...nnunet.safe_plans import read_plans
from ...nnunet.splits import trained_cases
from ...runs.pace import pace, pace_of_steps
from ...schemas.records import RunRecord, StageSpec
from .snapshot import Moment

# Of a training step's time for a patch; a patch that is predicted comes alone, is cut out and added up.
FORWARD_SHARE = 0.45
# One patch alone takes longer than its share of a large batch: seen with 2d networks, whose batches have dozens.
MOST_AT_ONCE = 32
CASE_S, ALL_S = 1.0, 5.0
# Recorded validations took from 0.5 to 2.6 times of what is expected.
LOW, HIGH = 0.4, 3.0
# Nothing is known: (expected, at least, at most).
GUESS_S = (30.0, 5.0, 300.0)


def expected_validation(record: RunRecord, spec: StageSpec, moment: Moment) -> tuple[float, float, float]:
    """Seconds: expected, at least, at most."""
    files = DatasetFiles(record.folders, record.dataset_name)
    cases = trained_cases(FoldFiles(files.fold_of(record, spec)))
    count = len(cases.val) if cases else None
    plan = _plan(files.plans_file(record.plans_identifier), spec.configuration)
    steps = moment.progress.iterations if moment.progress else None
    epoch_s = pace(moment.epochs) or pace_of_steps(moment.progress)
    if not count or plan is None or not steps or epoch_s is None:
        return GUESS_S
    calls, batch = plan
    call_s = FORWARD_SHARE * epoch_s / steps / min(batch, MOST_AT_ONCE)
    seconds = ALL_S + count * (CASE_S + calls * call_s)
    return seconds, LOW * seconds, HIGH * seconds


def _plan(file: Path, configuration: str) -> tuple[int, int] | None:
    try:
        return _read_plan(file, configuration, file.stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, KeyError, RunError):
        return None


@lru_cache(maxsize=64)
def _read_plan(file: Path, configuration: str, changed_ns: int) -> tuple[int, int]:
    """How often the network is called for a median image, and the patches of a batch.

    The plans of a 2d configuration do not say how many slices an image has; those of 3d_fullres do.
    """
    plans = read_plans(file) or {}
    plan, whole = planned(plans, configuration) or {}, planned(plans, "3d_fullres") or {}
    patch, image = plan["patch_size"], plan["median_image_size_in_voxels"]
    volume = whole.get("median_image_size_in_voxels", image)
    return calls_for(patch, volume[: len(volume) - len(image)] + image), int(plan["batch_size"])


def calls_for(patch: list[Any], image: list[Any]) -> int:
    """Patches that overlap by half, each mirrored along every axis (nnunetv2 2.8.1, predict_from_raw_data.py); a 2d
    network goes slice by slice."""
    slices = math.ceil(image[0]) if len(image) > len(patch) else 1
    tiles = [
        max(1, math.ceil((size - side) / (side / 2)) + 1)
        for size, side in zip(image[-len(patch) :], patch, strict=True)
    ]
    return int(slices * math.prod(tiles) * 2 ** len(patch))
