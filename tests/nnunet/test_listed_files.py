"""Datasets whose dataset.json lists the files of each case itself: they may lie anywhere that is allowed."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, find_dataset, label_files
from nnunet_mcp.nnunet.preprocessed import raw_cases, raw_identity
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.steps.preprocess import Preprocessing, _renew_ground_truth
from tests.kit.lab import FEW, Lab, ToolRefused
from tests.kit.phantom import write_phantom
from tests.kit.tiny import ask, image, make_dataset, record_of, save, stage


def list_files(raw: Path, scans: Path, named: str) -> None:
    """Move the cases to `scans`, and let dataset.json name them there."""
    scans.mkdir(parents=True)
    entries: dict[str, Any] = {}
    for label in sorted((raw / "labelsTr").iterdir()):
        case = label.name.removesuffix(".nii.gz")
        label.rename(scans / f"{case}_seg.nii.gz")
        (raw / "imagesTr" / f"{case}_0000.nii.gz").rename(scans / f"{case}_t1.nii.gz")
        entries[case] = {"images": [f"{named}/{case}_t1.nii.gz"], "label": f"{named}/{case}_seg.nii.gz"}
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).rmdir()
    path = raw / "dataset.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "dataset": entries}), encoding="utf-8")


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    list_files(raw, raw / "scans", "scans")
    return find_dataset(settings.folders, 1)


def test_a_change_of_a_listed_file_is_noticed(files: DatasetFiles) -> None:
    before = raw_identity(files)
    assert raw_cases(files) == [f"case_{number:03d}" for number in range(5)]

    save(files.raw / "scans" / "case_002_t1.nii.gz", image(fill=99))

    assert raw_identity(files) != before


def test_a_damaged_listed_file_is_found_before_preprocessing(files: DatasetFiles, settings: Settings) -> None:
    path = files.raw / "scans" / "case_003_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])
    record = record_of(settings, stage("preprocess"), request={"dataset_id": 1, "verify_dataset_integrity": True})
    run = RunDir(settings.state_dir / "runs" / record.run_id)
    run.stage("preprocess").path.mkdir(parents=True)
    write_model(run.run_file, record)

    with pytest.raises(StageFailure, match=r"case_003_t1\.nii\.gz cannot be read whole"):
        Preprocessing(Job.of(str(run.path), "preprocess")).carry_out()


def test_the_copies_of_listed_labels_are_renewed(files: DatasetFiles) -> None:
    files.ground_truth.mkdir(parents=True)
    for name in label_files(files.raw):
        (files.ground_truth / name).write_bytes(b"an older label")

    _renew_ground_truth(files)

    new = files.raw / "scans" / "case_001_seg.nii.gz"
    assert (files.ground_truth / "case_001.nii.gz").read_bytes() == new.read_bytes()


def test_listed_files_outside_the_allowed_folders_are_not_trained_on(settings: Settings, tmp_path: Path) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    list_files(raw, tmp_path / "elsewhere", str(tmp_path / "elsewhere"))
    request = {"dataset_id": 1, "fold": "0", "device": "cpu"}

    with pytest.raises(ToolRefused, match=r"elsewhere.*outside the allowed folders.*NNUNET_MCP_ALLOWED_DIRS"):
        ask(settings, "nnunet_training", **request)
    allowed = settings.model_copy(update={"allowed_dirs": str(tmp_path / "elsewhere")})
    assert ask(allowed, "nnunet_preflight", **request)["possible"]


@pytest.mark.long
def test_listed_files_that_a_variable_leads_to_are_preprocessed_and_trained(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "work", {**FEW, "SCANS": str(tmp_path / "scans")})
    raw = lab.folder / "raw" / "Dataset061_Listed"
    write_phantom(raw, cases=5, shape=(24, 28, 24))
    list_files(raw, tmp_path / "scans", "$SCANS")

    result = lab.train(dataset_id=61, configuration="2d", fold="0", device="cpu", trainer="OneStepTrainer")

    assert result["status"] == "success", result
    copies = lab.folder / "preprocessed" / "Dataset061_Listed" / "gt_segmentations"
    assert sorted(os.listdir(copies)) == [f"case_{number:03d}.nii.gz" for number in range(5)]  # noqa: PTH208
