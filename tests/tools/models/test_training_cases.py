"""A prediction says which of its images the model was trained on."""

import json
import shutil
from pathlib import Path

import numpy
import pytest

from nnunet_mcp.nnunet import cases
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.settings import Settings
from tests.kit.tiny import ask, image, make_dataset, save

DATASET = "Dataset097_Predicted"
MODEL = "nnUNetTrainer__nnUNetPlans__2d"


@pytest.fixture
def raw(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five cases, of which fold 0 was trained on three, by hand: only the split says so."""
    monkeypatch.setattr("nnunet_mcp.runs.local.engine.LocalEngine.start", lambda *_: None)
    raw = make_dataset(settings.folder("raw"), DATASET)
    for number, path in enumerate(sorted((raw / "imagesTr").iterdir())):
        save(path, image(fill=number + 1.0) + numpy.arange(8, dtype=numpy.float32) ** number)
    files = DatasetFiles(settings.folders, DATASET)
    files.preprocessed.mkdir(parents=True)
    split = [{"train": [f"case_{number:03d}" for number in range(3)], "val": ["case_003", "case_004"]}]
    files.splits_file.write_text(json.dumps(split), encoding="utf-8")
    fold = settings.folder("results") / DATASET / MODEL / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").touch()
    shutil.copy(raw / "dataset.json", fold.parent / "dataset.json")
    plans = {"dataset_name": DATASET, "configurations": {"2d": {"batch_size": 2}}}
    (fold.parent / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    return raw


def predicted(settings: Settings, images: Path | str) -> str:
    started = ask(settings, "nnunet_predict", model=f"{DATASET}/{MODEL}", images=str(images), device="cpu")
    notes = " ".join(started["notes"])
    assert notes in " ".join(ask(settings, "nnunet_results", run_id=started["run_id"])["notes"])
    return notes


def test_training_images_are_named_wherever_they_lie_and_whatever_they_are_called(
    settings: Settings, raw: Path
) -> None:
    mine = settings.folder("raw") / "mine"
    mine.mkdir()
    shutil.copy(raw / "imagesTr" / "case_001_0000.nii.gz", mine / "new_0000.nii.gz")
    shutil.copy(raw / "imagesTr" / "case_004_0000.nii.gz", mine / "held_0000.nii.gz")
    shutil.copy(raw / "imagesTr" / "case_003_0000.nii.gz", mine / "case_000_0000.nii.gz")

    assert "trained on 3 of the 5 cases: case_000, case_001, case_002." in predicted(settings, "imagesTr")
    assert "trained on 1 of the 3 cases: new = case_001." in predicted(settings, mine)
    shutil.rmtree(raw / "imagesTr")
    moved = mine.rename(mine.with_name("moved"))
    assert "trained on cases of the same name as case_000. If they are" in predicted(settings, moved)


@pytest.mark.parametrize(("limit", "value"), [("MOST_COMPARED", 1), ("COMPARE_S", -1.0)])
def test_more_images_than_can_be_compared_are_not_told_as_if_they_were(
    settings: Settings, raw: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(cases, limit, value)
    mine = settings.folder("raw") / "mine"
    mine.mkdir()
    (mine / "linked_0000.nii.gz").symlink_to(raw / "imagesTr" / "case_001_0000.nii.gz")
    for number in (0, 2):
        shutil.copy(raw / "imagesTr" / f"case_00{number}_0000.nii.gz", mine)

    assert "trained on 3 of the 5 cases: case_000, case_001, case_002." in predicted(settings, "imagesTr")
    told = predicted(settings, mine)
    assert "trained on at least 1 of the 3 cases: linked = case_001." in told
    assert "trained on cases of the same name as case_000, case_002. If they are" in told
    other = mine.with_name("other")
    other.mkdir()
    for path in mine.glob("case_*"):
        path.rename(other / f"my_{path.name}")
    assert "Whether the model was trained on some of these images is not known" in predicted(settings, other)
