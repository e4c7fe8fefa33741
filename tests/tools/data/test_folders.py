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

from nnunet_mcp.schemas.datasets import SourceFile
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.asks.conversion.facts import facts_of
from tests.kit.dicom import dicom_volume, two_phases, write_series
from tests.kit.lab import Answer, ToolRefused
from tests.kit.tiny import ask, digest

DOCUMENT = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")
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
    return ask(Settings(), "nnunet_prepare_dataset", **{"source": str(source), "dataset_id": 7, "name": "New", **more})


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
    for number, subject in enumerate(("No.1", "No.2", "No.2.")):
        scan(top / subject / "a.nii.gz", number)
        mask(top / subject / "b.nii.gz", 1)


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
    [*LAYOUTS[:4], *(pytest.param(*row, marks=pytest.mark.heavy) for row in LAYOUTS[4:])],
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
    assert f"| `{images[0]}`, `{labels}` |" in DOCUMENT
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
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return numpy.asarray(picture)
    found: Array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    return found


def assert_same_place(one: Path, other: Path) -> None:
    first, second = SimpleITK.ReadImage(str(one)), SimpleITK.ReadImage(str(other))
    assert first.GetSize() == second.GetSize()
    for read in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert numpy.allclose(getattr(first, read)(), getattr(second, read)(), atol=1e-5)


def test_a_dicom_series_is_an_image_at_its_place_in_the_patient(downloads: Path) -> None:
    source = downloads / "export"
    for number in range(2):
        write_series(source / f"pat{number}" / "CT", dicom_volume(number))
        organ = SimpleITK.Cast(dicom_volume(number) > 0, SimpleITK.sitkUInt8)
        SimpleITK.WriteImage(organ, str(source / f"pat{number}" / "organ_mask.nii.gz"))

    seen = look(source)
    answer = carry_out(seen)

    assert "images=[\"{case}/CT/*.dcm\"], labels='{case}/organ_mask.nii.gz'" in seen["layouts"][0]["call"]
    assert (answer["cases"], answer["channels"]) == (2, ["CT"])
    for number in range(2):
        written = SimpleITK.ReadImage(str(Path(answer["path"]) / "imagesTr" / f"pat{number}_0000.nii.gz"))
        expected = dicom_volume(number)
        assert (SimpleITK.GetArrayFromImage(written) == SimpleITK.GetArrayFromImage(expected)).all()
        for read in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert numpy.allclose(getattr(written, read)(), getattr(expected, read)(), atol=1e-4)


def test_faulty_dicom_series_are_named_with_their_fault(downloads: Path) -> None:
    source = downloads / "export"
    write_series(source / "gap" / "CT", dicom_volume(), leave_out=(2,))
    write_series(source / "tilted" / "CT", dicom_volume(), tilt=0.3)
    write_series(source / "two" / "CT", dicom_volume())
    for path in sorted((source / "two" / "CT").iterdir()):
        path.rename(path.with_name(f"first{path.name}"))
    write_series(source / "two" / "CT", dicom_volume(1), uid="1.2.3", name="localizer of Doe", patient="Doe, Jane")
    write_series(source / "whole" / "CT", dicom_volume())
    for case in ("gap", "tilted", "two", "whole"):
        SimpleITK.WriteImage(SimpleITK.Cast(dicom_volume() > 0, SimpleITK.sitkUInt8), str(source / case / "mask.mha"))

    seen = look(source)

    said = " ".join(seen["doubts"])
    assert "1 slices are missing" in said and "gantry is tilted by 6.8°" in said
    listed = "#file1 5 slices, 0.7×0.8 mm, 2.5 mm thick; #file2 'abdomen', 5 slices, 0.7×0.8 mm, 2.5 mm thick"
    assert f"behind the pattern, as in *.dcm#4. two/CT/*.dcm holds {listed}." in said
    assert "localizer" not in said, "a description with the patient's name in it is not told"
    assert carry_out(seen)["cases"] == 1


