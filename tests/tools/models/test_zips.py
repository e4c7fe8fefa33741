"""A zip for others, judged by nnU-Net's own commands: lean, equal in every voxel, and of use to those without ours."""

import io
import itertools
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nnunet_mcp.worker.weights import read_tensors
from tests.kit.lab import FEW, Answer, Lab, ToolRefused
from tests.kit.strangers import make_model
from tests.kit.tiny import make_dataset, save

pytestmark = pytest.mark.heavy
DATASET = "Dataset007_Elsewhere"
TRAINER = "MyTrainer"
MODEL = f"{TRAINER}__nnUNetPlans__2d"
OWN = f"""from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class {TRAINER}(nnUNetTrainer):
    \"\"\"The default with a name of its own.\"\"\"
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Somebody with a trainer of their own and a model of it, whose checkpoint has what nnU-Net's SGD keeps."""
    folder = tmp_path_factory.mktemp("zips")
    (folder / "trainers").mkdir()
    (folder / "trainers" / "mine.py").write_text(OWN, encoding="utf-8")
    lab = Lab(folder / "work", {**FEW, "nnUNet_extTrainer": str(folder / "trainers")})
    fold = make_model(lab.folder / "results" / DATASET / MODEL, of_these_images) / "fold_0"
    content = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    momentum = {number: {"momentum_buffer": t.clone()} for number, t in enumerate(content["network_weights"].values())}
    more = {"optimizer_state": {"state": momentum, "param_groups": []}, "grad_scaler_state": None, "current_epoch": 1}
    torch.save({**content, **more, "trainer_name": TRAINER}, fold / "checkpoint_final.pth")
    (folder / "images").mkdir()
    noise = numpy.random.default_rng(0).normal(size=(2, 20, 28, 24)).astype(numpy.float32)
    for number, image in enumerate(noise):
        save(folder / "images" / f"x{number}_0000.nii.gz", image)
    yield lab
    lab.stop()


def of_these_images(plans: dict[str, Any]) -> None:
    """The spacing that the kit's images have, so that nothing is resampled."""
    plans["configurations"]["2d"]["spacing"] = [1.0, 1.5]


def export(lab: Lab, name: str, **arguments: Any) -> Answer:
    output = lab.folder.parent / f"{name}.zip"
    run = lab.call("nnunet_export_model", model=f"{DATASET}/{MODEL}", output=str(output), **arguments)
    result = lab.finish(run["run_id"])
    assert result["status"] == "success", result
    return result


INSTALL = "nnunetv2.model_sharing.entry_points", "install_from_zip_entry_point"
PREDICT = "nnunetv2.inference.predict_from_raw_data", "predict_entry_point_modelfolder"


