"""A folder as people have it, with odd names, is imported and trained; its own images are predicted where they lie."""

import ast
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import SimpleITK
from PIL import Image

from tests.kit.dicom import AXES, write_series
from tests.kit.lab import FEW, Answer, Lab
from tests.kit.tiny import digest

pytestmark = pytest.mark.heavy
BESIDE = (".json", ".raw", ".zraw")  # not images
NAMES = ("-Kopf", "Über 2.5 mm", unicodedata.normalize("NFD", "Jürgen (1)"), "3. Fall_v1.0", "plain [a] 'b'")
Array = numpy.typing.NDArray[Any]


def voxels(seed: int, *shape: int) -> tuple[Array, Array]:
    """Noise with a bright box, and the mask of that box."""
    inside = numpy.zeros(shape, numpy.uint8)
    inside[..., 8:20, 10:22] = 1
    noise = numpy.random.default_rng(seed).integers(0, 60, shape)
    return (noise + 120 * inside).astype(numpy.uint8), inside


def geometric(array: Array) -> SimpleITK.Image:
    """An oblique image."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.5, 30.0, 7.25))
    image.SetDirection(AXES)
    return image


def volumes(ending: str) -> Callable[[Path], None]:
    def build(top: Path) -> None:
        for number, name in enumerate(NAMES):
            image, mask = voxels(number, 6, 28, 32)
            for folder, array in (("bilder", image), ("masken", mask)):
                (top / folder).mkdir(parents=True, exist_ok=True)
                SimpleITK.WriteImage(geometric(array), str(top / folder / f"{name}{ending}"), ending == ".mhd")

    return build


def stacks(top: Path) -> None:
    """Multi-page TIFF; the JSON file beside each has its spacing."""
    for number, name in enumerate(NAMES):
        for folder, array in zip(("bilder", "masken"), voxels(number, 6, 28, 32), strict=True):
            (top / folder).mkdir(parents=True, exist_ok=True)
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(top / folder / f"{name}.tif"))
            (top / folder / f"{name}.json").write_text('{"spacing": [3, 1, 0.5]}', encoding="utf-8")


def series(top: Path) -> None:
    for number, name in enumerate(NAMES):
        image, mask = voxels(number, 6, 28, 32)
        write_series(top / name / "CT", geometric(image.astype(numpy.int16)))
        SimpleITK.WriteImage(geometric(mask), str(top / name / "maske.nii.gz"))


def pictures(ending: str, *colours: int) -> Callable[[Path], None]:
    def build(top: Path) -> None:
        for number, name in enumerate(NAMES):
            image, mask = voxels(number, 28, 32)
            shown = numpy.stack([image, 255 - image, image // 2], axis=-1) if colours else image
            for folder, array, file in (("bilder", shown, f"{name}{ending}"), ("masken", mask, f"{name}.png")):
                (top / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(top / folder / file)

    return build


@dataclass(frozen=True)
class Format:
    """How a folder is built, what nnunet_predict is told, and the ending of the predictions."""

    build: Callable[[Path], None]
    ending: str
    images: str = "bilder"


PHOTOGRAPHS = Format(pictures(".jpg", 3), ".png")
FORMATS = [
    pytest.param(Format(series, ".nii.gz", "{case}/CT/*.dcm"), id="DICOM series"),
    pytest.param(Format(volumes(".mhd"), ".mha"), id="header and voxels in two files"),
    *(
        pytest.param(case, id=name, marks=pytest.mark.long)
        for name, case in {
            "NRRD": Format(volumes(".nrrd"), ".nrrd"),
            "MetaImage": Format(volumes(".mha"), ".mha"),
            "NIfTI without gz": Format(volumes(".nii"), ".nii.gz"),
            "TIFF stacks": Format(stacks, ".nii.gz"),
            "JPEG photographs": PHOTOGRAPHS,
            "grey PNG": Format(pictures(".png"), ".png"),
            "RGB PNG": Format(pictures(".png", 3), ".png"),
            "bitmaps": Format(pictures(".bmp"), ".png"),
        }.items()
    ),
]


@pytest.mark.parametrize("one", FORMATS)
def test_what_is_imported_trains_and_its_own_folder_is_predicted(tmp_path: Path, one: Format) -> None:
    source = tmp_path / "Ö study (1).v2"
    one.build(source)
    before = digest(source)
    lab = Lab(tmp_path / "work", FEW)
    seen = lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Round")
    imported = lab.call("nnunet_prepare_dataset", **proposed(seen))
    assert imported["cases"] == len(NAMES), imported

    trained = lab.train(dataset_id=4, configuration="2d", fold="0", device="cpu", trainer="OneStepTrainer")
    assert trained["status"] == "success", trained
    model = str(Path(trained["model_path"]).parent)
    predict(lab, source, tmp_path / "predicted", one, model=model)
    assert digest(source) == before


def test_a_model_of_cases_with_odd_names_is_exported_installed_and_predicts(tmp_path: Path) -> None:
    one, source = PHOTOGRAPHS, tmp_path / "Ö study (1).v2"
    one.build(source)
    lab, other = Lab(tmp_path / "work", FEW), Lab(tmp_path / "elsewhere", FEW)
    seen = lab.call("nnunet_prepare_dataset", source=str(source), dataset_id=4, name="Round")
    lab.call("nnunet_prepare_dataset", **proposed(seen))
    trained = lab.train(dataset_id=4, configuration="2d", fold="0", device="cpu", trainer="OneStepTrainer")

    exported = lab.call("nnunet_export_model", run_id=trained["run_id"], output=str(tmp_path / "Modell Ü.1.zip"))
    assert lab.finish(exported["run_id"])["status"] == "success"
    shutil.rmtree(lab.folder)
    installed = other.call("nnunet_import_model", zip=str(tmp_path / "Modell Ü.1.zip"))
    done = other.finish(installed["run_id"])

    predict(other, source, tmp_path / "predicted", one, model=done["model_path"])


def proposed(seen: Answer) -> dict[str, Any]:
    """The arguments of the first call that a look proposes."""
    words = ast.parse(seen["layouts"][0]["call"], mode="eval").body
    assert isinstance(words, ast.Call)
    return {word.arg or "": ast.literal_eval(word.value) for word in words.keywords}


def predict(lab: Lab, source: Path, output: Path, one: Format, **model: Any) -> None:
    run = lab.call("nnunet_predict", images=str(source / one.images), output=str(output), device="cpu", **model)
    done = lab.finish(run["run_id"])
    assert done["status"] == "success", done
    found = {path.name.removesuffix(one.ending): path for path in output.iterdir() if path.name.endswith(one.ending)}
    wanted = {unicodedata.normalize("NFC", name) for name in NAMES} if "{case}" in one.images else set(NAMES)
    assert set(found) == wanted
    for name, path in found.items():
        assert_at_the_place_of(source, name, path)


def assert_at_the_place_of(source: Path, name: str, predicted: Path) -> None:
    masks = [path for path in source.rglob("*") if path.parent.name == "masken" and path.suffix not in BESIDE]
    called = {path.stem: path for path in masks} or {path.parent.name: path for path in source.rglob("maske.nii.gz")}
    original = {unicodedata.normalize("NFC", key): path for key, path in called.items()}[
        unicodedata.normalize("NFC", name)
    ]
    if original.suffix in (".png", ".bmp"):
        with Image.open(predicted) as picture, Image.open(original) as truth:
            assert picture.size == truth.size
        return
    one, other = SimpleITK.ReadImage(str(predicted)), SimpleITK.ReadImage(str(original))
    if original.suffix == ".tif":
        other.SetSpacing((0.5, 1, 3))
    assert one.GetSize() == other.GetSize()
    for read in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert numpy.allclose(getattr(one, read)(), getattr(other, read)(), atol=1e-4)
