"""A dataset that is odd in one place is listed with a sentence about it, and hides no other."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.preprocessed import planned
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset


def plans(content: Any) -> Callable[[DatasetFiles], None]:
    """Plans that somebody has edited."""

    def write(files: DatasetFiles) -> None:
        files.preprocessed.mkdir(parents=True)
        text = json.dumps({"plans_name": "odd", "configurations": content})
        files.plans_file("odd").write_text(text, encoding="utf-8")

    return write


def summary(text: str) -> Callable[[DatasetFiles], None]:
    """A fold that was trained by hand."""

    def write(files: DatasetFiles) -> None:
        fold = files.fold("nnUNetTrainer", "nnUNetPlans", "2d", "0")
        (fold / "validation").mkdir(parents=True)
        (fold / "checkpoint_final.pth").touch()
        (fold / "validation" / "summary.json").write_text(text, encoding="utf-8")

    return write


def json_is_a_folder(files: DatasetFiles) -> None:
    (files.raw / "dataset.json").unlink()
    (files.raw / "dataset.json").mkdir()


def plans_are_a_folder(files: DatasetFiles) -> None:
    files.plans_file("odd").mkdir(parents=True)


def plans_are_cut_off(files: DatasetFiles) -> None:
    files.preprocessed.mkdir()
    files.plans_file("odd").write_text('{"plans_name": "odd", "conf', encoding="utf-8")


def deep_json(files: DatasetFiles) -> None:
    (files.raw / "dataset.json").write_text("[" * 100_000, encoding="utf-8")


def images_are_a_file(files: DatasetFiles) -> None:
    shutil.rmtree(files.raw / "imagesTr")
    (files.raw / "imagesTr").touch()


JUDGED = "is not as nnU-Net v2 writes plans"


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(summary("{"), "2d/fold_0: its validation/summary.json cannot be read", id="a summary cut off"),
        pytest.param(summary('{"foreground_mean": 1}'), "summary.json cannot be read", id="another kind of summary"),
        pytest.param(plans(["2d"]), "odd.json is not as nnU-Net writes it", id="a list of configurations"),
        pytest.param(plans({"2d": 5}), "configuration 2d: it is not as nnU-Net", id="a number as a configuration"),
        pytest.param(plans({"2d": {"data_identifier": 5}}), "data_identifier is 5", id="a number as a folder"),
        pytest.param(plans({"2d": {"data_identifier": "a\0"}}), "data_identifier is 'a", id="a folder of no name"),
        pytest.param(plans({"2d": {"inherits_from": "2d"}}), "2d from 2d inherits", id="an heir of itself"),
        pytest.param(plans_are_a_folder, "odd.json is not as nnU-Net writes it", id="plans that are a folder"),
        pytest.param(plans_are_cut_off, "odd.json is not as nnU-Net writes it", id="plans that are cut off"),
        pytest.param(json_is_a_folder, "dataset.json cannot be read (is no regular file)", id="a folder dataset.json"),
        pytest.param(deep_json, "nested too deeply", id="a bottomless dataset.json"),
        pytest.param(images_are_a_file, "imagesTr has no .nii.gz files", id="imagesTr is a file"),
    ],
)
def test_what_is_odd_is_a_problem_of_its_dataset_alone(
    settings: Settings, damage: Callable[[DatasetFiles], None], said: str
) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Whole")
    make_dataset(settings.folder("raw"), "Dataset002_Odd")
    damage(DatasetFiles(settings.folders, "Dataset002_Odd"))

    whole, odd = ask(settings, "nnunet_datasets")["datasets"]
    (alone,) = ask(settings, "nnunet_datasets", dataset_id=2)["datasets"]

    assert whole["cases"] == 5 and whole["problems"] == []
    assert any(said in problem for problem in odd["problems"]), odd["problems"]
    assert set(odd["problems"]) <= set(alone["problems"])


def test_a_circle_of_heirs_is_named() -> None:
    circle = {"2d": {"inherits_from": "3d"}, "3d": {"inherits_from": "2d"}}

    with pytest.raises(Refused, match=r"plans odd 2d from 3d from 2d inherits\. Correct inherits_from"):
        planned({"plans_name": "odd", "configurations": circle}, "2d")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(["2d"], f"{JUDGED}: configurations is ['2d']", id="a list of configurations"),
        pytest.param({"2d": 5}, f"{JUDGED}: configurations.2d is 5", id="a number as a configuration"),
        pytest.param({"2d": {"inherits_from": ["3d"]}}, "2d.inherits_from is ['3d']", id="a list as a parent"),
        pytest.param({"2d": {"data_identifier": 5}}, "2d.data_identifier is 5", id="a number as a folder"),
        pytest.param({"2d": {}}, "odd.json, configuration 2d: it has no data_identifier", id="no folder"),
    ],
)
def test_a_training_with_odd_plans_is_refused_and_told_the_file(settings: Settings, content: Any, said: str) -> None:
    make_dataset(settings.folder("raw"), "Dataset002_Odd")
    plans(content)(DatasetFiles(settings.folders, "Dataset002_Odd"))
    wanted = {"dataset_id": 2, "configuration": "2d", "fold": "0", "plans_identifier": "odd", "device": "cpu"}

    with pytest.raises(ToolRefused, match=rf"odd\.json.*{re.escape(said.removeprefix('odd.json'))}"):
        ask(settings, "nnunet_training", **wanted)
    problems = ask(settings, "nnunet_preflight", **wanted)["problems"]

    assert any(said in problem for problem in problems), problems


def test_a_preflight_with_odd_plans_still_says_all_the_rest(settings: Settings) -> None:
    make_dataset(settings.folder("raw"), "Dataset002_Odd")
    files = DatasetFiles(settings.folders, "Dataset002_Odd")
    plans([])(files)
    files.plans_file("odd").rename(files.plans_file("nnUNetPlans"))
    shapes = {"shapes_after_crop": [[9, 9, 9]], "spacings": [[1, 1, 1]]}
    files.fingerprint_file.write_text(json.dumps(shapes), encoding="utf-8")

    answer = ask(settings, "nnunet_preflight", dataset_id=2, configuration="3d_fullres", fold="0", device="cpu")

    assert answer["recommended"]["configuration"] == "3d_fullres"
    assert any(f"nnUNetPlans.json {JUDGED}: configurations is []" in problem for problem in answer["problems"])


def test_one_odd_configuration_hides_no_other(settings: Settings) -> None:
    make_dataset(settings.folder("raw"), "Dataset002_Odd")
    files = DatasetFiles(settings.folders, "Dataset002_Odd")
    plans({"2d": {"data_identifier": 5}, "3d": {"data_identifier": "odd_3d"}})(files)
    (files.preprocessed / "odd_3d").mkdir()
    Path(files.preprocessed / "odd_3d" / "case_000.pkl").touch()

    (line,) = ask(settings, "nnunet_datasets")["datasets"]

    assert line["preprocessed"] == ["odd 3d"]


def test_of_a_single_case_the_only_training_is_named(settings: Settings) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny", cases=1)

    said = ask(settings, "nnunet_datasets")["next_step"]

    assert said.startswith("1 case: too few for 5 folds. Ask the person whether to train")
    with pytest.raises(ToolRefused, match="has 1 training case; a 5-fold"):
        ask(settings, "nnunet_training", dataset_id=1, configuration="2d", fold="0", device="cpu")
