"""After training, for real: the best of two configurations, predictions with it, its zip, and its way back."""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest

from nnunet_mcp.nnunet.postprocessing import JSON_NAME, PICKLE_NAME
from nnunet_mcp.worker.steps.postprocessing import functions
from tests.kit.lab import FEW, Answer, Lab, ToolRefused, make_tiny_plans, write_evil_checkpoint
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.long
DATASET = "Dataset066_Loop"
TRAINER, PLANS = "LearningTrainer", "tinyPlans"
MODELS = [f"{TRAINER}__{PLANS}__{configuration}" for configuration in ("2d", "3d_fullres")]
ENSEMBLE = f"ensemble___{MODELS[0]}___{MODELS[1]}___0_1"
SECRET = "patient_miller"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Two configurations with two folds each, as the dataset's own split has them."""
    folder = tmp_path_factory.mktemp("loop")
    lab = Lab(folder / "work", FEW)
    raw = lab.folder / "raw" / DATASET
    write_phantom(raw, cases=5, shape=(24, 28, 24))
    for path in sorted(raw.rglob("case_*")):
        path.rename(path.with_name(path.name.replace("case", SECRET)))
    cases = [f"{SECRET}_{number:03d}" for number in range(5)]
    split = [{"train": cases[2:], "val": cases[:2]}, {"train": cases[:2], "val": cases[2:]}]
    (raw / "splits_final.json").write_text(json.dumps(split), encoding="utf-8")
    shutil.copytree(raw / "imagesTr", raw / "imagesTs", ignore=lambda _, names: sorted(names)[2:])
    lab.train(dataset_id=66, configuration="3d_fullres", fold="0", device="cpu", trainer="OneStepTrainer")
    make_tiny_plans(lab.folder / "preprocessed" / DATASET)
    own = {"configuration": "3d_fullres", "device": "cpu", "trainer": TRAINER, "plans_identifier": PLANS}
    first = train(lab, fold="0", npz=True, **own)
    train(lab, like=first["run_id"], fold="1")
    for fold in ("0", "1"):
        train(lab, like=first["run_id"], configuration="2d", fold=fold)
    return lab


def train(lab: Lab, **arguments: Any) -> Answer:
    result = lab.train(dataset_id=66, **arguments)
    assert result["status"] == "success", result
    return result


def command(lab: Lab, name: str, *words: str) -> None:
    """One of nnU-Net's own commands."""
    program = str(Path(sys.executable).with_name(f"nnUNetv2_{name}"))
    done = subprocess.run([program, *words], env=lab.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def finish(lab: Lab, tool: str, **arguments: Any) -> Answer:
    result = lab.finish(lab.call(tool, **arguments)["run_id"])
    assert result["status"] == "success", result
    return result


def assert_same_voxels(ours: Path, theirs: Path, *, cases: int) -> None:
    found = sorted(theirs.glob("*.nii.gz"))
    assert len(found) == cases
    for path in found:
        one, other = (numpy.asarray(nibabel.load(folder / path.name).dataobj) for folder in (ours, theirs))
        assert (one == other).all(), path.name


def results_of(lab: Lab) -> Path:
    return lab.folder / "results" / DATASET


def test_ensembling_without_softmax_names_the_model_and_both_ways_on(lab: Lab) -> None:
    hidden = lab.folder.parent / "hidden.npz"
    softmax = sorted((results_of(lab) / MODELS[0] / "fold_1" / "validation").glob("*.npz"))[0]
    softmax.rename(hidden)
    missing = rf"{MODELS[0]} \(fold 1\).*validation_only=true, npz=true.*ensembling=false"
    with pytest.raises(ToolRefused, match=missing):
        lab.call("nnunet_find_best_configuration", dataset_id=66)
    hidden.rename(softmax)
    with pytest.raises(ToolRefused, match="nnunet_find_best_configuration"):
        lab.call("nnunet_predict", dataset_id=66)


@pytest.fixture(scope="module")
def best(lab: Lab) -> Answer:
    """What the search found; somebody's own file lies beside the models."""
    mine = results_of(lab) / MODELS[1] / "notes.txt"
    mine.write_text("keep me", encoding="utf-8")
    result = finish(lab, "nnunet_find_best_configuration", dataset_id=66)
    assert mine.read_text(encoding="utf-8") == "keep me"
    return result


def test_the_search_is_nnunets_own_and_leaves_its_files(lab: Lab, best: Answer) -> None:
    found, ours = best["best"], results_of(lab)

    written = {path.relative_to(ours): texts_of(path) for path in merged_files(ours)}
    command(
        lab, "find_best_configuration", DATASET, "-p", PLANS, "-tr", TRAINER, "-c", "2d", "3d_fullres", "-f", "0", "1"
    )

    assert written == {path.relative_to(ours): texts_of(path) for path in merged_files(ours)}
    information = json.loads((ours / "inference_information.json").read_text(encoding="utf-8"))
    dice = {one["name"]: one["dice"] for one in found["candidates"]}
    assert dice == pytest.approx(information["all_results"], abs=1e-6)
    assert set(information["all_results"]) == {*MODELS, ENSEMBLE}
    assert found["dice"] == pytest.approx(max(information["all_results"].values()), abs=1e-6)
    processed = information["best_model_or_ensemble"]["result_on_crossval_post_pp"]
    assert best["metrics"]["dice"] == pytest.approx(processed, abs=1e-6)
    assert found["instructions"] == (ours / "inference_instructions.txt").read_text(encoding="utf-8")
    assert not (ours / ".find_best").exists()
    assert "OneStepTrainer__nnUNetPlans__3d_fullres is left out: fold 1" in " ".join(best["notes"])
    assert best["next_step"].startswith("Ask the person whether to predict with it: nnunet_predict(dataset_id=66")


def merged_files(ours: Path) -> list[Path]:
    """What the search writes, without what only one of the two ways leaves (pictures of the same numbers)."""
    folders = [*ours.glob("*/crossval_results_*"), *ours.glob("ensembles/*")]
    return sorted([*(path for folder in folders for path in folder.rglob("*.*")), *ours.glob("inference_*")])


def texts_of(path: Path) -> object:
    """A file's content, for files whose content does not depend on when they were written."""
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=str)
        return {**content, "metric_per_case": sorted(map(str, content.get("metric_per_case", [])))}
    return path.read_bytes() if path.suffix in (".txt", ".pkl") else None


