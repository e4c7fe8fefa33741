"""Trained models: compare them, find the best, predict, export, import."""

from ...schemas.models import (
    CompareAnswer,
    CompareRequest,
    EvaluateRequest,
    ExportRequest,
    FindBestRequest,
    ImportAnswer,
    ImportRequest,
    PredictionStarted,
    PredictRequest,
)
from ...schemas.run_list import RunStarted
from ..tool import Command, Tool

TOOLS = (
    Tool(
        "nnunet_compare",
        "Compare models",
        "reads",
        CompareRequest,
        CompareAnswer,
        "Runs or a dataset's models in one table: Dice and IoU per class, paired differences.",
        "models.compare:nnunet_compare",
        Command("compare", "put models side by side", ("dataset_id",)),
    ),
    Tool(
        "nnunet_predict",
        "Segment images",
        "replaces",
        PredictRequest,
        PredictionStarted,
        "Segment a folder of images in the background: folds ensembled, cascades whole.",
        "models.predicting:nnunet_predict",
        Command("predict", "segment images with a trained model", ("run_id", "images")),
    ),
    Tool(
        "nnunet_evaluate",
        "Evaluate predictions",
        "starts",
        EvaluateRequest,
        RunStarted,
        "Dice, recall, volumes, HD95, NSD of any predictions.",
        "models.evaluating:nnunet_evaluate",
        Command("evaluate", "measure predictions against labels", ("predictions", "labels")),
    ),
    Tool(
        "nnunet_find_best_configuration",
        "Best configuration",
        "starts",
        FindBestRequest,
        RunStarted,
        "nnU-Net's search among complete cross-validations, ensembles and postprocessing, "
        "for nnunet_predict(dataset_id).",
        "models.finding_best:nnunet_find_best_configuration",
        Command("find-best", "search the best configuration, ensembles included", ("dataset_id",)),
    ),
    Tool(
        "nnunet_export_model",
        "Export a model",
        "starts",
        ExportRequest,
        RunStarted,
        "Write a model and its card into a zip, without case names and paths.",
        "models.model_export:nnunet_export_model",
        Command("export", "write a model into a zip", ("run_id", "output")),
    ),
    Tool(
        "nnunet_import_model",
        "Import a model",
        "replaces",
        ImportRequest,
        ImportAnswer,
        "Install a model from a zip, if nothing in it runs code.",
        "models.model_import:nnunet_import_model",
        Command("import", "install a model from a zip", ("zip",)),
    ),
)
