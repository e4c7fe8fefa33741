"""Images that are unlike those of the training are told or refused by name; nnU-Net predicts them, or dies, without."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
from PIL import Image

from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import StageFailure
from tests.kit.tiny import image
from tests.tools.models.test_own_names import trained_on
from tests.tools.models.test_predict import DATASET, model as model, prepared, recorded

assert recorded  # a fixture
pytestmark = pytest.mark.usefixtures("recorded")
RAS = numpy.diag([1.5, 1.0, 2.0, 1.0])  # as make_dataset writes them


def planned(model: Path, reader: str = "SimpleITKIO") -> None:
    """Plans as nnU-Net writes them, of data with these spacings."""
    plans: dict[str, Any] = {"dataset_name": DATASET, "configurations": {}, "image_reader_writer": reader}
    plans |= {"original_median_spacing_after_transp": [1.5, 2.0, 1.0], "transpose_backward": [1, 2, 0]}
    (model / "plans.json").write_text(json.dumps(plans), "utf-8")


def notes_on(settings: Settings, affine: Any) -> str:
    """What the result says of two images, one of which has this affine."""
    folder = settings.folder("raw") / "new"
    folder.mkdir(exist_ok=True)
    for case, matrix in (("usual", RAS), ("other", affine)):
        nibabel.save(nibabel.Nifti1Image(image(), matrix), folder / f"{case}_0000.nii.gz")
    return " ".join(prepared(settings, images=str(folder)).finish().notes)


def test_images_stored_in_another_order_than_those_of_the_training_are_told(settings: Settings, model: Path) -> None:
    planned(model)

    said = notes_on(settings, numpy.diag([-1.5, -1.0, 2.0, 1.0]))

    assert re.search(r"another voxel order than those of the training \(RAS\): 1 LPS \(other\).*turn the images", said)
    assert "Spacings" not in said


def test_a_reader_that_turns_images_and_the_same_order_are_not_told(settings: Settings, model: Path) -> None:
    planned(model, "SimpleITKIOWithReorient")
    assert "voxel order" not in notes_on(settings, numpy.diag([-1.5, -1.0, 2.0, 1.0]))

    planned(model)
    assert notes_on(settings, RAS).startswith("2 cases, fold 0.") and "voxel order" not in notes_on(settings, RAS)


def test_spacings_far_from_those_of_the_training_are_told(settings: Settings, model: Path) -> None:
    planned(model)
    assert "Spacings" not in notes_on(settings, numpy.diag([2.5, 1.0, 2.0, 1.0]))

    said = notes_on(settings, numpy.diag([1.5, 1.0, 8.0, 1.0]))

    assert re.search(r"\(2 × 1 × 1.5 mm, z, y, x\), in 1 of 2 images: other 8 × 1 × 1.5", said)

    for strange in ('{"spacings": [[1, 2], "x"]}', '{"spacings": [[9, 1, 1], [2, 1, 1.5]]}'):
        (model / "dataset_fingerprint.json").write_text(strange, "utf-8")
    assert "Spacings" not in notes_on(settings, numpy.diag([1.5, 1.0, 8.0, 1.0]))


def picture(path: Path, mode: str) -> None:
    """A picture of noise; one that is "cut" lacks its end."""
    noise = numpy.random.default_rng(1).integers(0, 255, (32, 40, 4), dtype=numpy.uint8)
    Image.fromarray(noise).convert("RGB" if mode == "cut" else mode).save(path)
    if mode == "cut":
        path.write_bytes(path.read_bytes()[:2000])


PICTURES: Any = [
    ("RGB", {"a": "RGB", "b": "RGBA"}, r"b \(it is RGBA, the model takes RGB: save it as RGB without alpha\)"),
    ("RGB", {"a": "RGB", "b": "L"}, r"b \(it is grey, the model takes RGB"),
    ("g", {"a": "L", "b": "RGB"}, r"b \(it is RGB, the model takes grey: save it in grey"),
    ("RGB", {"a": "RGB", "b": "cut", "c": "RGB"}, r"b \(.*truncated"),
]


@pytest.mark.parametrize(("channels", "given", "said"), PICTURES, ids=["RGBA", "grey", "coloured", "truncated"])
def test_pictures_that_the_model_cannot_take_are_left_out_by_name(
    settings: Settings, model: Path, channels: str, given: dict[str, str], said: str
) -> None:
    planned(model, "NaturalImage2DIO")
    trained_on(model, ".png", *channels)
    images = settings.folder("raw") / "pictures"
    images.mkdir()
    for case, mode in given.items():
        picture(images / f"{case}_0000.png", mode)

    folder = prepared(settings, images=str(images))
    folder.take_in()

    assert folder.missing == sorted(set(given) - {"b"}) and len(folder.inputs(folder.missing)) == len(given) - 1
    assert re.search(f"Not predicted: {said}.*Correct or remove", " ".join(folder.finish().notes))
    for case in given:
        (images / f"{case}_0000.png").write_bytes(b"")
    with pytest.raises(StageFailure, match=rf"none of {len(given)} images can be used \(a \(it is empty, 0 bytes\)"):
        prepared(settings, images=str(images)).take_in()


def test_volumes_that_would_end_the_prediction_are_left_out_by_name(settings: Settings, model: Path) -> None:
    planned(model)
    trained_on(model, ".nii.gz", "T1", "T2")
    images = settings.folder("raw") / "volumes"
    images.mkdir()
    for case in ("cut", "good", "other", "thick", "word"):
        for channel in (0, 1):
            nibabel.save(nibabel.Nifti1Image(image(), RAS), images / f"{case}_000{channel}.nii.gz")
    whole = images / "cut_0001.nii.gz"
    whole.write_bytes(whole.read_bytes()[:-20])
    nibabel.save(nibabel.Nifti1Image(image()[:3], RAS), images / "other_0001.nii.gz")
    nibabel.save(nibabel.Nifti1Image(numpy.stack([image()] * 2, axis=-1), RAS), images / "thick_0000.nii.gz")
    (images / "word_0000.nii.gz").write_text("a letter", "utf-8")

    folder = prepared(settings, images=str(images))
    folder.take_in()

    assert folder.missing == ["good"]
    assert re.match(r"cut_0001.nii.gz: .*ended before", folder.left_out["cut"])
    assert folder.left_out["other"] == "its channels differ in size: 8 × 7 × 6 and 8 × 7 × 3 voxels"
    assert folder.left_out["thick"] == "it holds 3 channels, the model takes 2"
    said = " ".join(folder.finish().notes)
    assert "1 case, fold 0." in said and "and 1 more" in said and "nnunet_mcp_prediction.json has all 4" in said
    assert "word" in json.loads((folder.path / "nnunet_mcp_prediction.json").read_text())["left_out"]


def test_single_slices_for_a_model_of_volumes_are_told(settings: Settings, model: Path) -> None:
    planned(model)
    plans = json.loads((model / "plans.json").read_text("utf-8"))
    plan = {"patch_size": [4, 4, 4], "spacing": [2.0, 1.0, 1.5], "median_image_size_in_voxels": [8.0, 7.0, 6.0]}
    plans |= {"transpose_forward": [0, 1, 2], "configurations": {"2d": plan}}
    plans["original_median_shape_after_transp"] = [8, 7, 6]
    (model / "plans.json").write_text(json.dumps(plans), "utf-8")
    images = settings.folder("raw") / "slices"
    images.mkdir()
    for case, voxels in (("flat", image()[:, :, :1]), ("volume", image())):
        nibabel.save(nibabel.Nifti1Image(voxels, RAS), images / f"{case}_0000.nii.gz")

    folder = prepared(settings, images=str(images))
    folder.take_in()

    assert folder.missing == ["flat", "volume"]
    (said,) = folder.flat_notes()
    assert said.startswith("A single slice, where the model was trained on volumes: flat.")