def choose(lab: Lab, models: list[str], steps: tuple[int | tuple[int, ...], ...]) -> Path:
    """Let the search have found these, whatever a network of three epochs is best at."""
    path = results_of(lab) / "inference_information.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = ("trainer", "plans_identifier", "configuration")
    selected = [dict(zip(keys, name.split("__"), strict=True)) for name in models]
    content["best_model_or_ensemble"]["selected_model_or_models"] = selected
    path.write_text(json.dumps(content), encoding="utf-8")
    source = results_of(lab) / (
        "ensembles/" + ENSEMBLE if len(models) > 1 else f"{models[0]}/crossval_results_folds_0_1"
    )
    names, arguments = functions(steps)
    (source / PICKLE_NAME).write_bytes(pickle.dumps((names, arguments)))
    described = {"postprocessing_fns": [one.__name__ for one in names], "postprocessing_kwargs": arguments}
    (source / JSON_NAME).write_text(json.dumps(described), encoding="utf-8")
    return source


def test_an_ensemble_with_postprocessing_predicts_as_nnunets_commands(lab: Lab, best: Answer, tmp_path: Path) -> None:
    source = choose(lab, MODELS, (1, (1, 2)))

    started = lab.call("nnunet_predict", dataset_id=66, labels="labelsTr", npz=True)
    result = lab.finish(started["run_id"])

    assert result["status"] == "success", result
    assert "keep only the largest component of big" in " ".join(started["notes"])
    output = Path(result["predictions"])
    assert 0 <= result["metrics"]["dice"] <= 1 and len(list(output.glob("*.npz"))) == 2
    assert not (output / "parts").exists()
    images = str(lab.folder / "raw" / DATASET / "imagesTs")
    for number, configuration in enumerate(("2d", "3d_fullres")):
        which = ["-d", "66", "-c", configuration, "-f", "0", "1", "-p", PLANS, "-tr", TRAINER, "-device", "cpu"]
        command(lab, "predict", "-i", images, "-o", str(tmp_path / str(number)), *which, "--save_probabilities")
    command(lab, "ensemble", "-i", str(tmp_path / "0"), str(tmp_path / "1"), "-o", str(tmp_path / "both"))
    options = ["-pp_pkl_file", str(source / PICKLE_NAME), "-plans_json", str(source / "plans.json")]
    command(lab, "apply_postprocessing", "-i", str(tmp_path / "both"), "-o", str(tmp_path / "pp"), *options)
    assert_same_voxels(output, tmp_path / "pp", cases=2)

    lost = sorted(output.glob("*.nii.gz"))[0]
    lost.unlink()
    again = finish(lab, "nnunet_predict", dataset_id=66, npz=True)
    assert "1 of them were there already" in " ".join(again["notes"])
    assert_same_voxels(output, tmp_path / "pp", cases=2)


