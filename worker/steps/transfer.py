"""Give a dataset the plans of another model, so that its weights fit."""

import json
import tempfile
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import write_text
from ...nnunet.datasets import DatasetFiles
from ...nnunet.safe_plans import judged_plans, read_dataset_json, read_plans
from .. import nnunet_seam
from ..nnunet_seam import PLANNING
from ..stage import StageFailure
from ..weights import read_checkpoint

NAMES_OF_DATASETS = f"{PLANNING}.plans_for_pretraining.move_plans_between_datasets:maybe_convert_to_dataset_name"


def move_plans(source: Path, target: DatasetFiles, plans_name: str) -> None:
    """Write the source's plans for the target dataset under `plans_name`, by nnU-Net's own function.

    Raises:
        StageFailure: the source has no plans.
        Refused: they are none that nnU-Net may have.
    """
    from nnunetv2.experiment_planning.plans_for_pretraining import move_plans_between_datasets as module

    plans = _plans_in(source)
    original = str(plans["plans_name"])
    # The function looks names up in nnUNet_preprocessed; given an absolute folder it uses that instead.
    nnunet_seam.replace(NAMES_OF_DATASETS, lambda original: lambda name: name)
    copy_dataset_json(target)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{original}.json").write_text(json.dumps(plans), encoding="utf-8")
        module.move_plans_between_datasets(folder, target.name, original, plans_name)


def _plans_in(source: Path) -> dict[str, Any]:
    plans = read_plans(source) if source.suffix == ".json" else _plans_of_checkpoint(source)
    if plans is None or "plans_name" not in plans:
        raise StageFailure(
            "the pretrained model has no plans",
            str(source),
            f"Keep plans.json beside the fold folder of the checkpoint, or name a {argument(plans_identifier=None)}.",
        )
    return plans


def _plans_of_checkpoint(path: Path) -> dict[str, Any] | None:
    given = read_checkpoint(path).get("init_args")
    plans = given.get("plans") if isinstance(given, dict) else None
    return None if plans is None else judged_plans(plans, f"the plans in {path.name}")


def copy_dataset_json(target: DatasetFiles) -> None:
    """Copy dataset.json, as planning would have done; preprocessing reads the copy (default_preprocessor.py:364)."""
    description = read_dataset_json(target.raw / "dataset.json")
    write_text(target.preprocessed / "dataset.json", json.dumps(description, indent=4))
