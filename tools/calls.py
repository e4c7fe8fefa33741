"""The tools as functions of a request and the settings, each imported when it is first called.

A client waits for the server's start in every chat, and a person for the command's.
"""

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
    from .training import nnunet_training

    return nnunet_training(request, settings)


def preflight(request: requests.PreflightRequest, settings: Settings) -> PreflightAnswer:
    from .preflight import nnunet_preflight

    return nnunet_preflight(request, settings)


def logs(request: requests.LogsRequest, settings: Settings) -> LogsAnswer:
    from .logs import nnunet_logs

    return nnunet_logs(request, settings)


def results(request: requests.ResultsRequest, settings: Settings) -> Result:
    from .results import nnunet_results

    return nnunet_results(request, settings)


def compare(request: requests.CompareRequest, settings: Settings) -> CompareAnswer:
    from .compare import nnunet_compare

    return nnunet_compare(request, settings)


def predict(request: requests.PredictRequest, settings: Settings) -> PredictionStarted:
    from .predicting import nnunet_predict

    return nnunet_predict(request, settings)


def find_best_configuration(request: requests.FindBestRequest, settings: Settings) -> RunStarted:
    from .finding_best import nnunet_find_best_configuration

    return nnunet_find_best_configuration(request, settings)


def export_model(request: requests.ExportRequest, settings: Settings) -> RunStarted:
    from .model_export import nnunet_export_model

    return nnunet_export_model(request, settings)


def import_model(request: requests.ImportRequest, settings: Settings) -> RunStarted:
    from .model_import import nnunet_import_model

    return nnunet_import_model(request, settings)


def runs(request: requests.RunsRequest, settings: Settings) -> RunsAnswer:
    from .runs import nnunet_runs

    return nnunet_runs(request, settings)


def cancel(request: requests.CancelRequest, settings: Settings) -> CancelAnswer:
    from .runs import nnunet_cancel

    return nnunet_cancel(request, settings)


def system(request: requests.SystemRequest, settings: Settings) -> SystemAnswer:
    from .system import nnunet_system

    return nnunet_system(request, settings)
