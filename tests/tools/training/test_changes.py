"""`changes`: what they make, what is refused before anything is written, and how a model asks for them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet import plans
from nnunet_mcp.nnunet.datasets import DatasetFiles, find_dataset
from nnunet_mcp.nnunet.preprocessed import DatasetNote, dataset_note_file
from nnunet_mcp.nnunet.trainers import nnunet_trainers
from nnunet_mcp.nnunet.variants.known import TRAINERS, choices
from nnunet_mcp.nnunet.variants.patches import poolings
from nnunet_mcp.schemas.changes import table
from nnunet_mcp.schemas.changes.table import CHANGES, read_changes, told_in_a_name
from nnunet_mcp.schemas.changes.values import Choice, Number
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data import value_checks
from nnunet_mcp.tools.data.summary import figures
from tests.kit.lab import ToolRefused
from tests.kit.planned import plan
from tests.kit.tiny import ask, digest, make_dataset

# One value for each name, other than nnU-Net's own.
EACH = {
    "epochs": "300", "iterations": "3", "val_iterations": "2", "initial_lr": "0.003", "weight_decay": "1e-4",
    "optimizer": "adamw", "loss": "dice_topk", "mirroring": "0,1", "oversample_foreground": "0.5",
    "deep_supervision": "off", "seed": "7", "batch_size": "3", "patch_size": "16x32x32", "spacing": "2x1x1.5",
    "gpu_memory_target": "4", "normalization": "ct",
}  # fmt: skip


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    """Five cases with two channels that nothing was done with yet."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny", channels=2)
    return find_dataset(settings.folders, 1)


def write_plans(files: DatasetFiles) -> None:
    """Plans of nnU-Net's with the little that checks look at."""
    files.preprocessed.mkdir(parents=True, exist_ok=True)
    full = {"data_identifier": "nnUNetPlans_3d_fullres", "spacing": [1.0, 1.0, 1.0], "batch_size": 2}
    content = {"plans_name": "nnUNetPlans", "configurations": {"3d_fullres": full}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(content), encoding="utf-8")
    shapes = {"spacings": [[1.0, 1.0, 1.0]] * 5, "shapes_after_crop": [[200, 200, 200]] * 5}
    files.fingerprint_file.write_text(json.dumps(shapes), encoding="utf-8")


def test_every_name_has_a_value_to_test_with() -> None:
    """A further name is proved here, too."""
    assert list(EACH) == list(CHANGES)


def test_every_change_has_a_name_of_its_own() -> None:
    values = list(EACH.items())
    values += [
        (row.name, value) for row in CHANGES.values() if isinstance(row.values, Choice) for value in row.values.names
    ]
    names = {told_in_a_name("A", dict([one])): one for one in values}

    assert len(names) == len(set(values))
    assert not any("__" in name for name in names), "nnU-Net takes a model's name apart there"


