"""Which model a prediction or an export means, and what is refused before anything starts."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.models import PredictRequest
from nnunet_mcp.schemas.records import Epoch, Progress
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.models.model_choice import choose_model
from nnunet_mcp.tools.models.prediction_stages import plan_stages
from tests.kit.lab import ToolRefused
from tests.kit.planned import preprocess, train
from tests.kit.tiny import ask, make_dataset, record_of, stage

DATASET = "Dataset096_Chosen"
NETWORK = "dynamic_network_architectures.architectures.unet.PlainConvUNet"
LAYER = "torch.nn.modules.conv.Conv3d"
STEP = {"labels_or_regions": 1}
LARGEST = "remove_all_but_largest_component_from_segmentation"


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    raw = make_dataset(settings.folder("raw"), DATASET)
    (raw / "imagesTr").rename(raw / "imagesTs")
    return DatasetFiles(settings.folders, DATASET)


def make_model(files: DatasetFiles, configuration: str = "3d_fullres", *folds: str, network: str = NETWORK) -> Path:
    """A model folder, as far as its files say."""
    folder = files.model("nnUNetTrainer", "nnUNetPlans", configuration)
    layers = {"conv_op": LAYER if network == NETWORK else network}
    architecture = {"network_class_name": NETWORK, "arch_kwargs": layers, "_kw_requires_import": ["conv_op"]}
    plans = {"dataset_name": DATASET, "configurations": {configuration: {"architecture": architecture}}}
    for fold in folds or ("0", "1"):
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")
    (folder / "dataset.json").write_bytes((files.raw / "dataset.json").read_bytes())
    return folder


def found_best(files: DatasetFiles, *configurations: str, steps: list[Any] | None = None, name: str = LARGEST) -> None:
    """As nnU-Net's search leaves it."""
    common = {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans"}
    selected = [{**common, "configuration": configuration} for configuration in configurations]
    best = {"selected_model_or_models": selected, "postprocessing_file": "/elsewhere/postprocessing.pkl"}
    content = {"folds": [0, 1], "best_model_or_ensemble": best}
    files.best_file.write_text(json.dumps(content), encoding="utf-8")
    names = [f"nnUNetTrainer__nnUNetPlans__{configuration}" for configuration in configurations]
    source = files.results / names[0] / "crossval_results_folds_0_1"
    if len(names) > 1:
        source = files.results / "ensembles" / f"ensemble___{names[0]}___{names[1]}___0_1"
    source.mkdir(parents=True)
    steps = steps or []
    content = {"postprocessing_fns": [name] * len(steps), "postprocessing_kwargs": steps}
    (source / "postprocessing.json").write_text(json.dumps(content), encoding="utf-8")


def stages(settings: Settings, **arguments: Any) -> list[tuple[str, str]]:
    choice = choose_model(PredictRequest.model_validate(arguments), settings)
    planned = plan_stages(choice, Path("/out"), {}, npz=False)
    return [
        (spec.name, planned.steps[spec.name].output if spec.name in planned.steps else "") for spec in planned.specs
    ]


def test_a_model_folder_predicts_with_all_its_folds_into_the_output_itself(
    settings: Settings, files: DatasetFiles
) -> None:
    folder = make_model(files, "2d", "0", "3", "all")

    choice = choose_model(PredictRequest(model=f"{DATASET}/{folder.name}"), settings)

    assert (choice.models[0].folds, choice.trusted) == (("0", "3"), False)
    assert stages(settings, model=str(folder)) == [("predict", "/out")]


def test_a_cascade_predicts_its_first_stage_first_with_the_same_folds(settings: Settings, files: DatasetFiles) -> None:
    make_model(files, "3d_lowres", "0", "1", "2")
    cascade = make_model(files, "3d_cascade_fullres", "1")

    assert stages(settings, model=str(cascade)) == [
        ("predict_lowres", "/out/parts/predict_lowres"),
        ("predict", "/out"),
    ]
    choice = choose_model(PredictRequest(model=str(cascade)), settings)
    assert [model.folds for model in choice.previous() if model] == [("1",)]
    measured = plan_stages(choice, Path("/out"), {"uncertainty": "on"}, npz=False).steps
    assert [name for name, step in measured.items() if step.uncertainty] == ["predict"]


@pytest.mark.parametrize(
    ("trained", "folds", "used", "said"),
    [
        (("0", "all"), ("all",), ("all",), "for the cascade"),
        (("0", "1", "2"), ("1", "2"), ("1", "2"), "for the cascade"),
        (("0", "1", "all"), ("1", "2"), ("0", "1"), "for the cascade, with its folds 0, 1: it lacks fold 2"),
        (("0",), ("all",), ("0",), "for the cascade, with its fold 0: it lacks fold full"),
    ],
)
def test_a_cascade_says_where_its_first_stage_has_other_folds(
    settings: Settings,
    files: DatasetFiles,
    trained: tuple[str, ...],
    folds: tuple[str, ...],
    used: tuple[str, ...],
    said: str,
) -> None:
    make_model(files, "3d_lowres", *trained)
    cascade = make_model(files, "3d_cascade_fullres", "0", "1", "2", "all")

    choice = choose_model(PredictRequest(model=str(cascade)), settings, folds)

    assert [model.folds for model in choice.previous() if model] == [used]
    assert choice.notes() == (f"nnUNetTrainer__nnUNetPlans__3d_lowres predicts first, {said}.",)


def test_the_best_ensemble_has_a_stage_per_model_and_one_that_combines(settings: Settings, files: DatasetFiles) -> None:
    for configuration in ("2d", "3d_lowres", "3d_cascade_fullres"):
        make_model(files, configuration)
    found_best(files, "2d", "3d_cascade_fullres", steps=[STEP])

    names = [name for name, _ in stages(settings, dataset_id=96)]

    assert names == ["predict_1", "predict_2_lowres", "predict_2", "ensemble"]
    notes = choose_model(PredictRequest(dataset_id=96), settings).notes()
    assert notes[-1] == "Postprocessing: keep only the largest component of block."


def test_postprocessing_that_does_nothing_needs_no_stage(settings: Settings, files: DatasetFiles) -> None:
    make_model(files, "2d")
    found_best(files, "2d")

    assert stages(settings, dataset_id=96) == [("predict", "/out")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of run_id, model and dataset_id"),
        ({"run_id": "d096-x", "dataset_id": 96}, "exactly one of"),
        (
            {"dataset_id": 96},
            r"not known\. Ask the person whether to search it: nnunet_find_best_configuration\(dataset_id=96\)",
        ),
        ({"model": "/etc"}, "outside the allowed folders"),
        ({"model": "no/such/model"}, "outside the allowed|does not exist"),
        ({"model": DATASET}, r"is no model folder.*Inside it are .*nnUNetPlans__2d"),
    ],
)
@pytest.mark.parametrize("tool", ["nnunet_predict", "nnunet_export_model"])
def test_what_names_no_model_is_refused_with_the_way_on(
    settings: Settings, files: DatasetFiles, tool: str, arguments: dict[str, Any], message: str
) -> None:
    make_model(files, "2d")

    with pytest.raises(ToolRefused, match=message):
        ask(settings, tool, **arguments)


