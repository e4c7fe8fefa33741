"""nnunet_prepare_dataset on folders without dataset.json: a look proposes calls, and the calls import the folder."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
import SimpleITK
from PIL import Image

from nnunet_mcp.settings import Settings
from tests.kit.lab import Answer
from tests.kit.tiny import ask, digest

SHAPE = (6, 7, 8)
AFFINE = numpy.array([[-1.5, 0.1, 0, 10], [0.1, 1.5, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])
Array = numpy.typing.NDArray[Any]


def volume(path: Path, values: Array) -> None:
    """Write x, y, z voxels in the format of the ending, all with one oblique geometry."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, AFFINE)
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(image, path)
        return
    nifti = path.with_name(f"{path.stem}.tmp.nii")
    nibabel.save(image, nifti)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(nifti)), str(path))
    nifti.unlink()


def scan(path: Path, seed: int = 0) -> None:
    volume(path, numpy.random.default_rng(seed).integers(0, 900, SHAPE).astype(numpy.int16))


def mask(path: Path, *values: int) -> None:
    """A block of each value along z, from the first slice on."""
    voxels = numpy.zeros(SHAPE, numpy.uint8)
    for number, value in enumerate(values):
        voxels[1:4, 1:4, number] = value
    volume(path, voxels)


def picture(path: Path, *shape: int, values: tuple[int, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(len(path.name)).integers(0, 255, shape)
    if values:
        pixels = numpy.array(values)[pixels % len(values)]
    Image.fromarray(pixels.astype(numpy.uint8)).save(path)


def look(source: Path, **more: Any) -> Answer:
    return ask(Settings(), "nnunet_prepare_dataset", source=str(source), dataset_id=7, name="New", **more)


def carry_out(answer: Answer, **changed: Any) -> Answer:
    """Make the first call that a look proposes."""
    words = ast.parse(answer["layouts"][0]["call"], mode="eval").body
    assert isinstance(words, ast.Call)
    arguments = {word.arg or "": ast.literal_eval(word.value) for word in words.keywords}
    return ask(Settings(), "nnunet_prepare_dataset", **{**arguments, **changed})


def folder_per_case(top: Path) -> None:
    for number in (1, 2, 13):
        case = f"Brain-{number:03d}"
        for channel in ("t1", "t1ce", "flair"):
            scan(top / case / f"{case}_{channel}.nii.gz", number)
        mask(top / case / f"{case}_seg.nii.gz", 1, 2, 4)


def images_and_masks(top: Path) -> None:
    for number in range(3):
        scan(top / "bilder" / f"kopf {number}.ü.nrrd", number)
        mask(top / "masken" / f"kopf {number}.ü_maske.nrrd", 255)


def flat_pairs(top: Path) -> None:
    for number in range(3):
        scan(top / f"p{number}_image.nii", number)
        mask(top / f"p{number}_seg.nii", 1, 2)


def only_masks_have_a_suffix(top: Path) -> None:
    for number in range(3):
        scan(top / f"p{number}.mha", number)
        mask(top / f"p{number}_seg.mha", 1)


def channels_in_folders(top: Path) -> None:
    for number in range(3):
        for channel in ("DWI", "ADC"):
            scan(top / channel / f"sub-{number}.nii.gz", number)
        mask(top / "gt" / f"sub-{number}.nii.gz", 1)


def mask_per_organ(top: Path) -> None:
    for number in (4, 11):
        scan(top / f"s{number:04d}" / "ct.nii.gz", number)
        for organ, values in (("liver", (1,)), ("spleen", (0, 255))):
            mask(top / f"s{number:04d}" / "segmentations" / f"{organ}.nii.gz", *values)


def patients_with_several_frames(top: Path) -> None:
    for patient, frame in ((1, 1), (1, 12), (2, 1), (2, 9)):
        name = f"patient{patient:03d}/patient{patient:03d}_frame{frame:02d}"
        scan(top / f"{name}.nii.gz", frame)
        mask(top / f"{name}_gt.nii.gz", 1, 2)


def no_telling_words(top: Path) -> None:
    for number in range(3):
        scan(top / f"subject{number}" / "a.nii.gz", number)
        mask(top / f"subject{number}" / "b.nii.gz", 1)


def mixed_endings(top: Path) -> None:
    for number, ending in enumerate((".nii.gz", ".nii", ".mhd", ".mha", ".nrrd")):
        scan(top / "scans" / f"c{number}{ending}", number)
        mask(top / "labels" / f"c{number}{ending}", 1)


def photographs(top: Path) -> None:
    for number in range(3):
        picture(top / "a" / f"cell {number}.jpg", 12, 14, 3)
        picture(top / "b" / f"cell {number}.png", 12, 14, values=(0, 255))


def grey_bitmaps(top: Path) -> None:
    for part in ("train", "val"):
        for number in range(3):
            picture(top / part / "images" / f"{number}.bmp", 12, 14)
            picture(top / part / "labels" / f"{number}.bmp", 12, 14, values=(0, 1, 2))


LAYOUTS: list[tuple[Callable[[Path], None], list[str], str, int, list[str], dict[str, int], str]] = [
    (
        folder_per_case,
        ["{case}/{case}_{channel}.nii.gz"],
        "{case}/{case}_seg.nii.gz",
        3,
        ["flair", "t1", "t1ce"],
        {"label_1": 1, "label_2": 2, "label_4": 3},
        ".nii.gz",
    ),
    (
        images_and_masks,
        ["bilder/{case}.nrrd"],
        "masken/{case}_maske.nrrd",
        3,
        ["image"],
        {"label_255": 1},
        ".nrrd",
    ),
    (flat_pairs, ["{case}_image.nii"], "{case}_seg.nii", 3, ["image"], {"label_1": 1, "label_2": 2}, ".nii.gz"),
    (only_masks_have_a_suffix, ["{case}.mha"], "{case}_seg.mha", 3, ["image"], {"label_1": 1}, ".mha"),
    (
        channels_in_folders,
        ["{channel}/{case}.nii.gz"],
        "gt/{case}.nii.gz",
        3,
        ["ADC", "DWI"],
        {"label_1": 1},
        ".nii.gz",
    ),
    (
        mask_per_organ,
        ["{case}/ct.nii.gz"],
        "{case}/segmentations/{label}.nii.gz",
        2,
        ["image"],
        {"liver": 1, "spleen": 2},
        ".nii.gz",
    ),
    (
        patients_with_several_frames,
        ["{group}/{case}.nii.gz"],
        "{group}/{case}_gt.nii.gz",
        4,
        ["image"],
        {"label_1": 1, "label_2": 2},
        ".nii.gz",
    ),
    (no_telling_words, ["{case}/a.nii.gz"], "{case}/b.nii.gz", 3, ["image"], {"label_1": 1}, ".nii.gz"),
    (mixed_endings, ["scans/{case}.*"], "labels/{case}.*", 5, ["image"], {"label_1": 1}, ".nii.gz"),
    (photographs, ["a/{case}.jpg"], "b/{case}.png", 3, ["R", "G", "B"], {"label_255": 1}, ".png"),
    (
        grey_bitmaps,
        ["{group}/images/{case}.bmp"],
        "{group}/labels/{case}.bmp",
        6,
        ["image"],
        {"label_1": 1, "label_2": 2},
        ".png",
    ),
]


@pytest.mark.parametrize(
    ("build", "images", "labels", "cases", "channels", "values", "ending"),
    LAYOUTS,
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_layout_is_proposed_and_its_call_imports_every_voxel(
    downloads: Path,
    settings: Settings,
    build: Callable[[Path], None],
    images: list[str],
    labels: str,
    cases: int,
    channels: list[str],
    values: dict[str, int],
    ending: str,
) -> None:
    source = downloads / "strange names (1)"
    build(source)
    before = digest(source)

    seen = look(source)

    assert not seen["written"] and not list(settings.folder("raw").iterdir())
    arguments = ast.parse(seen["layouts"][0]["call"], mode="eval").body
    assert isinstance(arguments, ast.Call)
    given = {word.arg: ast.literal_eval(word.value) for word in arguments.keywords}
    assert (given["images"], given["labels"]) == (images, labels)
    assert len(json.dumps(seen)) < 3_000

    answer = carry_out(seen)

    assert answer["written"] and digest(source) == before
    assert (answer["cases"], answer["channels"]) == (cases, channels)
    assert answer["labels"] == {"background": 0, **values}
    folder = Path(answer["path"])
    files = 1 if ending == ".png" else len(channels)
    assert len(list((folder / "imagesTr").glob(f"*{ending}"))) == cases * files
    for path in (folder / "labelsTr").iterdir():
        assert set(numpy.unique(voxels_of(path))) == {0, *values.values()}
        if ending != ".png":
            assert_same_place(path, path.parents[1] / "imagesTr" / path.name.replace(ending, f"_0000{ending}"))


def voxels_of(path: Path) -> Array:
    found: Array = (
        numpy.asarray(Image.open(path))
        if path.suffix == ".png"
        else SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    )
    return found


def assert_same_place(one: Path, other: Path) -> None:
    first, second = SimpleITK.ReadImage(str(one)), SimpleITK.ReadImage(str(other))
    assert first.GetSize() == second.GetSize()
    for read in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert numpy.allclose(getattr(first, read)(), getattr(second, read)(), atol=1e-5)