@pytest.mark.parametrize(
    ("patient", "name", "told"),
    [
        ("Mueller, Hans", "Mueller abdomen", False),
        ("DOE^JANE=von-Berg", "follow-up Berg", False),
        ("Li^Wei", "Li abdomen", False),
        ("Li^Wei", "Liver", True),  # a name of two letters is part of many words
        ("DOE^J", "J 30 f", True),
        ("李^小明", "李小明 腹部", False),
    ],
)
def test_a_description_with_the_patients_name_in_it_is_not_told(
    downloads: Path, patient: str, name: str, told: bool
) -> None:
    folder = downloads / "pat" / "CT"
    for series in ("3", "4"):
        write_series(
            folder,
            dicom_volume(),
            uid=f"1.2.{series}",
            name=name,
            series=series,
            patient=patient,
            leave_out=(1, 2, 3, 4),
        )
        (folder / "IM0000.dcm").rename(folder / f"{series}.dcm")
    file = SourceFile(name="pat/CT/*.dcm", paths=tuple(map(str, sorted(folder.iterdir()))))

    listed = facts_of(file, [downloads]).series

    assert [repr(name) in one for one in listed] == [told, told]


@pytest.mark.parametrize("chosen", ["4", "venous", "9"])
def test_of_several_dicom_series_the_one_is_imported_that_the_pattern_names(downloads: Path, chosen: str) -> None:
    source = downloads / "export"
    two_phases(source / "pat" / "CT")
    SimpleITK.WriteImage(SimpleITK.Cast(dicom_volume() > 0, SimpleITK.sitkUInt8), str(source / "pat" / "mask.mha"))
    given = {"images": [f"{{case}}/CT/*.dcm#{chosen}"], "labels": "{case}/mask.*"}

    if chosen == "9":
        with pytest.raises(ToolRefused, match=r"series is meant, 1: pat\..*#9 holds #3 'arterial', .*; #4 'venous'"):
            look(source, **given)
        return
    written = Path(look(source, **given)["path"]) / "imagesTr" / "pat_0000.nii.gz"

    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(written)))
    assert (found == SimpleITK.GetArrayFromImage(dicom_volume(4))).all()


