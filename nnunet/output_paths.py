"""Where a tool may write its output: in the allowed folders, but not among data, models and records of runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..allowed_paths import refuse_outside
from ..errors import Refused
from ..settings import Settings
from .datasets import FOLDER
from .models import Model
from .predictions import note_file

# In the folder of a dataset in nnUNet_results.
PREDICTIONS, EXPORTS, REPORTS = "predictions", "exports", "reports"
DESCRIPTIONS = ("plans.json", "dataset.json")


def chosen_output(settings: Settings, given: str, models: Sequence[Model]) -> Path:
    """The requested output with links resolved; it need not exist. `models` are the models that it is made from.

    Raises:
        Refused: it lies outside the allowed folders, or where data, runs or other models are kept.
    """
    output = refuse_outside(settings, given, what="output")
    for forbidden in (settings.folder("raw"), settings.folder("preprocessed"), settings.state_dir):
        if output.is_relative_to(os.path.realpath(forbidden)):
            raise Refused(f"output {str(output)!r} lies in {forbidden}, which nothing is written to. Choose another.")
    results = Path(os.path.realpath(settings.folder("results")))
    if output.is_relative_to(results):
        _refuse_among_models(output, output.relative_to(results).parts, models)
    else:
        _refuse_in_described(output)
    return output


def onnx_files(output: Path, models: Sequence[Model]) -> dict[tuple[Path, str], Path]:
    """For each model folder and fold of a zip the ONNX file beside it; the JSON has the same name."""
    several = len(models) > 1
    return {
        (model.folder, fold): output.with_name(f"{output.stem}{f'_{model.folder.name}' * several}_fold_{fold}.onnx")
        for model in models
        for fold in model.folds
    }


def same_output(settings: Settings, output: Path, models: Sequence[Model]) -> Path:
    """Check the output again before it is written: somebody may have put a link there since the request.

    Raises:
        Refused: it leads elsewhere than when it was asked for.
    """
    if chosen_output(settings, str(output), models) != output:
        raise Refused(f"output {output} leads elsewhere than when it was asked for. Ask again.")
    return output


def _refuse_among_models(output: Path, parts: tuple[str, ...], models: Sequence[Model]) -> None:
    """Refuse folders in which nnU-Net would take the output for a model or a fold."""
    if FOLDER.fullmatch(parts[0]) is None:
        return
    own = {(model.files.name, folder) for model in models for folder in (PREDICTIONS, EXPORTS, REPORTS)}
    inside = {(model.files.name, model.folder.name, PREDICTIONS) for model in models}
    if parts[:2] not in own and parts[:3] not in inside:
        raise Refused(
            f"output {str(output)!r} lies among the models of {parts[0]}. Leave output out, or choose a folder that "
            "holds neither models nor a dataset."
        )


def _refuse_in_described(output: Path) -> None:
    for folder in output.parents:
        if any((folder / name).exists() for name in DESCRIPTIONS) and not note_file(folder).exists():
            raise Refused(
                f"output {str(output)!r} lies in {folder}, which holds a model or a dataset. Choose a folder outside."
            )
