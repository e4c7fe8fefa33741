"""Which stages a request needs, and what is refused before anything starts; no training here."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, find_dataset
from nnunet_mcp.nnunet.preprocessed import DatasetNote, dataset_note_file, raw_identity
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.training.planning import Plan
from tests.kit.planned import CONFIGURATIONS, plan, preprocess, train
from tests.kit.tiny import image, make_dataset, save


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    """Five cases that nothing was done with yet."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    return find_dataset(settings.folders, 1)


@pytest.fixture
def ready(files: DatasetFiles) -> DatasetFiles:
    """The same after preprocessing."""
    preprocess(files)
    return files


def stages(found: Plan) -> list[tuple[str, bool]]:
    return [(spec.name, spec.reused) for spec in found.stages]


def test_a_new_dataset_is_preprocessed_and_trained(files: DatasetFiles) -> None:
    found = plan(files, fold="0")

    assert stages(found) == [("preprocess", False), ("train_fold_0", False)]
    assert found.stages[1].needs == ("preprocess",)
    assert found.stages[0].detail == "nnUNetPlans are not planned yet", "and will be: no fault"
    assert (found.trainer, found.plans_identifier, found.planner) == (
        "nnUNetTrainer",
        "nnUNetPlans",
        "ExperimentPlanner",
    )
    assert found.targets == ["Dataset001_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0"]


def test_all_is_five_models_and_the_cross_validation(ready: DatasetFiles) -> None:
    found = plan(ready, fold="all")

    models = [f"train_fold_{fold}" for fold in range(5)]
    assert [spec.name for spec in found.stages] == ["preprocess", *models, "cross_validation"]
    assert all(spec.needs == ("preprocess",) for spec in found.stages[1:6])
    assert found.stages[-1].needs == tuple(models)
    assert len(set(found.targets)) == 5


def test_full_is_one_model_on_every_case_and_says_that_it_is_optimistic(ready: DatasetFiles) -> None:
    found = plan(ready, fold="full")

    assert found.stages[-1].name == "train_full"
    assert found.targets[0].endswith("/fold_all")
    assert "optimistic" in " ".join(found.notes)


def test_unchanged_preprocessed_data_are_reused(ready: DatasetFiles) -> None:
    found = plan(ready, fold="0")

    assert stages(found) == [("preprocess", True), ("train_fold_0", False)]
    assert "unchanged" in found.stages[0].detail


def test_changed_raw_data_are_preprocessed_again(ready: DatasetFiles) -> None:
    save(ready.raw / "imagesTr" / "case_000_0000.nii.gz", image(fill=99))

    found = plan(ready, fold="0")

    assert stages(found)[0] == ("preprocess", False)
    assert "changed" in found.stages[0].detail


def test_a_new_case_is_preprocessed(ready: DatasetFiles) -> None:
    save(ready.raw / "imagesTr" / "new_0000.nii.gz", image())
    save(ready.raw / "labelsTr" / "new.nii.gz", image())

    assert "for example new" in plan(ready, fold="0").stages[0].detail


def test_data_that_were_never_verified_are_verified_unless_that_is_not_wanted(ready: DatasetFiles) -> None:
    write_model(dataset_note_file(ready), DatasetNote(raw_identity=raw_identity(ready), verified=False))

    assert stages(plan(ready, fold="0"))[0] == ("preprocess", False)
    assert stages(plan(ready, fold="0", verify_dataset_integrity=False))[0] == ("preprocess", True)


def test_finished_folds_are_reused_by_a_cross_validation(ready: DatasetFiles) -> None:
    for fold in "024":
        train(ready, fold, "final", "summary")

    found = plan(ready, fold="all")

    assert [spec.fold for spec in found.stages if spec.reused and spec.kind == "train"] == ["0", "2", "4"]
    assert len(found.targets) == 2


