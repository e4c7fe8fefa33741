"""`from nnunet_mcp import nnunet_training`: the same engine, for a Python script that wants to wait."""

import time
from typing import Any

from ...runs.cancel import request_cancel
from ...runs.engines import engine_of, verdict
from ...runs.layout import RunDir, StateDir
from ...runs.store import find_run
from ...schemas.records import ACTIVE, RunRecord
from ...schemas.results import ResultsRequest
from ...schemas.training import TrainingCall
from ...settings import Settings
from ...texts import for_agents
from ..helping import helped
from ..watching.results import nnunet_results
from ..watching.snapshot import snapshot
from ..watching.timing import grace
from .training import nnunet_training as start

POLL_S = 1.0


def nnunet_training(**parameters: Any) -> dict[str, Any]:
    """Train and wait for the result.

    Args:
        parameters: the fields of `TrainingCall`, e.g. dataset_id=50, configuration="3d_fullres", fold="0"; or
            dataset_id=50, like="d050-3d_fullres-f0-k7m3" for a run's own arguments again.

    Returns:
        status, model_path, dataset_id, configuration, fold, metrics{dice, iou, validation_loss} and more, as
        `nnunet_results` answers. A training that fails gives status "error" (or "cancelled", "interrupted") and
        the failure; it does not raise.

    Raises:
        pydantic.ValidationError: a parameter is wrong.
        nnunet_mcp.errors.RunError: the training could not start.
        KeyboardInterrupt: after the run was asked to stop.
    """
    request = TrainingCall.model_validate(parameters)
    settings = Settings()
    with helped():
        run, record = find_run(StateDir.of(settings), start(request, settings).run_id)
    try:
        _wait(run, record, settings)
    except KeyboardInterrupt:
        request_cancel(run, record, grace_s=grace(snapshot(settings, record.run_id)))
        raise
    found: dict[str, Any] = for_agents(nnunet_results(ResultsRequest(run_id=record.run_id), settings)).model_dump(
        mode="json"
    )
    return found


def _wait(run: RunDir, record: RunRecord, settings: Settings) -> None:
    while verdict(run, record).status in ACTIVE:
        engine_of(record).go_on_starting(run, record, settings)
        time.sleep(POLL_S)
