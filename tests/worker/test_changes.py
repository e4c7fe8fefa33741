"""Every change reaches nnU-Net: read from its trainer and from the plans that its planner wrote, alone and in pairs."""

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_mcp.files import read_json
from nnunet_mcp.nnunet.datasets import DatasetFiles, find_dataset
from nnunet_mcp.nnunet.safe_plans import read_plans
from nnunet_mcp.nnunet.trainers import all_trainer_folders, nnunet_trainers
from nnunet_mcp.nnunet.variants.made import SAME, trainer_with
from nnunet_mcp.schemas.changes.table import CHANGES, read_changes, told_in_a_name
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.steps.planning import make_plans
from nnunet_mcp.worker.steps.preprocess import refuse_unfound_trainer
from tests.kit.tiny import ask, make_dataset

# nnU-Net's search for a trainer imports libraries that warn of their own imports.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]
SMALL = {"batch_size": "2", "patch_size": "16x16x16"}
# What each change is to be in nnU-Net: `t` is the trainer, `c` its configuration of 3d_fullres.
OF_TRAINER: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "epochs": ("300", lambda t: t.num_epochs == 300),
    "iterations": ("3", lambda t: t.num_iterations_per_epoch == 3),
    "val_iterations": ("2", lambda t: t.num_val_iterations_per_epoch == 2),
    "initial_lr": ("0.003", lambda t: optimizer(t).param_groups[0]["lr"] == 0.003),
    "weight_decay": ("1e-4", lambda t: optimizer(t).param_groups[0]["weight_decay"] == 1e-4),
    "optimizer": ("adamw", lambda t: type(optimizer(t)).__name__ == "AdamW"),
    "loss": ("dice_topk", lambda t: "DC_and_topk_loss" in repr(t._build_loss())),
    "mirroring": ("0,1", lambda t: axes(t) == ((0, 1), (0, 1))),
    "oversample_foreground": ("0.5", lambda t: t.oversample_foreground_percent == 0.5),
    "deep_supervision": ("off", lambda t: t._get_deep_supervision_scales() is None),
    "seed": ("7", lambda t: first_weights(t) == first_weights(t)),
}
OF_PLANS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "batch_size": ("3", lambda c: c["batch_size"] == 3),
    "patch_size": ("16x32x32", lambda c: c["patch_size"] == [16, 32, 32]),
    "spacing": ("2x1x1.5", lambda c: c["spacing"] == [2.0, 1.0, 1.5]),
    "gpu_memory_target": ("0.5", lambda c: c["architecture"]["arch_kwargs"]["n_stages"] > 0),
    "normalization": ("ct", lambda c: c["normalization_schemes"] == ["CTNormalization"] * 2),
}


def optimizer(trainer: Any) -> Any:
    import torch

    trainer.network = torch.nn.Linear(1, 1)
    return trainer.configure_optimizers()[0]


def axes(trainer: Any) -> tuple[Any, Any]:
    """Those of augmentation and those of prediction."""
    mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[-1]
    return mirrored, trainer.inference_allowed_mirroring_axes


def first_weights(trainer: Any) -> list[float]:
    """Some of those that the network begins with."""
    trainer.was_initialized = False
    trainer.initialize()
    return [float(weights.sum()) for weights in itertools.islice(trainer.network.parameters(), 6)]