@pytest.mark.heavy
def test_faults_are_told_with_their_cases_which_can_be_left_out(downloads: Path, settings: Settings) -> None:
    source = downloads / "study"
    images_and_masks(source)
    scans, masks = source / "bilder", source / "masken"
    for case in ("small", "shades", "moved", "cut"):
        scan(scans / f"{case}.nii.gz")
        mask(masks / f"{case}_maske.nii.gz", 255)
    volume(masks / "small_maske.nii.gz", numpy.zeros((3, 3, 3), numpy.uint8))
    volume(masks / "shades_maske.nii.gz", numpy.full(SHAPE, 0.5, numpy.float32))
    nibabel.save(nibabel.Nifti1Image(numpy.ones(SHAPE, numpy.uint8), numpy.eye(4)), masks / "moved_maske.nii.gz")
    whole = (scans / "cut.nii.gz").read_bytes()
    (scans / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    mask(masks / "nobody_maske.nrrd", 255)
    (source / "notes.docx").write_bytes(b"PK")

    seen = look(source)
    given: dict[str, Any] = {"images": ["bilder/{case}.*"], "labels": "masken/{case}_maske.*"}
    with pytest.raises(ToolRefused) as refused:
        look(source, **given)

    for said in (" ".join(seen["doubts"]), str(refused.value)):
        assert "masks of another size than the image, 1: small (3×3×3, image 8×7×6)" in said
        assert "masks that are shades, not labels, 1: shades" in said
        assert "masks of another spacing, 1: moved" in said
        assert "cut (bilder/cut.nii.gz: " in said
    assert "leave_out=" in str(refused.value) and not list(settings.folder("raw").iterdir())
    answer = carry_out(seen)
    assert answer["cases"] == 3 and answer["labels"] == {"background": 0, "label_255": 1}
    changes = " ".join(answer["changes"])
    assert "values in the masks: 255 to 1" in changes and "a mask without image: masken/nobody_maske.nrrd" in changes
    assert "no image: notes.docx" in changes and "as leave_out says: bilder/cut.nii.gz" in changes


@pytest.mark.heavy
def test_masks_are_merged_in_the_order_given_and_overlaps_are_told(downloads: Path) -> None:
    source = downloads / "organs"
    mask_per_organ(source)
    both = numpy.zeros(SHAPE, numpy.uint8)
    both[1:3, 1:4, 0] = 1
    volume(source / "s0004" / "segmentations" / "tumour.nii.gz", both)
    patterns: dict[str, Any] = {"images": "{case}/ct.nii.gz", "labels": "{case}/segmentations/{label}.nii.gz"}

    with pytest.raises(ToolRefused, match=r"overlap in 1 cases, 6 voxels, most in s0004.*label_names="):
        look(source, **patterns)
    answer = look(source, **patterns, label_names=["liver=ignore", "tumour"], channels="CT")

    assert answer["labels"] == {"background": 0, "tumour": 1, "ignore": 2} and answer["channels"] == ["CT"]
    assert answer["doubts"] == ["cases without a mask of a label, which is background there: tumour (1: s0011)."]
    told = " ".join(answer["changes"])
    assert "6 voxels" in told and "no pattern fits: s0004/segmentations/spleen.nii.gz" in told
    merged = nibabel.load(Path(answer["path"]) / "labelsTr" / "s0004.nii.gz")
    assert numpy.bincount(numpy.asarray(merged.dataobj).ravel())[1:].tolist() == [6, 3]
    assert (merged.affine == nibabel.load(source / "s0004" / "ct.nii.gz").affine).all()


@pytest.mark.heavy
def test_values_get_the_names_given_and_none_is_dropped_silently(downloads: Path, settings: Settings) -> None:
    source, labels = downloads / "scans", downloads / "elsewhere"
    for number in range(2):
        scan(source / f"x{number}_0000.nii.gz")
        mask(labels / f"x{number}.nii.gz", 3, 7, 9, 11)
    given: dict[str, Any] = {"images": ["{case}_0000.nii.gz"], "labels": f"{labels}/{{case}}.nii.gz"}

    with pytest.raises(ToolRefused, match=r'also hold 9, 11.*"9=background" to drop'):
        look(source, **given, label_names=["7=tumour", "3=liver"])
    answer = look(source, **given, label_names=["7=ignore", "3=liver", "9=background", "11=liver"])

    assert answer["labels"] == {"background": 0, "liver": 1, "ignore": 2}
    assert "3 to 1, 7 to 2, 9 to 0, 11 to 1" in answer["changes"][0]
    label = nibabel.load(Path(answer["path"]) / "labelsTr" / "x1.nii.gz")
    assert numpy.asarray(label.dataobj)[1, 1, :4].tolist() == [1, 2, 0, 1]
    assert f"labels='{labels}/{{case}}.nii.gz'" in look(source, labels=str(labels), dataset_id=8)["layouts"][0]["call"]


@pytest.mark.heavy
def test_a_value_that_few_masks_hold_is_a_doubt_until_it_is_named(downloads: Path) -> None:
    source = downloads / "bitmaps"
    grey_bitmaps(source)
    picture(source / "val" / "labels" / "1.bmp", 12, 14, values=(0, 1, 2, 128))

    seen = look(source)

    assert seen["doubts"] == ["few masks hold these values, which may be mistakes: 128 (in 1 of 6 cases)."]
    assert "doubts" not in carry_out(seen)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"images": "../private/{case}.nii.gz", "labels": "{case}_seg.nii"}, "must stay below"),
        ({"images": "{case}_image.nii", "labels": "/etc/{case}.nii"}, "outside the allowed folders"),
        ({"images": "/etc/{case}.nii", "labels": "{case}_seg.nii"}, "outside the allowed folders"),
        ({"images": "{case}_image.nii", "labels": "{patient}_seg.nii"}, "must hold {case}"),
        ({"images": "image.nii", "labels": "{case}_seg.nii"}, "must hold {case}"),
        ({"images": "{case}_ima.e.nii", "labels": "{case}_seg.nii"}, "fits none of 6 images"),
        (
            {"images": "{case}_im*#2", "labels": "{case}_seg.nii"},
            "series by #2 and fits no DICOM files, but p0_image.nii",
        ),
        ({"images": "{case}_image.nii"}, "labels"),
        ({"images": "*" * 30 + "{case}.nii", "labels": "{case}_seg.nii"}, "too many"),
        ({"images": "{case}_image.nii", "labels": "{case}_seg.nii", "leave_out": ["p9"]}, "p9"),
        (
            {"images": "{case}_image.nii", "labels": "{case}_seg.nii", "label_names": ["background", "tumor"]},
            "background without a value would drop one of 1, 2",
        ),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(
    downloads: Path, settings: Settings, given: dict[str, Any], said: str
) -> None:
    source = downloads / "flat"
    flat_pairs(source)

    with pytest.raises(ToolRefused) as refused:
        look(source, **given)

    assert said in str(refused.value) and not list(settings.folder("raw").iterdir())


