"""A dataset in the older style trains from a twin: a corrected dataset.json beside links to all that is the user's."""

import json
import shutil
from pathlib import Path

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.ready import ready_to_train
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.lab import ToolRefused
from tests.kit.planned import preprocess
from tests.kit.tiny import ask, digest, make_dataset


@pytest.fixture
def source(settings: Settings) -> Path:
    """A dataset in the older style."""
    return make_dataset(settings.folder("raw"), "Dataset050", style="documented")


def test_a_dataset_in_the_older_style_trains_from_a_corrected_twin(settings: Settings, source: Path) -> None:
    before = digest(source)

    files, notes = ready_to_train(settings, 50)

    assert "older style" in notes[0] and "source is unchanged" in notes[0]
    assert digest(source) == before
    assert read_description(files.raw).changes == []
    assert (files.raw / "imagesTr").samefile(source / "imagesTr")
    assert ready_to_train(settings, 50)[0] == files, "a second time is fine"


def test_who_only_looks_compares_with_the_data_that_a_training_made(settings: Settings, source: Path) -> None:
    """Else preflight says "the raw data have changed since" of what the training finds unchanged."""
    assert ready_to_train(settings, 50, make_twin=False)[0].raw == source, "nothing is made"

    made = ready_to_train(settings, 50)[0]

    assert ready_to_train(settings, 50, make_twin=False)[0] == made

    ask(settings, "nnunet_split_dataset", dataset_id=50, folds=3, stratify=False, write=True)
    told = ask(settings, "nnunet_preflight", dataset_id=50, configuration="2d", fold="4", device="cpu")["problems"]

    assert "has 3 folds, so there is no fold 4" in " ".join(told)


def test_preflight_and_the_training_say_the_same_of_the_preprocessed_data(settings: Settings, source: Path) -> None:
    preprocess(ready_to_train(settings, 50)[0])
    request = {"dataset_id": 50, "configuration": "2d", "fold": "0", "device": "cpu"}

    ahead = ask(settings, "nnunet_preflight", **request)["stages"]
    _, record, _ = prepare_run(TrainingRequest.model_validate(request), settings)

    assert (ahead[0]["name"], ahead[0]["status"]) == ("preprocess", "success") and "unchanged" in ahead[0]["detail"]
    assert [(spec.name, spec.detail) for spec in record.stages] == [(one["name"], one["detail"]) for one in ahead]


def test_everything_beside_dataset_json_comes_along(settings: Settings, source: Path) -> None:
    for name in ("imagesTs", "labelsTs", "my notes"):
        (source / name).mkdir()
    (source / "splits_final.json").write_text("[]", encoding="utf-8")

    twin = ready_to_train(settings, 50)[0].raw

    assert {path.name for path in twin.iterdir()} == {path.name for path in source.iterdir()}
    assert (twin / "splits_final.json").samefile(source / "splits_final.json")


def test_a_users_own_split_counts_in_the_older_style_too(settings: Settings, source: Path) -> None:
    split = [{"train": ["case_000"], "val": ["case_001"]}]
    (source / "splits_final.json").write_text(json.dumps(split), encoding="utf-8")

    with pytest.raises(ToolRefused, match="has 1 folds, so there is no fold 3"):
        ask(settings, "nnunet_training", dataset_id=50, configuration="2d", fold="3", device="cpu")


def test_what_comes_and_goes_in_the_source_does_so_in_the_twin(settings: Settings, source: Path) -> None:
    (source / "imagesTs").mkdir()
    twin = ready_to_train(settings, 50)[0].raw
    (source / "imagesTs").rmdir()
    (source / "splits_final.json").write_text("[]", encoding="utf-8")

    ready_to_train(settings, 50)

    assert not (twin / "imagesTs").is_symlink() and (twin / "splits_final.json").is_file()


def test_after_the_raw_folder_has_moved_the_twin_leads_to_the_new_place(
    settings: Settings, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_to_train(settings, 50)
    shutil.copytree(settings.folder("raw"), tmp_path / "new raw")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "new raw"))

    files, _ = ready_to_train(Settings(), 50)

    assert (files.raw / "imagesTr").samefile(tmp_path / "new raw" / "Dataset050" / "imagesTr")


def test_two_raw_folders_with_the_same_results_have_a_twin_each(
    settings: Settings, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_dataset(tmp_path / "other raw", "Dataset050", cases=6, style="documented")
    first, _ = ready_to_train(settings, 50)
    monkeypatch.setenv("nnUNet_raw", str(other.parent))
    second, _ = ready_to_train(Settings(), 50)

    assert (first.raw / "imagesTr").samefile(source / "imagesTr")
    assert (second.raw / "imagesTr").samefile(other / "imagesTr")


def test_a_link_that_leads_elsewhere_is_replaced(settings: Settings, source: Path, tmp_path: Path) -> None:
    twin = ready_to_train(settings, 50)[0].raw
    (twin / "imagesTr").unlink()
    (twin / "imagesTr").symlink_to(tmp_path)

    ready_to_train(settings, 50)

    assert (twin / "imagesTr").samefile(source / "imagesTr")


def test_a_broken_source_is_refused_before_a_twin_is_made(settings: Settings, source: Path) -> None:
    next((source / "labelsTr").iterdir()).unlink()

    with pytest.raises(Refused, match="no label file"):
        ready_to_train(settings, 50)
    assert not (settings.state_dir / "raw").exists()