def test_a_dataset_that_has_another_name_here_has_no_best_model(settings: Settings, files: DatasetFiles) -> None:
    make_model(files, "2d")
    found_best(files, "2d")

    with pytest.raises(ToolRefused, match=f"Dataset 096 is {DATASET} here, not Dataset096_Other"):
        ask(settings, "nnunet_predict", dataset_id="Dataset096_Other")


def test_the_best_model_of_a_dataset_that_is_only_in_the_results_is_found(
    settings: Settings, files: DatasetFiles
) -> None:
    make_model(files, "2d")
    found_best(files, "2d")
    shutil.rmtree(files.raw)

    assert choose_model(PredictRequest(dataset_id=96), settings).files == files


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "torch.nn.modules.module.os.system",
        "torch.nn.functional.importlib.import_module",
        "dynamic_network_architectures.architectures.unet.torch.hub.load",
        "torch.nn.modules.conv.Conv3d.__init__.__globals__",
    ],
)
def test_plans_that_name_other_code_than_networks_and_layers_are_refused(
    settings: Settings, files: DatasetFiles, name: str
) -> None:
    folder = make_model(files, "2d", network=name)

    with pytest.raises(ToolRefused, match=rf"conv_op is '{name}': nnU-Net would import and call it"):
        ask(settings, "nnunet_predict", model=str(folder))