@pytest.fixture(scope="module")
def archive(lab: Lab, best: Answer) -> Path:
    """The ensemble in a zip."""
    choose(lab, MODELS, (1, (1, 2)))
    result = finish(lab, "nnunet_export_model", dataset_id=66, output=str(lab.folder.parent / "loop.zip"))
    return Path(result["archive"])


def test_a_zip_tells_nothing_of_this_machine_and_of_patients(lab: Lab, archive: Path) -> None:
    with zipfile.ZipFile(archive) as found:
        names = found.namelist()
        contents = {name: found.read(name) for name in names}
    assert f"{DATASET}/{MODELS[0]}/fold_1/checkpoint_final.pth" in names
    assert f"{DATASET}/ensembles/{ENSEMBLE}/{PICKLE_NAME}" in names
    for name, content in contents.items():
        assert SECRET.encode() not in content and str(lab.folder.parent).encode() not in content, name
    card = archive.with_suffix(".md").read_text(encoding="utf-8")
    assert contents[f"{DATASET}/{MODELS[1]}/MODEL_CARD.md"].decode() == card
    for text in ("big: 1", "MRI", TRAINER, "patch size", "Dice", "nnunetv2", "nnunet_import_model(zip='loop.zip')"):
        assert text in card
    with pytest.raises(ToolRefused, match="nothing is overwritten"):
        lab.call("nnunet_export_model", dataset_id=66, output=str(archive))


def test_nnunet_installs_the_zip_and_predicts_the_same(lab: Lab, archive: Path, tmp_path: Path) -> None:
    other = Lab(tmp_path / "theirs", FEW)
    (other.folder / "results").mkdir(parents=True)
    command(other, "install_pretrained_model_from_zip", str(archive))

    images = str(lab.folder / "raw" / DATASET / "imagesTs")
    which = ["-d", "66", "-c", "3d_fullres", "-f", "0", "1", "-p", PLANS, "-tr", TRAINER, "-device", "cpu"]
    command(other, "predict", "-i", images, "-o", str(tmp_path / "out"), *which)

    model = f"{DATASET}/{MODELS[1]}"
    output = str(lab.folder.parent / "by_folder")
    ours = finish(lab, "nnunet_predict", model=model, images="imagesTs", output=output)
    assert_same_voxels(Path(ours["predictions"]), tmp_path / "out", cases=2)


def test_an_imported_model_predicts_and_is_replaced_only_when_asked(lab: Lab, archive: Path, tmp_path: Path) -> None:
    other = Lab(tmp_path / "ours", FEW)
    copy = shutil.copy(archive, tmp_path / "loop.zip")

    imported = finish(other, "nnunet_import_model", zip=str(copy))

    assert f"nnunet_predict(model='{DATASET}/{MODELS[1]}'" in imported["next_step"]
    images = shutil.copytree(lab.folder / "raw" / DATASET / "imagesTs", tmp_path / "images")
    result = finish(other, "nnunet_predict", model=f"{DATASET}/{MODELS[1]}", images=str(images))
    assert len(list(Path(result["predictions"]).glob("*.nii.gz"))) == 2
    with pytest.raises(ToolRefused, match="overwrite=true puts aside"):
        other.call("nnunet_import_model", zip=str(copy))
    again = finish(other, "nnunet_import_model", zip=str(copy), overwrite=True)
    aside = other.folder / "results" / DATASET / "replaced" / again["run_id"] / MODELS[0]
    assert (aside / "fold_0" / "checkpoint_final.pth").is_file()


def test_a_zip_with_a_checkpoint_that_would_run_code_installs_nothing(archive: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "executed"
    write_evil_checkpoint(tmp_path / "evil.pth", evidence)
    poisoned = tmp_path / "poisoned.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(poisoned, "w") as target:
        for name in source.namelist():
            evil = name.endswith("3d_fullres/fold_1/checkpoint_final.pth")
            target.writestr(name, (tmp_path / "evil.pth").read_bytes() if evil else source.read(name))
    other = Lab(tmp_path / "safe")

    result = other.finish(other.call("nnunet_import_model", zip=str(poisoned))["run_id"])

    assert result["status"] == "error" and "safely" in result["failure"]["cause"]
    assert not evidence.exists()
    assert [path.name for path in (other.folder / "results").iterdir()] == [".nnunet_mcp"]