def test_a_reused_fold_is_told_to_be_without_what_was_asked_for_now(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")

    assert "Fold 0 was trained before and is reused as it is, without npz" in " ".join(plan(ready, npz=True).notes)
    assert "reused as it is" not in " ".join(plan(ready).notes)


def test_with_overwrite_nothing_is_reused(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")

    found = plan(ready, fold="all", overwrite=True)

    assert not any(spec.reused for spec in found.stages if spec.kind == "train")


def test_a_finished_fold_is_refused_with_three_ways_on(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")

    with pytest.raises(Refused, match=r"validation_only=true.*overwrite=true.*another fold"):
        plan(ready, fold="0")
    assert stages(plan(ready, fold="0", overwrite=True))[1] == ("train_fold_0", False)
    assert stages(plan(ready, fold="0", validation_only=True))[1] == ("validate_fold_0", False)
    assert stages(plan(ready, fold="1"))[1] == ("train_fold_1", False)


def test_what_was_made_of_a_fold_is_named_before_it_is_trained_again(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")
    train(ready, "1", "final", "summary")
    model = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    ensemble = f"ensemble___{model}___nnUNetTrainer__nnUNetPlans__2d___0_1"
    exported = ready.results / "exports" / f"Dataset001_Tiny__{model}.zip"
    for folder in (ready.results / model / "crossval_results_folds_0_1", ready.ensembles / ensemble, exported.parent):
        folder.mkdir(parents=True)
    exported.write_bytes(b"")
    selected = {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans", "configuration": "3d_fullres"}
    best = {"folds": [0, 1], "best_model_or_ensemble": {"selected_model_or_models": [selected]}}
    ready.best_file.write_text(json.dumps(best), "utf-8")
    made = f"crossval_results_folds_0_1, {ensemble}, the best configuration, exports/{exported.name}."

    with pytest.raises(Refused) as refused:
        plan(ready, fold="0")

    assert refused.value.text.endswith(made)
    assert [note for note in plan(ready, fold="0", overwrite=True).notes if note.endswith(made)]
    assert "crossval_results" not in " ".join(plan(ready, fold="2", overwrite=True).notes)


@pytest.mark.parametrize("checkpoint", ["latest", "best"])
def test_an_unfinished_training_is_refused_with_two_ways_on(ready: DatasetFiles, checkpoint: str) -> None:
    train(ready, "0", checkpoint)

    with pytest.raises(Refused, match=r"unfinished.*continue_training=true.*overwrite=true"):
        plan(ready, fold="0")
    assert plan(ready, fold="0", continue_training=True).stages[1].resume
    assert not plan(ready, fold="0", overwrite=True).stages[1].resume


def test_an_unfinished_fold_of_all_is_refused_too_and_can_be_continued(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")
    train(ready, "1", "latest")

    with pytest.raises(Refused, match=r"fold_1 has an unfinished training"):
        plan(ready, fold="all")
    found = plan(ready, fold="all", continue_training=True)
    assert [spec.name for spec in found.stages if spec.resume] == ["train_fold_1"]
    assert [spec.name for spec in found.stages if spec.reused] == ["preprocess", "train_fold_0"]


def test_a_fold_whose_validation_was_cut_off_is_continued(ready: DatasetFiles) -> None:
    train(ready, "0", "final")

    assert plan(ready, fold="0", continue_training=True).stages[1].resume


def test_nothing_to_continue_is_said_at_once(ready: DatasetFiles) -> None:
    with pytest.raises(NotFound, match=r"no checkpoint.*Leave continue_training out"):
        plan(ready, fold="0", continue_training=True)
    train(ready, "0", "final", "summary")
    with pytest.raises(Refused, match="nothing to continue"):
        plan(ready, fold="0", continue_training=True)


def test_a_resume_uses_the_data_it_began_with(ready: DatasetFiles) -> None:
    train(ready, "0", "latest")
    save(ready.raw / "imagesTr" / "case_000_0000.nii.gz", image(fill=99))

    assert [spec.name for spec in plan(ready, fold="0", continue_training=True).stages] == ["train_fold_0"]


def test_only_a_finished_training_can_be_validated(ready: DatasetFiles) -> None:
    with pytest.raises(Refused, match="train it first"):
        plan(ready, fold="0", validation_only=True)
    train(ready, "0", "latest")
    with pytest.raises(Refused, match="continue_training=true finishes it"):
        plan(ready, fold="0", validation_only=True)


def test_validating_with_the_best_checkpoint_needs_one(ready: DatasetFiles) -> None:
    train(ready, "0", "final", "summary")

    with pytest.raises(NotFound, match=r"checkpoint_best\.pth does not exist.*Leave val_best out"):
        plan(ready, fold="0", validation_only=True, val_best=True)


@pytest.mark.parametrize("fold", ["0", "all"])
def test_fewer_than_five_cases_are_refused_with_the_ways_out(settings: Settings, fold: str) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Few", cases=3)
    files = find_dataset(settings.folders, 1)

    with pytest.raises(Refused, match=r"3 training cases.*fold='full'.*splits_final\.json"):
        plan(files, fold=fold)
    assert plan(files, fold="full").stages[-1].name == "train_full"


def test_own_splits_allow_fewer_cases_and_fewer_folds(settings: Settings) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset001_Few", cases=3)
    splits = [{"train": ["case_000"], "val": ["case_001"]}, {"train": ["case_001"], "val": ["case_000"]}]
    (folder / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    files = find_dataset(settings.folders, 1)

    assert plan(files, fold="1").stages[-1].name == "train_fold_1"
    with pytest.raises(Refused, match=r"has 2 folds, so there is no fold 2.*'0'-'1'"):
        plan(files, fold="2")


def test_an_unknown_trainer_names_the_near_ones(files: DatasetFiles) -> None:
    with pytest.raises(NotFound, match="Did you mean trainer='nnUNetTrainer_100epochs'"):
        plan(files, trainer="nnUNetTrainer_100epoch")
    with pytest.raises(NotFound, match=r"nnUNetTrainer is the default.*nnUNet_extTrainer"):
        plan(files, trainer="Zzz")


def test_a_trainer_of_ones_own_is_found(files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.py").write_text("class MyTrainer(nnUNetTrainer):\n    pass\n", encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "mine"))

    assert plan(files, trainer="MyTrainer").trainer == "MyTrainer"


@pytest.mark.parametrize(
    ("plans", "planner"),
    [
        ("nnUNetResEncUNetMPlans", "nnUNetPlannerResEncM"),
        ("nnUNetResEncUNetLPlans", "nnUNetPlannerResEncL"),
        ("nnUNetResEncUNetXLPlans", "nnUNetPlannerResEncXL"),
    ],
)
def test_the_residual_encoder_presets_have_their_planner(files: DatasetFiles, plans: str, planner: str) -> None:
    assert plan(files, plans_identifier=plans).planner == planner


def test_unknown_plans_list_the_presets_and_the_own_ones(ready: DatasetFiles) -> None:
    preprocess(ready, plans="myPlans")

    assert plan(ready, plans_identifier="myPlans", fold="0").planner is None
    with pytest.raises(NotFound, match=r"Presets: nnUNetPlans, .*XLPlans; Dataset001_Tiny has myPlans, nnUNetPlans"):
        plan(ready, plans_identifier="myPlan")


def test_skipping_preprocessing_needs_its_result(files: DatasetFiles) -> None:
    with pytest.raises(Refused, match=r"no_preprocessing was asked for, but .*are not planned yet.*Leave"):
        plan(files, no_preprocessing=True)
    preprocess(files, configurations=("2d",))
    with pytest.raises(Refused, match="have no 3d_fullres; they have 2d"):
        plan(files, no_preprocessing=True, fold="0")
    assert stages(plan(files, no_preprocessing=True, configuration="2d", fold="0")) == [("train_fold_0", False)]


def test_a_configuration_that_the_plans_lack_is_refused(ready: DatasetFiles) -> None:
    for configuration in ("3d_lowres", "3d_cascade_fullres"):
        with pytest.raises(Refused, match=r"they have 2d, 3d_fullres.*configuration='3d_fullres'"):
            plan(ready, configuration=configuration, fold="0")


@pytest.mark.parametrize("configuration", ["3d_fullres", "3d_lowres", "3d_cascade_fullres"])
def test_flat_images_are_trained_in_2d_only(files: DatasetFiles, configuration: str) -> None:
    path = files.raw / "dataset.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "file_ending": ".png"}), encoding="utf-8")

    with pytest.raises(Refused, match=r"2D images \(\.png\).*Use configuration='2d'"):
        plan(files, configuration=configuration, fold="0")
    assert stages(plan(files, configuration="2d", fold="full"))[0] == ("preprocess", False)


def test_a_cascade_trains_all_lowres_folds_first(files: DatasetFiles) -> None:
    configurations = (*CONFIGURATIONS, "3d_lowres", "3d_cascade_fullres")
    preprocess(files, configurations=configurations)

    found = plan(files, configuration="3d_cascade_fullres", fold="0")

    lowres = [f"lowres_fold_{fold}" for fold in range(5)]
    assert [spec.name for spec in found.stages] == ["preprocess", *lowres, "train_fold_0"]
    assert set(found.stages[-1].needs) == {"preprocess", *lowres}
    assert len(found.targets) == 6 and "come first" in found.notes[0]


def test_a_cascade_reuses_finished_lowres_folds_and_predicts_what_is_missing(files: DatasetFiles) -> None:
    preprocess(files, configurations=(*CONFIGURATIONS, "3d_lowres", "3d_cascade_fullres"))
    for fold in "0123":
        train(files, fold, "final", "summary", configuration="3d_lowres")
    train(files, "4", "latest", configuration="3d_lowres")
    predicted = files.model("nnUNetTrainer", "nnUNetPlans", "3d_lowres") / "predicted_next_stage/3d_cascade_fullres"
    predicted.mkdir(parents=True)
    for case in range(3):
        (predicted / f"case_{case:03d}.b2nd").touch()

    found = plan(files, configuration="3d_cascade_fullres", fold="0")

    lowres = [(spec.name, spec.kind, spec.resume) for spec in found.stages if spec.name.startswith("lowres")]
    assert lowres == [("lowres_fold_3", "validate", False), ("lowres_fold_4", "train", True)]


def test_other_notes_are_told(ready: DatasetFiles) -> None:
    notes = " ".join(plan(ready, fold="0", use_compressed=True, disable_checkpointing=True).notes)

    assert "use_compressed" in notes and "disable_checkpointing" in notes


def test_planning_writes_nothing(ready: DatasetFiles, settings: Settings, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))

    plan(ready, fold="all")

    assert sorted(tmp_path.rglob("*")) == before


def define(files: DatasetFiles, **configurations: dict[str, Any]) -> None:
    """Write configurations into the plans, as people do."""
    path = files.plans_file("nnUNetPlans")
    plans = json.loads(path.read_text(encoding="utf-8"))
    for name, entry in configurations.items():
        plans["configurations"][name] = {**plans["configurations"].get(name, {}), **entry}
    path.write_text(json.dumps(plans), encoding="utf-8")


def test_a_batch_is_not_split_into_more_parts_than_it_has_patches(ready: DatasetFiles) -> None:
    define(ready, **{"3d_fullres": {"batch_size": 2}, "2d": {"batch_size": 12}})

    with pytest.raises(Refused) as refused:
        plan(ready, fold="0", num_gpus=4)

    for words in ("batch of 2", "Use num_gpus=2 or less", '{"3d_fullres_bs4": {"inherits_from": "3d_fullres"'):
        assert words in str(refused.value)
    assert plan(ready, fold="0", num_gpus=2).stages and plan(ready, fold="0", configuration="2d", num_gpus=4).stages


def test_a_configuration_of_the_plans_that_inherits_is_trained_on_the_same_data(ready: DatasetFiles) -> None:
    define(ready, **{"3d_fullres_bs8": {"inherits_from": "3d_fullres", "batch_size": 8}})

    found = plan(ready, fold="0", configuration="3d_fullres_bs8", num_gpus=8)

    assert stages(found) == [("preprocess", True), ("train_fold_0", False)]
    assert found.targets == ["Dataset001_Tiny/nnUNetTrainer__nnUNetPlans__3d_fullres_bs8/fold_0"]


@pytest.mark.parametrize("made", ["files", "ready"])
def test_one_that_the_plans_do_not_have_is_refused_with_what_to_write(
    made: str, request: pytest.FixtureRequest
) -> None:
    files: DatasetFiles = request.getfixturevalue(made)

    with pytest.raises(Refused, match=r'Add it to .*nnUNetPlans.json.*"3d_fullres_bs10".*"inherits_from"'):
        plan(files, fold="0", configuration="3d_fullres_bs10")
