"""Folders laid out as well-known data sets are: the look proposes what is meant first, or says what is missing."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from nnunet_mcp.settings import Settings
from tests.kit.dicom import dicom_volume, write_series
from tests.kit.lab import ToolRefused
from tests.tools.data.test_folders import DOCUMENT, SHAPE, flat_pairs, look, mask, picture, scan, volume

Build = Callable[[Path], None]


def film_beside_its_frames(top: Path) -> None:
    for number in (1, 2):
        patient = top / "training" / f"patient{number:03d}"
        for frame in (1, 12):
            scan(patient / f"{patient.name}_frame{frame:02d}.nii.gz", number)
            mask(patient / f"{patient.name}_frame{frame:02d}_gt.nii.gz", 1, 2)
        volume(patient / f"{patient.name}_4d.nii.gz", numpy.zeros((*SHAPE, 3), numpy.int16))


def towns(top: Path) -> None:
    for part, town in (("train", "aachen"), ("train", "bochum"), ("val", "munster")):
        for number in range(2):
            case = f"{town}_{number:06d}_000019"
            picture(top / "leftImg8bit" / part / town / f"{case}_leftImg8bit.png", 12, 14, 3)
            stem = top / "gtFine" / part / town / f"{case}_gtFine"
            picture(stem.with_name(f"{stem.name}_labelIds.png"), 12, 14, values=(0, 7, 11))
            picture(stem.with_name(f"{stem.name}_color.png"), 12, 14, 4)
            instances = numpy.array([[0, 7, 11, 26_001]] * 4, numpy.uint16)
            Image.fromarray(instances).save(stem.with_name(f"{stem.name}_instanceIds.png"))


def sessions(top: Path) -> None:
    for number in range(2):
        case = f"sub-stroke{number:04d}"
        for folder, channel in (("anat", "FLAIR"), ("dwi", "dwi"), ("dwi", "adc")):
            scan(top / case / "ses-0001" / folder / f"{case}_ses-0001_{channel}.nii.gz", number)
        mask(top / "derivatives" / case / "ses-0001" / f"{case}_ses-0001_msk.nii.gz", 1)


def brackets(top: Path) -> None:
    for kind in ("benign", "malignant"):
        for number in (1, 2):
            picture(top / kind / f"{kind} ({number}).png", 12, 14, 3)
            picture(top / kind / f"{kind} ({number})_mask.png", 12, 14, values=(0, 255))
    picture(top / "benign" / "benign (2)_mask_1.png", 12, 14, values=(0, 255))


def gif_masks(top: Path) -> None:
    for case in ("0cdf5b_01", "0cdf5b_02", "1ba2ff_01"):
        picture(top / "train" / f"{case}.jpg", 12, 14, 3)
        picture(top / "train_masks" / f"{case}_mask.gif", 12, 14, values=(0, 255))


def other_padding(top: Path) -> None:
    for number in (1, 2, 10):
        picture(top / "images" / f"image-{number}.png", 12, 14, 3)
        picture(top / "masks" / f"mask_{number:03d}.png", 12, 14, values=(0, 255))


def leavings(top: Path) -> None:
    flat_pairs(top)
    (top / "__MACOSX").mkdir()
    for name in ("Thumbs.db", "desktop.ini", "._p0_image.nii", "__MACOSX/._p0_image.nii", "__MACOSX/p0_image.nii"):
        (top / name).write_bytes(b"leavings")


MEANT: list[tuple[Build, str, str, int, list[str]]] = [
    (film_beside_its_frames, "training/{group}/{case}.nii.gz", "training/{group}/{case}_gt.nii.gz", 4, ["image"]),
    (
        towns,
        "leftImg8bit/*/*/{case}_leftImg8bit.png",
        "gtFine/*/*/{case}_gtFine_labelIds.png",
        6,
        ["R", "G", "B"],
    ),
    (
        sessions,
        "{case}/ses-0001/anat/{case}_ses-0001_FLAIR.nii.gz",
        "derivatives/{case}/ses-0001/{case}_ses-0001_msk.nii.gz",
        2,
        ["FLAIR", "adc", "dwi"],
    ),
    (brackets, "{group}/{case}.png", "{group}/{case}_mask.png", 4, ["R", "G", "B"]),
    (gif_masks, "train/{case}.jpg", "train_masks/{case}_mask.gif", 3, ["R", "G", "B"]),
    (other_padding, "images/image-{case}.png", "masks/mask_{case}.png", 3, ["R", "G", "B"]),
    (leavings, "{case}_image.nii", "{case}_seg.nii", 3, ["image"]),
]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("build", "images", "labels", "cases", "channels"), MEANT, ids=lambda x: getattr(x, "__name__", "")
)
def test_what_is_meant_is_proposed_first(
    downloads: Path, settings: Settings, build: Build, images: str, labels: str, cases: int, channels: list[str]
) -> None:
    build(downloads)

    seen = look(downloads)

    words = ast.parse(seen["layouts"][0]["call"], mode="eval").body
    assert isinstance(words, ast.Call)
    given: dict[str, Any] = {word.arg or "": ast.literal_eval(word.value) for word in words.keywords}
    assert (given["images"][0], given["labels"], given["channels"]) == (images, labels, channels)
    assert (seen["layouts"][0]["cases"], seen.get("test_cases", 0)) == (cases, 0)
    assert build is leavings or f"| `{images}`, `{labels}` |" in DOCUMENT
    assert "doubts" not in seen and "benign (2)_mask_1" not in str(seen["layouts"][0]["pairs"])


def slices_beside_a_series(top: Path) -> None:
    for number in (1, 2):
        write_series(top / str(number) / "DICOM_anon", dicom_volume(number))
        for slice_ in range(2):
            picture(top / str(number) / "Ground" / f"liver_GT_{slice_:03d}.png", 6, 7, values=(0, 255))


def test_masks_of_single_slices_beside_volumes_are_told(downloads: Path) -> None:
    slices_beside_a_series(downloads)

    seen = look(downloads)

    assert "volumes and pictures of single slices. Stack those of each case" in " ".join(seen["doubts"])
    assert seen["next_step"] == "Nothing is written, and no layout fits. Tell the person the doubts."


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (("case_0.npz", "case_1.npy.h5"), "arrays without spacing: save each volume as .nii.gz"),
        (("Annotations/a.xml", "Tissue/a.png"), "draw them into masks, as PNG or NIfTI"),
        (("annotations/instances.json", "train/0001.jpg"), "draw them into masks, as PNG or NIfTI"),
        (("imagesTr.tar", "readme.md"), "archives: unpack them"),
    ],
)
def test_what_holds_no_image_is_named_with_the_way_on(downloads: Path, others: tuple[str, ...], said: str) -> None:
    for name in others:
        (downloads / name).parent.mkdir(exist_ok=True)
        (downloads / name).write_bytes(b"x")

    with pytest.raises(ToolRefused, match=said):
        look(downloads)