def command(lab: Lab, entry: tuple[str, str], *words: str) -> None:
    """One of nnU-Net's own commands, where nobody has a trainer of ours."""
    program = [sys.executable, "-c", "from {0} import {1}; {1}()".format(*entry), *words]
    own = {name: text for name, text in lab.environment.items() if name != "nnUNet_extTrainer"}
    done = subprocess.run(program, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def checkpoint_in(archive: Path) -> Any:
    with zipfile.ZipFile(archive) as found:
        content = found.read(f"{DATASET}/{MODEL}/fold_0/checkpoint_final.pth")
    return torch.load(io.BytesIO(content), weights_only=False)


def voxels(folder: Path) -> dict[str, Any]:
    return {path.name: numpy.asarray(nibabel.load(path).dataobj) for path in sorted(folder.glob("*.nii.gz"))}


@pytest.fixture(scope="module")
def lean(lab: Lab) -> Path:
    return Path(export(lab, "lean", include=["trainer"])["archive"])


def test_a_zip_without_the_optimizer_is_smaller_and_nnunets_commands_predict_the_same_with_it(
    lab: Lab, lean: Path, tmp_path: Path
) -> None:
    whole = Path(export(lab, "whole", include=["optimizer"])["archive"])
    other = Lab(tmp_path / "theirs", FEW)
    (other.folder / "results").mkdir(parents=True)
    images, original = str(lab.folder.parent / "images"), lab.folder / "results" / DATASET / MODEL
    by_name = tmp_path / "original" / MODEL.replace(TRAINER, "nnUNetTrainer")
    shutil.copytree(original, by_name)
    checkpoint = torch.load(by_name / "fold_0" / "checkpoint_final.pth", weights_only=False)
    torch.save({**checkpoint, "trainer_name": "nnUNetTrainer"}, by_name / "fold_0" / "checkpoint_final.pth")

    command(other, INSTALL, str(lean))
    for number, model in enumerate((by_name, other.folder / "results" / DATASET / MODEL)):
        options = ["-o", str(tmp_path / str(number)), "-m", str(model), "-f", "0", "-device", "cpu"]
        command(other, PREDICT, "-i", images, *options)

    before, after = voxels(tmp_path / "0"), voxels(tmp_path / "1")
    assert len(before) == 2 and before.keys() == after.keys()
    assert all((before[name] == after[name]).all() and before[name].any() for name in before)
    assert "optimizer_state" in checkpoint_in(whole) and "optimizer_state" not in checkpoint_in(lean)
    assert lean.stat().st_size < whole.stat().st_size


def test_a_lean_zip_is_imported_predicts_without_our_trainer_and_goes_on_in_no_training(
    lab: Lab, lean: Path, tmp_path: Path
) -> None:
    other = Lab(tmp_path / "ours", {**FEW, "NNUNET_MCP_ALLOWED_DIRS": str(lab.folder.parent)})
    make_dataset(other.folder / "raw", DATASET)

    imported = other.call("nnunet_import_model", zip=str(lean))
    assert other.finish(imported["run_id"])["status"] == "success"
    assert "is not here" not in " ".join(imported["notes"])

    model = other.folder / "results" / DATASET / MODEL
    assert (model / f"{TRAINER}.py.txt").read_text(encoding="utf-8") == OWN
    run = other.call("nnunet_predict", model=f"{DATASET}/{MODEL}", images=str(lab.folder.parent / "images"))
    result = other.finish(run["run_id"])
    assert result["status"] == "success", result
    usual = shutil.copytree(model, model.with_name("nnUNetTrainer__nnUNetPlans__2d"))
    request: dict[str, Any] = {"dataset_id": 7, "configuration": "2d", "fold": "0", "device": "cpu"}
    with pytest.raises(ToolRefused, match=r"without the state of the optimizer.*pretrained_weights="):
        other.call("nnunet_training", **request, continue_training=True)
    own = lab.folder / "results" / DATASET / MODEL / "fold_0" / "checkpoint_final.pth"
    given, kept = read_tensors(usual / "fold_0" / "checkpoint_final.pth"), read_tensors(own)
    assert given.keys() == kept.keys() and all(torch.equal(given[name], kept[name]) for name in kept)


def test_the_network_as_onnx_with_its_recipe_finds_nnunets_voxels(lab: Lab) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    archive = Path(export(lab, "portable", include=["onnx"])["archive"])
    recipe = json.loads(archive.with_name("portable_fold_0.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(archive.with_name(recipe["network"]["file"])))
    assert recipe["network"]["check"]["greatest_difference_of_a_logit"] < 1e-5
    images, output = lab.folder.parent / "images", lab.folder.parent / "ours"

    run = lab.call("nnunet_predict", model=f"{DATASET}/{MODEL}", images=str(images), output=str(output))
    assert lab.finish(run["run_id"])["status"] == "success"

    wanted = voxels(output)
    for name, image in voxels(images).items():
        found = by_recipe(recipe, session, image.transpose(2, 1, 0)).transpose(2, 1, 0)
        assert (found == wanted[name.replace("_0000", "")]).all() and found.any()


def by_recipe(recipe: dict[str, Any], session: Any, image: Any) -> Any:
    """The labels of an image of the model's own spacing, along z, y, x, by the JSON and ONNX Runtime alone."""
    (channel,), window = recipe["channels"], recipe["sliding_window"]
    assert channel["normalization"] == "ZScoreNormalization" and recipe["transpose_forward"] == [0, 1, 2]
    normal = (image - image.mean()) / image.std()
    size = numpy.array(window["patch_size"])
    steps = [starts(length, tile, window["step_size"]) for length, tile in zip(image.shape[1:], size, strict=True)]
    weight = gaussian(size)
    logits = numpy.zeros((recipe["network"]["output"]["channels"], *image.shape), dtype=numpy.float16)
    weights = numpy.zeros(image.shape, dtype=numpy.float16)
    for z, y, x in itertools.product(range(image.shape[0]), *steps):
        place = (z, slice(y, y + size[0]), slice(x, x + size[1]))
        logits[(slice(None), *place)] += mirrored(session, normal[place][None, None], window["mirror_axes"]) * weight
        weights[place] += weight
    labels: Any = (logits / weights).argmax(axis=0)
    return labels


def starts(length: int, tile: int, step: float) -> list[int]:
    """Where tiles begin: at most `step` of a tile apart, the last one flush with the end."""
    count = int(numpy.ceil((length - tile) / (tile * step))) + 1
    return [round(number * (length - tile) / max(count - 1, 1)) for number in range(count)]


def gaussian(size: Any) -> Any:
    point = numpy.zeros(size)
    point[tuple(size // 2)] = 1
    found = gaussian_filter(point, size / 8, mode="constant")
    rounded = (10 * found / found.max()).astype(numpy.float16)
    return numpy.where(rounded == 0, rounded[rounded > 0].min(), rounded)


def mirrored(session: Any, tile: Any, axes: list[int]) -> Any:
    """The mean of the logits of a tile and its mirror images."""
    sets = [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]
    flipped = [tuple(axis + 2 for axis in chosen) for chosen in sets]
    found = [numpy.flip(session.run(None, {"image": numpy.flip(tile, one).copy()})[0], one) for one in flipped]
    logits: Any = numpy.mean(found, axis=0)
    return logits[0]
