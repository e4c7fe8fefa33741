"""nnunet_predict on images under the names and in the formats that they have."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy
import pytest
import SimpleITK
from PIL import Image

from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import StageFailure
from tests.kit.dicom import dicom_volume, two_phases
from tests.tools.data.test_round_trips import NAMES, geometric, pictures, series, stacks, volumes, voxels
from tests.tools.models.test_predict import model as model, predict, prepared, recorded, refused

assert recorded  # a fixture
SCAN = "scan"
FORMATS: list[Any] = [
    pytest.param(volumes(".nii"), "bilder", ".nii.gz", SCAN, id="nii"),
    pytest.param(volumes(".mhd"), "bilder", ".mha", SCAN, id="mhd"),
    pytest.param(volumes(".nrrd"), "bilder/{case}.nrrd", ".nrrd", SCAN, id="nrrd as it is"),
    pytest.param(volumes(".mha"), "bilder", ".nii.gz", SCAN, id="another format than trained on"),
    pytest.param(stacks, "bilder", ".nii.gz", SCAN, id="tif with spacing"),
    pytest.param(series, "{case}/CT/*.dcm", ".nii.gz", SCAN, id="DICOM"),
    pytest.param(series, "", ".nii.gz", SCAN, id="DICOM by its folders"),
    pytest.param(pictures(".jpg", 3), "bilder", ".png", "RGB", id="JPEG"),
    pytest.param(pictures(".bmp"), "bilder/{case}.*", ".png", "g", id="grey bmp"),
    pytest.param(pictures(".gif"), "bilder", ".png", "RGB", id="grey as RGB"),
]


@pytest.fixture
def allowed(settings: Settings, downloads: Path) -> Settings:
    """The same workspace, and downloads may be read."""
    return Settings()


def trained_on(model: Path, ending: str, *channels: str) -> None:
    """Let the model take these channels and this ending."""
    description = json.loads((model / "dataset.json").read_text("utf-8"))
    names = {str(number): name for number, name in enumerate(channels)}
    (model / "dataset.json").write_text(
        json.dumps({**description, "channel_names": names, "file_ending": ending}), "utf-8"
    )


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(("build", "images", "ending", "channels"), FORMATS)
def test_each_image_is_read_under_its_name_and_at_its_place(
    allowed: Settings, model: Path, downloads: Path, build: Any, images: str, ending: str, channels: str
) -> None:
    source = downloads / "Ö study (1).v2"
    build(source)
    trained_on(model, ending, *([channels] if channels == SCAN else channels))

    folder = prepared(allowed, images=f"{source}/{images}")
    folder.take_in()

    assert {nfc(case) for case in folder.cases} == set(map(nfc, NAMES))
    exact = "{case}" not in images
    assert not exact or set(folder.cases) == set(NAMES), "the case is written as the file is"
    for case, (path, *others) in zip(folder.cases, folder.inputs(folder.cases), strict=True):
        assert not others and Path(path).name == f"{case}_0000{ending}"
        number = list(map(nfc, NAMES)).index(nfc(case))
        if channels == SCAN:
            image, _ = voxels(number, 6, 28, 32)
            read = SimpleITK.ReadImage(path)
            assert (SimpleITK.GetArrayFromImage(read) == image).all()
            at = geometric(image) if build is not stacks else None
            assert numpy.allclose(read.GetSpacing(), at.GetSpacing() if at else (0.5, 1, 3))
            assert not at or numpy.allclose(read.GetOrigin(), at.GetOrigin(), atol=1e-4)
            assert not at or numpy.allclose(read.GetDirection(), at.GetDirection(), atol=1e-5)
        else:
            with Image.open(path) as picture:
                assert picture.size == (32, 28) and picture.mode == ("RGB" if channels == "RGB" else "L")


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("numbers", "chosen", "fault"),
    [
        (("3", "4"), "#4", ""),
        (("3", "4"), "#venous", ""),
        (("1", "1"), "#file2", ""),
        (("1", "1"), "#2", r"choose one as in \*\.dcm#4: #file1 'arterial', 5 slices, .*; #file2 'venous', 5"),
        (("3", "4"), "", r"2 series in one folder, choose one as in \*\.dcm#4: #3 'arterial', 5 slices, .*; #4 'v"),
    ],
)
def test_of_several_dicom_series_the_one_is_predicted_that_the_pattern_names(
    allowed: Settings, model: Path, downloads: Path, numbers: tuple[str, str], chosen: str, fault: str
) -> None:
    two_phases(downloads / "pat" / "CT", numbers=numbers)
    trained_on(model, ".nii.gz", SCAN)

    folder = prepared(allowed, images=f"{downloads}/{{case}}/CT/*.dcm{chosen}")

    if fault:
        with pytest.raises(StageFailure, match=fault):
            folder.take_in()
        return
    folder.take_in()
    read = SimpleITK.ReadImage(folder.inputs(["pat"])[0][0])
    assert (SimpleITK.GetArrayFromImage(read) == SimpleITK.GetArrayFromImage(dicom_volume(4))).all()


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("ending", [".nii.gz", ".*"])
def test_a_number_sign_in_a_files_name_names_no_series(
    allowed: Settings, model: Path, downloads: Path, ending: str
) -> None:
    for name in ("a_ct#1.nii.gz", "b_ct#1.nii.gz", "b_ct#2.nii.gz"):
        (downloads / name).write_bytes(b"")

    assert predict(allowed, images=f"{downloads}/{{case}}_*#1{ending}").cases == 2
    refused(allowed, "series by #1 and fits no DICOM files", images=f"{downloads}/{{case}}_*#1")


@pytest.mark.usefixtures("recorded")
def test_channels_come_in_the_order_of_the_model(allowed: Settings, model: Path, downloads: Path) -> None:
    for case in ("p1", "p2"):
        for channel in ("t1", "FLAIR", "seg"):
            (downloads / case).mkdir(exist_ok=True)
            SimpleITK.WriteImage(geometric(voxels(1, 2, 24, 24)[0]), str(downloads / case / f"{case}_{channel}.nrrd"))
    trained_on(model, ".nii.gz", "T1", "flair")

    refused(allowed, "takes 2 channels, T1, flair.*say which file is which", images=str(downloads))
    refused(allowed, "stands for FLAIR, seg, t1", images=f"{downloads}/{{case}}/{{case}}_{{channel}}.nrrd")
    for case in ("p1", "p2"):
        (downloads / case / f"{case}_seg.nrrd").unlink()
    folder = prepared(allowed, images=f"{downloads}/{{case}}/{{case}}_{{channel}}.nrrd")
    folder.take_in()

    named = {case: [path.name for path in paths] for case, paths in folder.images.items()}
    assert named == {case: [f"{case}_t1.nrrd", f"{case}_FLAIR.nrrd"] for case in ("p1", "p2")}
    assert [Path(path).name for path in folder.inputs(["p1"])[0]] == ["p1_0000.nii.gz", "p1_0001.nii.gz"]


@pytest.mark.usefixtures("recorded")
def test_what_is_not_predicted_is_told_with_the_reason(allowed: Settings, model: Path, downloads: Path) -> None:
    for name in ("amos_0001.nii.gz", "amos_0002.nii.gz", "amos_0001_seg.nii.gz", "below/x.nii.gz"):
        (downloads / name).parent.mkdir(exist_ok=True)
        (downloads / name).write_bytes(b"")
    for name in ("photo.jpg", "notes.txt"):
        (downloads / name).write_bytes(b"")

    started = predict(allowed, images=str(downloads))

    told = " ".join(started.notes)
    assert started.cases == 2
    assert "named as a mask: amos_0001_seg.nii.gz" in told and "in a folder below" in told and "x.nii.gz" in told
    assert "a picture; the model takes volumes: photo.jpg" in told and "no image: notes.txt" in told


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("pattern", ["", "/{case}.mha", "/{group}/{case}/ct.mha"])
def test_a_case_whose_files_could_not_be_named_is_left_out(
    allowed: Settings, model: Path, downloads: Path, pattern: str
) -> None:
    for name in ("short.mha", f"{'l' * 245}.mha", f"{'g' * 130}/{'c' * 130}/ct.mha", "g/c/ct.mha"):
        (downloads / name).parent.mkdir(parents=True, exist_ok=True)
        (downloads / name).write_bytes(b"")

    started = predict(allowed, images=f"{downloads}{pattern}")

    assert started.cases == 1 and "its name is too long: " in " ".join(started.notes)


def test_images_that_are_not_clear_are_refused(allowed: Settings, model: Path, downloads: Path) -> None:
    for name in ("a.nrrd", "a.mha"):
        (downloads / name).write_bytes(b"")

    refused(allowed, "Several images would be a", images=str(downloads))
    refused(allowed, "both case a", images=f"{downloads}/{{case}}.*")
    refused(allowed, "must be a folder and a pattern", images="{case}.nrrd")
    refused(allowed, "outside the allowed folders", images="/etc/{case}.nrrd")
    refused(allowed, "must stay below", images=f"{downloads}/../{{case}}.nrrd")


@pytest.mark.usefixtures("recorded")
def test_pictures_that_would_lose_something_are_named(allowed: Settings, model: Path, downloads: Path) -> None:
    pictures(".png", 3)(downloads)
    trained_on(model, ".png", "grey")
    (downloads / "bilder" / f"{NAMES[0]}.png").write_bytes(b"no picture")

    folder = prepared(allowed, images=f"{downloads}/bilder")

    with pytest.raises(StageFailure, match=r"none of 5 images can be used \(.*coloured, and the model takes grey"):
        folder.take_in()
