"""What planning and preprocessing and training leave, without doing them; and the plan of a request."""

import json
import sys
from pathlib import Path
from typing import Any

from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.preprocessed import DataNote, DatasetNote, data_note_file, dataset_note_file, raw_identity
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.tools.training.planning import Plan, Planner

CONFIGURATIONS = ("2d", "3d_fullres")


def plan(files: DatasetFiles, **arguments: Any) -> Plan:
    return Planner(TrainingRequest.model_validate({"dataset_id": 1, **arguments}), files, sys.executable).make()


def preprocess(
    files: DatasetFiles, plans: str = "nnUNetPlans", configurations: tuple[str, ...] = CONFIGURATIONS
) -> None:
    """The files that planning and preprocessing leave, without their contents."""
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((files.raw / "labelsTr").iterdir())]
    files.ground_truth.mkdir(parents=True, exist_ok=True)
    for case in cases:
        (files.ground_truth / f"{case}.nii.gz").touch()
    made = {name: {"data_identifier": f"{plans}_{name}", "architecture": {}} for name in configurations}
    content = {"plans_name": plans, "dataset_name": files.name, "configurations": made}
    files.plans_file(plans).write_text(json.dumps(content), encoding="utf-8")
    identity = raw_identity(files)
    for name in configurations:
        folder = files.preprocessed / f"{plans}_{name}"
        folder.mkdir()
        for case in cases:
            (folder / f"{case}.pkl").touch()
        write_model(data_note_file(folder), DataNote(raw_identity=identity))
    write_model(dataset_note_file(files), DatasetNote(raw_identity=identity, verified=True))
    splits = [{"train": [c for c in cases if c != case], "val": [case]} for case in cases]
    files.splits_file.write_text(json.dumps(splits), encoding="utf-8")


def train(files: DatasetFiles, fold: str, *names: str, configuration: str = "3d_fullres") -> FoldFiles:
    """The checkpoints (and with "summary" the validation) that a training leaves."""
    found = FoldFiles(files.fold("nnUNetTrainer", "nnUNetPlans", configuration, fold))
    (found.path / "validation").mkdir(parents=True, exist_ok=True)
    measured = [{"prediction_file": f"{case}.nii.gz", "metrics": {}} for case in held_out(files, fold)]
    text = json.dumps({"foreground_mean": {"Dice": 0.8, "IoU": 0.7}, "metric_per_case": measured})
    for name in names:
        path: Path = getattr(found, name)
        path.write_text(text, encoding="utf-8")
    return found


def held_out(files: DatasetFiles, fold: str) -> list[str]:
    """The validation cases of a fold, as the split has them."""
    found: list[str] = json.loads(files.splits_file.read_text(encoding="utf-8"))[int(fold)]["val"]
    return found