@pytest.fixture
def files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> DatasetFiles:
    """Cases as a fingerprint has them: 40 slices of 64 by 64, in two channels."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny", channels=2)
    found = find_dataset(settings.folders, 1)
    found.preprocessed.mkdir(parents=True)
    shown = {
        "max": 9.0,
        "mean": 1.0,
        "median": 1.0,
        "min": 0.0,
        "percentile_00_5": 0.0,
        "percentile_99_5": 9.0,
        "std": 1.0,
    }
    fingerprint = {
        "spacings": [[1.0, 1.0, 1.0]] * 5,
        "shapes_after_crop": [[40, 64, 64]] * 5,
        "foreground_intensity_properties_per_channel": {"0": shown, "1": shown},
        "median_relative_size_after_cropping": 1.0,
    }
    found.fingerprint_file.write_text(json.dumps(fingerprint), encoding="utf-8")
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setenv("nnUNet_extTrainer", all_trainer_folders())
    return found


def planned(files: DatasetFiles, changes: Mapping[str, str], base: str = "nnUNetPlans") -> dict[str, Any]:
    name = told_in_a_name(base, changes)
    planner = {"nnUNetPlans": "ExperimentPlanner", "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM"}[base]
    make_plans(files.name, planner, name, base, changes)
    return read_plans(files.plans_file(name)) or {}


def trainers(
    files: DatasetFiles, plans: dict[str, Any], changes: Mapping[str, str], base: str = "nnUNetTrainer"
) -> Any:
    """As nnU-Net makes it: found by its name."""
    import torch
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    made = trainer_with(base, changes, sys.executable)
    if made.text:
        made.write()
    found = recursive_find_trainer_class_by_name(made.name)
    description = read_json(files.raw / "dataset.json")
    given = json.loads(json.dumps(plans)) | {"continue_training": False}
    return found(given, "3d_fullres", 0, description, torch.device("cpu"))


def one_and_two(table: Mapping[str, tuple[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield from ((name,) for name in table)
    yield from itertools.combinations(table, 2)


def test_each_change_of_the_trainer_alone_and_in_pairs(files: DatasetFiles) -> None:
    assert {*OF_TRAINER, *OF_PLANS} == {*CHANGES}, "a further name is proved here"
    plans = planned(files, SMALL)
    (files.preprocessed / "nnUNetPlans_3d_fullres").mkdir()
    (files.preprocessed / "nnUNetPlans_3d_fullres" / "case.b2nd").touch()

    usual = trainers(files, plans, {})
    assert [name for name, (_, reached) in OF_TRAINER.items() if reached(usual)] == []
    for names in one_and_two(OF_TRAINER):
        changes = read_changes(f"{name}={OF_TRAINER[name][0]}" for name in names)
        trainer = trainers(files, plans, changes)
        assert [name for name in names if not OF_TRAINER[name][1](trainer)] == [], trainer.__class__.__name__
        assert trainer.__class__.__name__ in str(trainer.output_folder), "a model folder of its own"


def test_each_change_of_the_plans_alone_and_in_pairs(files: DatasetFiles) -> None:
    usual = planned(files, {})["configurations"]["3d_fullres"]
    assert [n for n, (_, reached) in OF_PLANS.items() if n != "gpu_memory_target" and reached(usual)] == []
    for names in one_and_two(OF_PLANS):
        changes = read_changes(f"{name}={OF_PLANS[name][0]}" for name in names)
        plans = planned(files, changes)
        found = plans["configurations"]["3d_fullres"]
        assert [name for name in names if not OF_PLANS[name][1](found)] == [], plans["plans_name"]
        if names == ("gpu_memory_target",):
            assert volume(found) < volume(usual), "planned for less memory"
        of_data = [name for name in names if CHANGES[name].changes_data]
        words = told_in_a_name("nnUNetPlans", {name: changes[name] for name in of_data})
        assert found["data_identifier"] == f"{words}_3d_fullres", "data that nothing changes are shared"
        assert plans["experiment_planner_used"] == "ExperimentPlanner"


def test_each_change_of_the_trainer_beside_each_change_of_the_plans(files: DatasetFiles) -> None:
    """What nnU-Net's trainer does itself, and what it has from the plans that it is given."""
    for name, (value, planned_so) in OF_PLANS.items():
        rest = {} if name == "gpu_memory_target" else SMALL  # which would leave the planner nothing to choose
        plans = planned(files, rest | {name: value})
        found = plans["configurations"]["3d_fullres"]
        assert planned_so(found)
        data = files.preprocessed / found["data_identifier"]
        data.mkdir(exist_ok=True)
        (data / "case.b2nd").touch()
        for other, (word, reached) in OF_TRAINER.items():
            trainer = trainers(files, plans, read_changes([f"{other}={word}"]))
            assert reached(trainer), f"{other} beside {name}"
            assert trainer.configuration_manager.configuration == found, f"{name} beside {other}"
            model = f"{type(trainer).__name__}__{plans['plans_name']}__3d_fullres"
            assert Path(trainer.output_folder_base).name == model, "a model folder of its own"


def volume(configuration: Mapping[str, Any]) -> int:
    z, y, x = configuration["patch_size"]
    return int(z * y * x * configuration["batch_size"])


