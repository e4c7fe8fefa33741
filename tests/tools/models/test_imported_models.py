"""Datasets that have only trained models here are listed, can be asked about, and are not taken for data."""

import json
import re
import zipfile
from pathlib import Path

import pytest

from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset

NAME = "Dataset077_Elsewhere"
MODEL = "nnUNetTrainer__nnUNetPlans__2d"


@pytest.fixture
def model(settings: Settings) -> Path:
    """A model whose data are somewhere else; its validation did not come along."""
    folder = settings.folder("results") / NAME / MODEL
    (folder / "fold_0").mkdir(parents=True)
    (folder / "fold_0" / "checkpoint_final.pth").touch()
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def test_it_is_listed_with_what_it_segments(settings: Settings, model: Path) -> None:
    answer = ask(settings, "nnunet_datasets")

    (line,) = answer["datasets"]
    assert (line["name"], line["cases"], line["labels"], line["problems"]) == (NAME, 0, ["background", "liver"], [])
    (trained,) = line["trained"]
    assert (trained["folds"], trained["dice"]) == (["0"], {"0": None})
    assert f"nnunet_predict(model='{NAME}/…'" in answer["next_step"]


def test_it_can_be_asked_about(settings: Settings, model: Path) -> None:
    (line,) = ask(settings, "nnunet_datasets", dataset_id=77)["datasets"]

    assert (line["name"], line["inspected"], line["problems"]) == (NAME, 0, [])


def test_it_cannot_be_trained(settings: Settings, model: Path) -> None:
    with pytest.raises(ToolRefused, match="has trained models here and no data"):
        ask(settings, "nnunet_training", dataset_id=77, configuration="2d", device="cpu")


def test_folders_without_a_model_are_none(settings: Settings) -> None:
    (settings.folder("results") / NAME / "notes").mkdir(parents=True)

    assert ask(settings, "nnunet_datasets")["datasets"] == []


def test_its_data_may_be_imported_under_its_name_alone(
    settings: Settings, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(tmp_path / "in"))
    source = str(make_dataset(tmp_path / "in", "Source"))

    with pytest.raises(ToolRefused, match=f"taken by the models of {NAME}"):
        ask(Settings(), "nnunet_prepare_dataset", source=source, dataset_id=77, name="Other")
    ask(Settings(), "nnunet_prepare_dataset", source=source, dataset_id=77, name="Elsewhere")

    (line,) = ask(Settings(), "nnunet_datasets", dataset_id=77)["datasets"]
    assert line["cases"] == 5 and line["trained"]


def test_data_count_more_than_models_of_another_name(settings: Settings, model: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset077_Here")

    (line,) = ask(settings, "nnunet_datasets", dataset_id=77)["datasets"]

    assert line["name"] == "Dataset077_Here"


def test_a_model_whose_trainer_is_not_here_says_the_way_on(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nnunet_mcp.runs.local.engine.LocalEngine.start", lambda *_: None)
    archive, theirs = tmp_path / "in" / "model.zip", model.with_name("TheirTrainer__nnUNetPlans__2d")
    model.rename(theirs)
    plans = {"dataset_name": NAME, "configurations": {"2d": {"batch_size": 2}}}
    (theirs / "plans.json").write_text(json.dumps(plans), "utf-8")
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in filter(Path.is_file, theirs.rglob("*")):
            packed.write(path, path.relative_to(settings.folder("results")))
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(tmp_path))
    way = "class 'TheirTrainer' of this model is not here.*nnUNet_extTrainer"

    with pytest.raises(ToolRefused, match=way):
        ask(Settings(), "nnunet_predict", model=f"{NAME}/{theirs.name}", images=str(tmp_path / "in"), device="cpu")
    imported = ask(Settings(), "nnunet_import_model", zip=str(archive), overwrite=True)

    for answer in (imported, ask(Settings(), "nnunet_results", run_id=imported["run_id"])):
        assert re.search(way, " ".join(answer["notes"]))
    (tmp_path / "own.py").write_text("class TheirTrainer(nnUNetTrainer):\n    pass\n", "utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    with pytest.raises(ToolRefused, match="no images named CASE_0000"):
        ask(Settings(), "nnunet_predict", model=f"{NAME}/{theirs.name}", images=str(tmp_path / "in"), device="cpu")