def test_the_plans_of_a_cascades_first_stage_are_looked_at_too(settings: Settings, files: DatasetFiles) -> None:
    make_model(files, "3d_lowres", network="subprocess.Popen")
    cascade = make_model(files, "3d_cascade_fullres")

    with pytest.raises(ToolRefused, match=r"conv_op is 'subprocess\.Popen'"):
        ask(settings, "nnunet_predict", model=str(cascade))


def test_a_postprocessing_that_nnunet_does_not_have_is_refused(settings: Settings, files: DatasetFiles) -> None:
    make_model(files, "2d")
    found_best(files, "2d", steps=[STEP], name="system")

    with pytest.raises(ToolRefused, match="functions that nnU-Net does not have"):
        ask(settings, "nnunet_predict", dataset_id=96)


@pytest.mark.parametrize("configuration", ["../../../etc", "2d/..", ""])
def test_names_in_the_searchs_file_do_not_lead_elsewhere(
    settings: Settings, files: DatasetFiles, configuration: str
) -> None:
    make_model(files, "2d")
    found_best(files, "2d")
    content = files.best_file.read_text(encoding="utf-8").replace('"2d"', json.dumps(configuration))
    files.best_file.write_text(content, encoding="utf-8")

    with pytest.raises(ToolRefused, match="is not what nnU-Net writes"):
        ask(settings, "nnunet_predict", dataset_id=96)


def test_an_export_is_a_new_zip_in_an_allowed_folder(settings: Settings, files: DatasetFiles) -> None:
    folder = make_model(files, "2d")
    (settings.folder("results") / "mine.zip").write_bytes(b"")

    for output, message in (
        ("/etc/model.zip", "outside the allowed folders"),
        (str(settings.folder("results") / "model.tar"), "Let it end with .zip"),
        (str(settings.folder("results") / "mine.zip"), "nothing is overwritten"),
    ):
        with pytest.raises(ToolRefused, match=message):
            ask(settings, "nnunet_export_model", model=str(folder), output=output)


def trained_by(settings: Settings, folder: Path, run_id: str, created_at: float, *, kind: str = "train") -> None:
    """A run of fold 0 that has written its name into the fold folder."""
    spec = stage("train_fold_0").model_copy(update={"kind": kind})
    request = {"dataset_id": 96, "configuration": "2d", "fold": "0"}
    fields: dict[str, Any] = {"dataset_name": DATASET, "request": request, "created_at": created_at}
    record_run(StateDir(settings.state_dir), record_of(settings, spec, run_id=run_id, **fields), [], repeat_window_s=0)
    (folder / "fold_0" / "nnunet_mcp_run.txt").write_text(run_id, encoding="utf-8")


@pytest.mark.parametrize("tool", ["nnunet_predict", "nnunet_export_model"])
def test_a_run_whose_fold_another_run_trained_again_names_that_run(
    settings: Settings, files: DatasetFiles, tool: str
) -> None:
    folder = make_model(files, "2d", "0")
    trained_by(settings, folder, "d096-2d-f0-first", 1.0)
    trained_by(settings, folder, "d096-2d-f0-second", 2.0)

    with pytest.raises(
        ToolRefused, match="Fold 0 of run d096-2d-f0-first now holds what run d096-2d-f0-second trained"
    ):
        ask(settings, tool, run_id="d096-2d-f0-first")
    assert choose_model(PredictRequest(run_id="d096-2d-f0-second"), settings).trusted


def test_a_run_that_waits_to_train_a_fold_again_is_not_the_model_that_is_there(
    settings: Settings, files: DatasetFiles
) -> None:
    folder = make_model(files, "2d", "0")
    trained_by(settings, folder, "d096-2d-f0-second", 2.0)
    trained_by(settings, folder, "d096-2d-f0-first", 1.0)

    with pytest.raises(ToolRefused, match="Fold 0 of run d096-2d-f0-second now holds what run d096-2d-f0-first"):
        ask(settings, "nnunet_predict", run_id="d096-2d-f0-second")