def test_a_stack_of_tiff_slices_keeps_the_spacing_in_the_file_beside_it(downloads: Path) -> None:
    source = downloads / "stacks"
    for part, highest in (("stack", 60_000), ("mask", 2)):
        (source / part).mkdir(parents=True)
        for number in range(2):
            voxels = numpy.random.default_rng(number).integers(0, highest, (5, 6, 7)).astype(numpy.uint16)
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(source / part / f"{number}.tif"))
            (source / part / f"{number}.json").write_text('{"spacing": [3, 1, 0.5]}', encoding="utf-8")

    answer = carry_out(look(source))

    image = Path(answer["path"]) / "imagesTr" / "1_0000.nii.gz"
    assert SimpleITK.ReadImage(str(image)).GetSpacing() == (0.5, 1.0, 3.0) and not answer.get("doubts")
    assert (voxels_of(image) == voxels_of(source / "stack" / "1.tif")).all()
    assert_same_place(image, Path(answer["path"]) / "labelsTr" / "1.nii.gz")


@pytest.mark.heavy
def test_links_out_of_the_allowed_folders_are_not_followed(downloads: Path, tmp_path: Path) -> None:
    source, private = downloads / "flat", tmp_path / "private"
    flat_pairs(source)
    scan(private / "secret.nii")
    (source / "p7_image.nii").symlink_to(private / "secret.nii")
    mask(source / "p7_seg.nii", 1)
    (source / "more").symlink_to(private)

    answer = carry_out(look(source))

    told = " ".join(answer["changes"])
    assert answer["cases"] == 3 and "a link that leads nowhere or out of the allowed folders: p7_image.nii" in told
    assert "a link to a folder: more" in told and "a mask without image: p7_seg.nii" in told


def test_pictures_of_all_kinds_become_one_kind_and_masks_that_are_none_are_named(downloads: Path) -> None:
    source = downloads / "photos"
    for name, shape in (
        ("colour", (8, 9, 3)),
        ("alpha", (8, 9, 4)),
        ("grey", (8, 9)),
        ("shades", (8, 9)),
        ("red", (8, 9)),
    ):
        picture(source / "img" / f"{name}.png", *shape)
        picture(source / "ann" / f"{name}.png", 8, 9, values=(0, 255))
    opaque = voxels_of(source / "img" / "alpha.png").copy()
    opaque[..., 3] = 255
    Image.fromarray(opaque).save(source / "img" / "alpha.png")
    numbers = Image.fromarray(numpy.eye(8, 9, dtype=numpy.uint8)).convert("P")
    numbers.putpalette([0, 0, 0, 200, 10, 10])
    numbers.save(source / "ann" / "grey.png")
    Image.fromarray(numpy.repeat(voxels_of(source / "ann" / "alpha.png")[..., None], 3, axis=2)).save(
        source / "ann" / "alpha.png"
    )
    Image.fromarray(voxels_of(source / "ann" / "shades.png")).save(source / "ann" / "shades.jpg")
    (source / "ann" / "shades.png").unlink()
    picture(source / "ann" / "red.png", 8, 9, 3)
    before = digest(source)
    given: dict[str, Any] = {
        "images": "img/{case}.png",
        "labels": "ann/{case}.*",
        "label_names": ["1=cell", "255=cell"],
    }

    with pytest.raises(ToolRefused, match=r"shades, not labels, 2: red \(it is coloured.*shades \(JPEG blurs"):
        look(source, **given)
    answer = look(source, **given, leave_out=["red", "shades"])

    folder = Path(answer["path"])
    assert answer["channels"] == ["R", "G", "B"] and digest(source) == before
    assert {voxels_of(path).shape for path in (folder / "imagesTr").iterdir()} == {(8, 9, 3)}
    assert {tuple(numpy.unique(voxels_of(path))) for path in (folder / "labelsTr").iterdir()} == {(0, 1)}
    told = " ".join(answer["changes"])
    assert "the alpha channel, which is opaque everywhere, is left out" in told and "1 grey pictures among" in told
    grey, before_import = voxels_of(folder / "imagesTr" / "grey_0000.png"), voxels_of(source / "img" / "grey.png")
    assert (grey == before_import[..., None]).all()
