"""When preprocessed data can be used again, judged from files alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.preprocessed import DataNote, data_note_file, raw_cases, raw_identity, readiness, recipe
from nnunet_mcp.settings import Settings
from tests.kit.tiny import make_dataset


def plans(**changes: Any) -> dict[str, Any]:
    """Plans with one configuration."""
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "batch_size": 12,
        "patch_size": [32, 32],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
    }
    return {"plans_name": "nnUNetPlans", "configurations": {"2d": {**configuration, **changes}}}


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    """A dataset whose 2d data are preprocessed, with our note beside them."""
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    files = DatasetFiles(settings.folders, "Dataset007_Tiny")
    folder = files.preprocessed / "nnUNetPlans_2d"
    folder.mkdir(parents=True)
    files.ground_truth.mkdir()
    for case in raw_cases(files):
        (folder / f"{case}.pkl").touch()
        (files.ground_truth / f"{case}.nii.gz").touch()
    write_plans(files, plans())
    note = DataNote(raw_identity=raw_identity(files), recipe=recipe(plans(), "2d"))
    write_model(data_note_file(folder), note)
    return files


def write_plans(files: DatasetFiles, content: dict[str, Any]) -> None:
    files.plans_file("nnUNetPlans").write_text(json.dumps(content), encoding="utf-8")


def test_unchanged_data_are_used_again(files: DatasetFiles) -> None:
    assert readiness(files, "nnUNetPlans", "2d").ready


@pytest.mark.parametrize(
    ("changes", "ready"),
    [
        pytest.param({"batch_size": 4, "patch_size": [16, 16]}, True, id="a smaller batch and patch"),
        pytest.param({"spacing": [2.0, 2.0]}, False, id="another spacing"),
        pytest.param({"normalization_schemes": ["CTNormalization"]}, False, id="another normalisation"),
    ],
)
def test_edited_plans_need_new_data_only_where_they_preprocess_differently(
    files: DatasetFiles, changes: dict[str, Any], ready: bool
) -> None:
    write_plans(files, plans(**changes))
    assert readiness(files, "nnUNetPlans", "2d").ready is ready


def test_a_changed_label_a_missing_case_and_a_missing_copy_of_a_label_need_new_data(files: DatasetFiles) -> None:
    label: Path = sorted((files.raw / "labelsTr").iterdir())[0]
    case = sorted((files.preprocessed / "nnUNetPlans_2d").glob("*.pkl"))[0]
    copy = sorted(files.ground_truth.iterdir())[0]

    case.rename(case.with_suffix(".away"))
    assert "not preprocessed" in readiness(files, "nnUNetPlans", "2d").reason
    case.with_suffix(".away").rename(case)
    copy.unlink()
    assert "interrupted" in readiness(files, "nnUNetPlans", "2d").reason
    copy.touch()
    label.write_bytes(label.read_bytes() + b"x")
    assert readiness(files, "nnUNetPlans", "2d").reason == "the raw data have changed since"