@pytest.mark.parametrize(
    ("words", "trainer", "plans"),
    [
        (["epochs=250"], "nnUNetTrainer_250epochs", "nnUNetPlans"),
        (["epochs=250", "mirroring=none"], "nnUNetTrainer_250epochs_NoMirroring", "nnUNetPlans"),
        (["mirroring=none"], "nnUNetTrainerNoMirroring", "nnUNetPlans"),
        (["loss=dice"], "nnUNetTrainerDiceLoss", "nnUNetPlans"),
        (["initial_lr=1e-3", "optimizer=adamw"], "nnUNetTrainerAdam1en3", "nnUNetPlans"),
        (["batch_size=4"], "nnUNetTrainer", "nnUNetPlans_bs4"),
        (["epochs=300", "initial_lr=0.003"], "nnUNetTrainer_300epochs_lr3en3", "nnUNetPlans"),
        (["spacing=1x1x3.50", "epochs=300"], "nnUNetTrainer_300epochs", "nnUNetPlans_spacing1x1x3.5"),
    ],
)
def test_names_tell_the_change_and_nnunets_own_classes_are_used(
    files: DatasetFiles, words: list[str], trainer: str, plans: str
) -> None:
    found = plan(files, fold="0", changes=words)

    assert (found.trainer, found.plans_identifier) == (trainer, plans)
    assert bool(found.made.text) == (trainer not in nnunet_trainers(sys.executable) and trainer != "nnUNetTrainer")
    assert found.targets == [f"Dataset001_Tiny/{trainer}__{plans}__3d_fullres/fold_0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"changes": ["epoch=5"]}, "Did you mean 'epochs'"),
        ({"changes": ["epochs=0"]}, "a whole number from 1 to 100000"),
        ({"changes": ["epochs=5", "epochs=6"]}, "given twice"),
        ({"changes": ["initial_lr=nan"]}, "a number above 0 up to 1"),
        ({"changes": ["initial_lr=.12345678901"]}, "a number above 0 up to 1, with at most 12 characters"),
        ({"changes": ["loss=focal"]}, "one of dice_ce"),
        ({"changes": ["mirroring=3"]}, "axes of the patch"),
        ({"changes": ["mirroring=0,2"], "configuration": "2d"}, "the axes 0 and 1 only"),
        ({"changes": ["patch_size=64x33x64"]}, "33 is not divisible by 8: 3 poolings along axis 1.*32 or 40"),
        ({"changes": ["patch_size=8x8x8"]}, "too small"),
        ({"changes": ["patch_size=64x64"]}, "has 3 numbers"),
        ({"changes": ["spacing=0.1x0.1x0.1"]}, "8,000,000,000 voxels"),
        ({"changes": ["normalization=ct,ct,ct"]}, "2 channels"),
        ({"changes": ["batch_size=2"], "plans_identifier": "myPlans"}, "plans of your own"),
        ({"changes": ["optimizer=adam"], "trainer": "nnUNetTrainer_warmup"}, "each of its phases"),
        ({"changes": ["?"]}, "'\\?' is nothing that can be changed"),
        ({"changes": ["epochs=1/../../x"]}, "a whole number"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_on_before_anything_is_written(
    settings: Settings, files: DatasetFiles, arguments: dict[str, Any], said: str
) -> None:
    write_plans(files)
    before = digest(Path(settings.folder("raw")).parent)

    with pytest.raises(ToolRefused, match=said):
        ask(settings, "nnunet_training", dataset_id=1, fold="0", **arguments)

    assert digest(Path(settings.folder("raw")).parent) == before


def test_every_value_that_is_read_is_read_again_as_the_same() -> None:
    """A record keeps the spelling, and names rest on it."""
    numbers = ["0", "-0", "1", "007", "+2", "1_0", "1e0", "1e2", "1e-3", "1e-400", "1e-9999", "1e9999", ".5", "5."]
    numbers += ["0.30", ".12345678901", "12345678e-14", "0.1234567891", "123456789e-9", "99999999.123", "1e-13"]
    numbers += ["1000000000", "nan", "snan", "inf"]
    words = [*numbers, *(f"{one}x1x1" for one in numbers), "2,0", "NONE", "CT,Zscore", "on", "Adam", "Dice"]
    for name, row in CHANGES.items():
        seen = [read for word in words if (read := read_or_none(name, word))]
        assert seen, name
        assert [read_or_none(name, one) for one in seen] == seen, name
        if isinstance(row.values, Number) and row.values.above:
            assert all(float(one) > 0 for one in seen), name


def read_or_none(name: str, word: str) -> str | None:
    try:
        return read_changes([f"{name}={word}"])[name]
    except ValueError:
        return None


def test_names_fit_what_requests_and_file_systems_take(files: DatasetFiles) -> None:
    of_plans = ["patch_size=1024x1024x1024", "spacing=0.12345678x0.12345678x0.12345678", "gpu_memory_target=123.456789"]
    of_plans += ["normalization=rescale_0_1,rescale_0_1", "batch_size=999"]
    with pytest.raises(Refused, match=r"The plans would have 1\d\d characters.*MPlans_.* At most 120 fit"):
        plan(files, fold="0", changes=of_plans, plans_identifier="nnUNetResEncUNetMPlans")
    both = ["optimizer=sgd_cosine", "loss=dice_ce_nosmooth", "epochs=300", "iterations=300", "val_iterations=60"]
    both += ["initial_lr=0.00123", "weight_decay=0.00012", "deep_supervision=off", *of_plans[1:]]
    with pytest.raises(Refused, match=r"The model folder would have 2\d\d characters.* At most 200 fit"):
        plan(files, fold="0", changes=both)
    with pytest.raises(Refused, match=r"name that tells these changes would have 1\d\d characters"):
        plan(files, fold="0", changes=[*both, "mirroring=0,1", "oversample_foreground=0.123456", "seed=123456789"])


def test_a_batch_is_not_smaller_than_the_gpus_that_share_it(files: DatasetFiles) -> None:
    with pytest.raises(Refused, match="splits a batch, and batch_size=2 is smaller"):
        plan(files, fold="0", changes=["batch_size=2"], num_gpus=4)


def test_regions_take_only_losses_that_know_them(files: DatasetFiles) -> None:
    description = json.loads((files.raw / "dataset.json").read_text(encoding="utf-8"))
    description |= {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    (files.raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")

    with pytest.raises(Refused, match="knows no regions"):
        plan(files, fold="0", changes=["loss=ce"])
    assert plan(files, fold="0", changes=["loss=dice"]).trainer == "nnUNetTrainerDiceLoss"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Own(nnUNetTrainer:", r"SyntaxError.*own\.py, line 1"),
        (
            "class Own(A):\n def __init__(self, a, unpack_dataset=True): ...",
            r"unpack_dataset, and nnU-Net 2\.6.*line 2",
        ),
        (
            "class Own(nnUNetTrainer):\n def f(self):\n  super().__init__(1, 2, 3, 4, True, 5)",
            r"takes 5 since nnU-Net 2\.6.*line 3",
        ),
        ("class Own(A):\n def f(self):\n  super().__init__(unpack_dataset=True)", r"gets unpack_dataset.*line 3"),
        (
            "class Own(nnUNetTrainerDA5):\n def f(self):\n  super().__init__(1, 2, 3, 4, True, 5)",
            r"takes 5 since nnU-Net 2\.6.*line 3",
        ),
    ],
)
def test_a_trainer_of_ones_own_that_cannot_be_built_is_refused_with_its_line(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "mine"))

    with pytest.raises(Refused, match=said):
        plan(files, fold="0", trainer="Own")


SIX = "\n def __init__(self):\n  super().__init__(1, 2, 3, 4, 5, 6)\n"


@pytest.mark.parametrize(
    "source",
    [
        f"class Own(Mine):{SIX}class Other:\n def __init__(self, unpack_dataset): ...\n",
        f"class Own(nnUNetTrainerOfOurs):{SIX}",
        f"class nnUNetTrainer(A):\n ...\nclass Own(nnUNetTrainer):{SIX}",
        '"""Use it so:\n\nclass Own(nnUNetTrainer):\n    ...\n"""\nfrom elsewhere import Own\n',
    ],
)
def test_a_trainer_of_ones_own_may_pass_on_what_its_own_base_takes(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "mine"))

    assert plan(files, fold="0", trainer="Own").trainer == "Own"


def test_plans_of_ones_own_under_the_name_are_not_taken_for_ours(files: DatasetFiles) -> None:
    write_plans(files)
    content = files.plans_file("nnUNetPlans").read_text(encoding="utf-8")
    note = DatasetNote(
        raw_identity="", changes={"nnUNetPlans_bs4": {"batch_size": "4"}, "nnUNetPlans_bs5": {"batch_size": "4"}}
    )
    write_model(dataset_note_file(files), note)
    for name in ("nnUNetPlans_bs4", "nnUNetPlans_bs5", "nnUNetPlans_24GB", "nnUNetPlans_spacing1x1x1"):
        files.plans_file(name).write_text(content, encoding="utf-8")

    for word in ("gpu_memory_target=24", "spacing=1x1x1", "batch_size=5"):
        with pytest.raises(Refused, match=rf"is there already, and was not planned here with {word}"):
            plan(files, fold="0", changes=[word])
    with pytest.raises(Refused, match=r"nnUNetPlans_bs4\.json is there already with another batch_size \(2\)"):
        plan(files, fold="0", changes=["batch_size=4"])
    files.plans_file("nnUNetPlans_bs4").write_text(content.replace(": 2}", ": 4}"), encoding="utf-8")
    assert plan(files, fold="0", changes=["batch_size=4"]).plans_identifier == "nnUNetPlans_bs4"


def test_a_name_of_a_trainer_of_ones_own_is_not_taken(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own.py").write_text("class nnUNetTrainer_300epochs(nnUNetTrainer): ...", encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "mine"))

    with pytest.raises(Refused, match="Another trainer has the name nnUNetTrainer_300epochs"):
        plan(files, fold="0", changes=["epochs=300"])


def test_trainers_that_were_made_are_ours_where_the_servers_own_environment_names_their_folder(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(files, fold="0", changes=["epochs=300"]).made
    made.write()
    monkeypatch.setenv("nnUNet_extTrainer", f"{tmp_path / 'mine'}:{made.path.parent}/")

    assert plan(files, fold="0", changes=["epochs=300"]).made == made
    assert [line for line in choices(sys.executable, ["trainer"]) if made.name in line] == [
        f"trainer {made.name}: made here for changes"
    ]
    with pytest.raises(Refused, match="was made for changes of another trainer"):
        plan(files, fold="0", trainer=made.name, changes=["initial_lr=0.003"])


def test_an_edit_in_a_trainer_that_was_made_is_not_overwritten(files: DatasetFiles) -> None:
    made = plan(files, fold="0", changes=["epochs=300"]).made
    made.write()
    made.path.write_text(made.text.replace("300\n", "301\n"), encoding="utf-8")

    with pytest.raises(Refused, match="is not as it is written for these changes"):
        plan(files, fold="0", changes=["epochs=300"])
    assert "301" in made.path.read_text(encoding="utf-8")
    made.path.unlink()
    assert plan(files, fold="0", changes=["epochs=300"]).made == made


def test_a_question_is_answered_with_all_that_can_be_chosen(settings: Settings, files: DatasetFiles) -> None:
    def told(*changes: str) -> list[str]:
        given = {"dataset_id": 1, "fold": "0", "device": "cpu", "changes": list(changes)}
        return list(ask(settings, "nnunet_preflight", **given)["choices"])

    names = "\n".join(told("?"))
    assert all(f"change {name}: " in names for name in CHANGES) and "nnUNetResEncUNetLPlans: " in names
    assert "nnunet_preflight(dataset_id=1, " in names and "trainer=?" in names and "TopK10Loss" not in names
    trainers = told("trainer=?")
    assert any("nnUNetTrainerDiceTopK10Loss: " in line for line in trainers) and "change" not in trainers[0]
    assert [line.partition(":")[0] for line in told("loss=?", "epochs=20")] == ["change loss"]
    assert told() == []


def test_every_trainer_of_nnunet_is_told_once_with_a_line() -> None:
    lines = [line for line in choices(sys.executable, ["trainer"]) if line.startswith("trainer ")]

    for name in (one for one in nnunet_trainers(sys.executable) if not one.startswith(("_", "Abstract"))):
        (line,) = [one for one in lines if name in one.removeprefix("trainer ").split(": ")[0].split(", ")]
        assert ": " in line, f"{name} is new in nnU-Net: say what it changes in TRAINERS ({len(TRAINERS)} lines)"


def test_poolings_are_those_of_nnunet() -> None:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    spacings = [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (0.7, 0.7), (5.0, 0.5, 0.6)]
    patches = [(40, 56, 40), (16, 320, 256), (8, 8, 8), (7, 100, 33), (512, 384), (5, 12)]
    for spacing in spacings:
        for patch in (one for one in patches if len(one) == len(spacing)):
            pools, strides, *_ = get_pool_and_conv_props(spacing, patch, 4, 999999)
            found = poolings(spacing, patch)
            assert (list(found.per_axis), found.steps) == (pools, len(strides) - 1), (spacing, patch)


def test_normalizations_are_those_of_nnunet_wherever_they_are_listed() -> None:
    from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import (
        channel_name_to_normalization_mapping as theirs,
    )

    assert {name.casefold() for name in table.NORMALIZATIONS.names.values()} == {*theirs}
    assert {*value_checks.OWN_SCALING} == {*theirs}
    assert {*figures.NORMALIZATIONS} == {*theirs} - {"ct", "zscore"}, "these two are told with their figures"
    assert {*plans.NORMALIZATIONS} == {scheme.__name__ for scheme in theirs.values()}


def test_one_spelling_for_what_means_the_same() -> None:
    words = ["loss=DICE", "initial_lr=3E-3", "epochs = 0250", "mirroring=1,0"]

    assert read_changes(words) == {"epochs": "250", "initial_lr": "0.003", "loss": "dice", "mirroring": "0,1"}
