"""The tools that need nothing but a request and the settings, for every way of calling them."""

from .. import tools
from ..runs.settings import Settings
from ..schemas import requests
from ..schemas.answers import (
    CancelAnswer,
    CompareAnswer,
    LogsAnswer,
    PredictionStarted,
    PreflightAnswer,
    RunsAnswer,
    RunStarted,
    SystemAnswer,
    TrainingStarted,
)
from ..schemas.results import Result
from ..schemas.training import TrainingRequest


def training(request: TrainingRequest, settings: Settings) -> TrainingStarted:
    return tools.training.nnunet_training(request, settings)


def preflight(request: requests.PreflightRequest, settings: Settings) -> PreflightAnswer:
    return tools.preflight.nnunet_preflight(request, settings)


def logs(request: requests.LogsRequest, settings: Settings) -> LogsAnswer:
    return tools.logs.nnunet_logs(request, settings)


def results(request: requests.ResultsRequest, settings: Settings) -> Result:
    return tools.results.nnunet_results(request, settings)


def compare(request: requests.CompareRequest, settings: Settings) -> CompareAnswer:
    return tools.compare.nnunet_compare(request, settings)


def predict(request: requests.PredictRequest, settings: Settings) -> PredictionStarted:
    return tools.predicting.nnunet_predict(request, settings)


def find_best_configuration(request: requests.FindBestRequest, settings: Settings) -> RunStarted:
    return tools.finding_best.nnunet_find_best_configuration(request, settings)


def export_model(request: requests.ExportRequest, settings: Settings) -> RunStarted:
    return tools.model_export.nnunet_export_model(request, settings)


def import_model(request: requests.ImportRequest, settings: Settings) -> RunStarted:
    return tools.model_import.nnunet_import_model(request, settings)


def runs(request: requests.RunsRequest, settings: Settings) -> RunsAnswer:
    return tools.runs.nnunet_runs(request, settings)


def cancel(request: requests.CancelRequest, settings: Settings) -> CancelAnswer:
    return tools.runs.nnunet_cancel(request, settings)


def system(request: requests.SystemRequest, settings: Settings) -> SystemAnswer:
    return tools.system.nnunet_system(request, settings)