def test_a_later_validation_leaves_the_model_the_runs_own(settings: Settings, files: DatasetFiles) -> None:
    folder = make_model(files, "2d", "0")
    trained_by(settings, folder, "d096-2d-f0-first", 1.0)
    trained_by(settings, folder, "d096-2d-f0-second", 2.0, kind="validate")

    for run_id in ("d096-2d-f0-first", "d096-2d-f0-second"):
        assert choose_model(PredictRequest(run_id=run_id), settings).trusted


def test_a_fold_without_its_runs_name_may_come_from_elsewhere_and_is_not_trusted(
    settings: Settings, files: DatasetFiles
) -> None:
    folder = make_model(files, "2d", "0")
    trained_by(settings, folder, "d096-2d-f0-first", 1.0)
    (folder / "fold_0" / "nnunet_mcp_run.txt").unlink()

    assert not choose_model(PredictRequest(run_id="d096-2d-f0-first"), settings).trusted


def test_an_ensemble_whose_name_no_file_system_takes_is_refused_before_the_search(
    settings: Settings, files: DatasetFiles
) -> None:
    (files.raw / "imagesTs").rename(files.raw / "imagesTr")
    files.preprocessed.mkdir(parents=True)
    preprocess(files)
    for number in range(2):
        for fold in range(5):
            train(files, str(fold), "final", "summary")
        folder = files.model("nnUNetTrainer", "nnUNetPlans", "3d_fullres")
        (folder / "plans.json").write_text("{}", encoding="utf-8")
        folder.rename(folder.with_name(f"nnUNetTrainer{number}{'_lr3en3' * 14}__nnUNetPlans__3d_fullres"))

    with pytest.raises(ToolRefused, match=r"make 300 characters, and at most 255 fit.*ensembling=false"):
        ask(settings, "nnunet_find_best_configuration", dataset_id=96)


def test_a_search_needs_complete_cross_validations(settings: Settings, files: DatasetFiles) -> None:
    with pytest.raises(ToolRefused, match=r"Nothing is trained on .*fold='all'"):
        ask(settings, "nnunet_find_best_configuration", dataset_id=96)
    folder = make_model(files, "2d")
    stopped, whole = folder / "fold_2", folder / "fold_all"
    for fold in (stopped, whole / "validation"):
        fold.mkdir(parents=True)
    (stopped / "checkpoint_latest.pth").write_bytes(b"")
    for name in ("checkpoint_final.pth", "validation/summary.json"):
        (whole / name).write_bytes(b"")
    spec, epochs = stage("train_fold_2"), {"epoch": 11, "seconds": 1.0, "train_loss": 0.1, "val_loss": 0.1}
    record = record_of(settings, spec, run_id="d096-2d-f2-tttt", dataset_name=DATASET)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    (stopped / "nnunet_mcp_run.txt").write_text(run.run_id, encoding="utf-8")
    last = {**epochs, "learning_rate": 0.1, "pseudo_dice": 0.1, "ema_pseudo_dice": 0.1}
    append_line(run.stage("train_fold_2").epochs_file, Epoch.model_validate(last))
    write_model(run.stage("train_fold_2").progress_file, Progress(phase="training", heartbeat=0, epochs=1000))

    with pytest.raises(ToolRefused) as refused:
        ask(settings, "nnunet_find_best_configuration", dataset_id=96)

    said = str(refused.value)
    assert "2d is left out: fold 0 is trained, but not validated; fold 1 is trained, but not validated" in said
    assert "fold 2 stopped after epoch 12 of 1000; folds 3, 4: not trained; fold_all is one model of every case" in said
    assert (
        "Ask the person whether to train all folds: nnunet_training(dataset_id=96, configuration='2d', "
        "trainer='nnUNetTrainer', plans_identifier='nnUNetPlans', fold='all', continue_training=true)" in said
    )