def test_without_changes_everything_is_nnunets_own(files: DatasetFiles) -> None:
    """The same class and the same plans, byte by byte: so the same losses and the same Dice."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans = planned(files, {})
    ours = files.plans_file("nnUNetPlans").read_bytes()
    files.plans_file("nnUNetPlans").unlink()
    ExperimentPlanner(files.name).plan_experiment()

    assert files.plans_file("nnUNetPlans").read_bytes() == ours
    assert type(trainers(files, plans, {})) is nnUNetTrainer


def test_a_patch_is_planned_as_nnunet_would_plan_it(files: DatasetFiles) -> None:
    """The patch that nnU-Net chose itself gives the same network and batch when it is asked for."""
    for base in ("nnUNetPlans", "nnUNetResEncUNetMPlans"):
        own = planned(files, {}, base)["configurations"]["3d_fullres"]
        asked = {"patch_size": "x".join(map(str, own["patch_size"]))}

        assert planned(files, asked, base)["configurations"]["3d_fullres"] == own


def test_a_residual_encoder_does_not_mix_its_data_with_those_of_another_spacing(files: DatasetFiles) -> None:
    found = planned(files, {"spacing": "2x1x1.5"}, "nnUNetResEncUNetMPlans")["configurations"]["3d_fullres"]

    assert found["data_identifier"] == "nnUNetPlans_spacing2x1x1.5_3d_fullres"
    assert "n_blocks_per_stage" in found["architecture"]["arch_kwargs"]


def test_a_change_of_a_trainer_of_ones_own_is_one_of_that_trainer(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    source = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Usual\n"
    source += "class Mine(Usual):\n    marked = 5\n"
    (mine / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(mine))
    monkeypatch.setenv("nnUNet_extTrainer", all_trainer_folders())

    found = trainers(files, planned(files, SMALL), {"epochs": "300"}, base="Mine")

    assert (found.__class__.__name__, found.marked, found.num_epochs) == ("Mine_300epochs", 5, 300)


def test_experiments_of_one_trainer_survive_the_removal_of_another(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("MineA", "MineB"):
        source = "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        (mine / f"{name}.py").write_text(f"{source}class {name}(nnUNetTrainer): ...\n", encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(mine))
    experiments = [("MineA", f"epochs={n}") for n in (5, 6, 7, 8)] + [("MineB", "epochs=5")]
    for base, word in experiments:
        trainer_with(base, read_changes([word]), sys.executable).write()
    (mine / "MineA.py").unlink()
    monkeypatch.setenv("nnUNet_extTrainer", all_trainer_folders())

    assert recursive_find_trainer_class_by_name("MineB_5epochs").__name__ == "MineB_5epochs"
    refuse_unfound_trainer("MineB_5epochs")
    with pytest.raises(StageFailure, match=r"MineA_6epochs cannot be found.*the class that it is derived from is gone"):
        refuse_unfound_trainer("MineA_6epochs")


def test_a_trainer_that_cannot_be_imported_ends_the_run_before_its_preprocessing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "mine.py").write_text("import os\nimport mamba_ssm_nowhere\nclass Mine(A): ...\n", encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(mine))

    with pytest.raises(StageFailure, match=r"No module named 'mamba_ssm_nowhere' \| .*mine\.py, line 2"):
        refuse_unfound_trainer("Mine")
    refuse_unfound_trainer("nnUNetTrainer_5epochs")


def test_nnunets_own_classes_do_what_the_changes_say_that_they_stand_for(files: DatasetFiles) -> None:
    plans = planned(files, SMALL)
    words = [*SAME, *((f"epochs={n}",) for n in (5, 10, 20, 50, 100, 250, 500, 750, 2000, 4000, 8000))]
    words += [(f"epochs={n}", "mirroring=none") for n in (250, 2000, 4000, 8000)]
    words += [(f"{row.name}={value}",) for row in CHANGES.values() if row.takes for value in row.values.names]  # type: ignore[attr-defined]
    for some in words:
        found = trainers(files, plans, read_changes(some))
        assert type(found).__name__ in nnunet_trainers(sys.executable), some
        told = dict(word.split("=") for word in some)
        seen = SimpleNamespace(
            epochs=found.num_epochs,
            initial_lr=found.initial_lr,
            mirroring="none" if axes(found) == (None, None) else "all",
            deep_supervision="on" if found.enable_deep_supervision else "off",
        )
        assert all(str(getattr(seen, name, value)) == value for name, value in told.items()), some


def test_a_network_is_known_from_plans_alone_before_anything_is_preprocessed(
    settings: Settings, files: DatasetFiles
) -> None:
    planned(files, {})
    files.plans_file("nnUNetPlans").write_text(json.dumps(planned(files, SMALL)), encoding="utf-8")

    wanted = {"dataset_id": 1, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}
    ahead = ask(settings, "nnunet_preflight", **wanted)

    assert ahead["network"]["patch_size"] == [16, 16, 16] and "Traceback" not in " ".join(ahead["notes"])
