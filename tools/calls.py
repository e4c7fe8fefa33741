"""The tools that need nothing but a request and the settings, for every way of calling them."""

from .. import tools
from ..schemas.logs import LogsAnswer, LogsRequest
from ..schemas.models import (
    CompareAnswer,
    CompareRequest,
    ExportRequest,
    FindBestRequest,
    ImportRequest,
    PredictionStarted,
    PredictRequest,
)
from ..schemas.preflight import PreflightAnswer, PreflightRequest
from ..schemas.results import Result, ResultsRequest
from ..schemas.run_list import CancelAnswer, CancelRequest, RunsAnswer, RunsRequest, RunStarted, TrainingStarted
from ..schemas.system import SystemAnswer, SystemRequest
from ..schemas.training import TrainingRequest
from ..settings import Settings


def training(request: TrainingRequest, settings: Settings) -> TrainingStarted:
    from .training.training import nnunet_training

    return nnunet_training(request, settings)


def preflight(request: PreflightRequest, settings: Settings) -> PreflightAnswer:
    return tools.preflight.nnunet_preflight(request, settings)


def logs(request: LogsRequest, settings: Settings) -> LogsAnswer:
    return tools.logs.nnunet_logs(request, settings)


def results(request: ResultsRequest, settings: Settings) -> Result:
    return tools.results.nnunet_results(request, settings)


def compare(request: CompareRequest, settings: Settings) -> CompareAnswer:
    return tools.compare.nnunet_compare(request, settings)


def predict(request: PredictRequest, settings: Settings) -> PredictionStarted:
    return tools.predicting.nnunet_predict(request, settings)


def find_best_configuration(request: FindBestRequest, settings: Settings) -> RunStarted:
    return tools.finding_best.nnunet_find_best_configuration(request, settings)


def export_model(request: ExportRequest, settings: Settings) -> RunStarted:
    return tools.model_export.nnunet_export_model(request, settings)


def import_model(request: ImportRequest, settings: Settings) -> RunStarted:
    return tools.model_import.nnunet_import_model(request, settings)


def runs(request: RunsRequest, settings: Settings) -> RunsAnswer:
    return tools.runs.nnunet_runs(request, settings)


def cancel(request: CancelRequest, settings: Settings) -> CancelAnswer:
    return tools.runs.nnunet_cancel(request, settings)


def system(request: SystemRequest, settings: Settings) -> SystemAnswer:
    return tools.system.nnunet_system(request, settings)
