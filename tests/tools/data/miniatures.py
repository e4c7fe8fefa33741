"""Datasets of six cases of 8 × 9 × 10 voxels, each with one fault that breaks nnU-Net or falsifies its result."""

import gzip
import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy
from PIL import Image

CASES = 6
AFFINE = numpy.diag([1.0, 1.2, 2.0, 1.0])
MIRRORED = numpy.diag([-1.0, 1.2, 2.0, 1.0])
CODES = slice(252, 256)  # qform_code and sform_code in a NIfTI-1 header
SFORM = slice(280, 328)
SLOPE = slice(112, 116)
Make = Callable[[Path], object]


@dataclass(frozen=True)
class Miniature:
    """A sentence for the test's name, how to make it, and what a look must say of it; empty where all is well."""

    name: str
    make: Make
    said: str
    certain: bool = False


def volumes(folder: Path, channels: tuple[str, ...] = ("MRI",), low: int = 0, **described: Any) -> None:
    """Two labels of another brightness each, at another place in each case."""
    random = numpy.random.default_rng(0)
    for case in range(CASES):
        label = numpy.zeros((8, 9, 10), numpy.uint8)
        label[case % 3 + 2 : case % 3 + 4, case // 3 : case // 3 + 3, 2:8] = 1
        label[2:4, 6:8, 2:8] = 2
        for number in range(len(channels)):
            base = 100 * 3**number
            values = random.normal(base, base / 20, label.shape) + label * (base * 0.6) + low
            write(folder / "imagesTr" / f"case_{case}_{number:04d}.nii.gz", values.astype(numpy.int16))
        write(folder / "labelsTr" / f"case_{case}.nii.gz", label)
    describe(folder, channels, {"background": 0, "a": 1, "b": 2}, ".nii.gz", described)


def pictures(folder: Path, channels: tuple[str, ...] = ("R", "G", "B"), **described: Any) -> None:
    """Cells in colour, or in grey where one channel is declared."""
    random = numpy.random.default_rng(1)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in range(CASES):
        mask = numpy.zeros((16, 20), numpy.uint8)
        mask[4 + case : 8 + case, 5:9] = 1
        pixels = random.integers(0, 120, (16, 20, 3), dtype=numpy.uint8) + mask[..., None] * 80
        shown = Image.fromarray(pixels if len(channels) == 3 else pixels[..., 0])
        shown.save(folder / "imagesTr" / f"case_{case}_0000.png")
        Image.fromarray(mask).save(folder / "labelsTr" / f"case_{case}.png")
    describe(folder, channels, {"background": 0, "cell": 1}, ".png", described)


def describe(folder: Path, channels: tuple[str, ...], labels: Any, ending: str, more: dict[str, Any]) -> None:
    content = {
        "channel_names": dict(enumerate(channels)),
        "labels": labels,
        "numTraining": CASES,
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps({**content, **more}), encoding="utf-8")


def write(path: Path, values: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def image(folder: Path, case: int = 1, channel: int = 0) -> Path:
    return next(folder.glob(f"imagesTr/case_{case}_{channel:04d}.*"))


def label(folder: Path, case: int = 1) -> Path:
    return next(folder.glob(f"labelsTr/case_{case}.*"))


def both(folder: Path, case: int = 1) -> list[Path]:
    return [image(folder, case), label(folder, case)]


def again(path: Path, change: Callable[[Any], Any] = lambda values: values, affine: Any = None) -> None:
    """Write a file again with other voxels or another affine."""
    if path.suffix == ".png":
        with Image.open(path) as found:
            values = numpy.array(found)
        Image.fromarray(change(values)).save(path)
        return
    loaded = nibabel.load(path)
    write(path, change(numpy.asarray(loaded.dataobj).copy()), loaded.affine if affine is None else affine)


def swap(one: Path, other: Path) -> None:
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def patch(path: Path, place: slice, content: bytes) -> None:
    """Change bytes of a NIfTI header."""
    whole = bytearray(gzip.decompress(path.read_bytes()))
    whole[place] = content
    path.write_bytes(gzip.compress(bytes(whole)))


def rename(folder: Path, case: int, image_name: str, label_name: str | None = None) -> None:
    ending = "".join(image(folder, case).suffixes)
    label(folder, case).rename(folder / "labelsTr" / f"{label_name or image_name}{ending}")
    image(folder, case).rename(folder / "imagesTr" / f"{image_name}_0000{ending}")


def named(template: str, labels: str = "case_{}") -> Make:
    """Images and labels under other names."""

    def make(folder: Path) -> None:
        volumes(folder)
        for case in range(CASES):
            label(folder, case).rename(folder / "labelsTr" / f"{labels.format(case)}.nii.gz")
            image(folder, case).rename(folder / "imagesTr" / f"{template.format(case)}.nii.gz")

    return make


def damaged(damage: Make, make: Callable[..., None] = volumes, **described: Any) -> Make:
    def both_steps(folder: Path) -> None:
        make(folder, **described)
        damage(folder)

    return both_steps


def each(change: Callable[[Path, int], object], cases: range = range(CASES)) -> Make:
    return lambda folder: [change(folder, case) for case in cases]


def placed(affine: Any, cases: range = range(1, 2)) -> Make:
    """Image and label with another affine."""

    def moved(folder: Path, case: int) -> None:
        for path in both(folder, case):
            again(path, affine=affine)

    return each(moved, cases)


def turned(folder: Path, case: int) -> None:
    for path in both(folder, case):
        loaded = nibabel.load(path)
        wanted = nibabel.orientations.axcodes2ornt("PSR")
        change = nibabel.orientations.ornt_transform(nibabel.io_orientation(loaded.affine), wanted)
        nibabel.save(loaded.as_reoriented(change), path)


def two_axes(folder: Path) -> None:
    loaded = nibabel.load(image(folder))
    loaded.set_sform(AFFINE, 1)
    loaded.set_qform(MIRRORED, 1)
    nibabel.save(loaded, image(folder))


def two_spacings(folder: Path) -> None:
    for path in both(folder):
        patch(path, SFORM, numpy.diag([2.0, 2.4, 4.0, 1.0])[:3].astype("<f4").tobytes())


def without_codes(folder: Path) -> None:
    for path in both(folder):
        patch(path, CODES, bytes(4))


def four_values(folder: Path) -> None:
    """The labels of a brain tumour: oedema 4, cystic 3, non-enhancing 2, enhancing 1."""
    for case in range(CASES):
        again(label(folder, case), lambda v: numpy.where(v == 2, numpy.arange(10) % 3 + 2, v).astype(numpy.uint8))


REGIONS = {"background": 0, "whole": [1, 2, 3, 4], "core": [1, 2, 3], "et": 1}
CROSSED = {"background": 0, "a": [1, 2], "b": [2, 3], "c": 4}


def far_ignored(folder: Path) -> None:
    for case in range(CASES):
        again(label(folder, case), lambda values: numpy.where(numpy.arange(10) > 5, 3, values).astype(numpy.uint8))
        again(image(folder, case), lambda values: numpy.where(numpy.arange(10) > 5, -1000, values).astype(numpy.int16))


def aired(folder: Path, case: int) -> None:
    again(image(folder, case), lambda values: numpy.where(numpy.arange(10) < 2, -1000, values).astype(numpy.int16))


def objects(folder: Path, case: int) -> None:
    again(label(folder, case), lambda values: (values > 0) * (1 + numpy.arange(10) % (case + 2)).astype(numpy.uint8))


def largest_in(*, here: bool) -> Callable[[Any], Any]:
    return lambda values: numpy.array([0, 1, 2**31 if here else 1], numpy.uint32)[values]


def without_shape(folder: Path) -> None:
    again(label(folder), lambda values: numpy.random.default_rng(3).permutation(values.ravel()).reshape(values.shape))


def spike(folder: Path) -> None:
    def bright(values: Any) -> Any:
        values[0, 0, 0] = 30_000
        return values

    again(image(folder), bright)


def first_test_image(folder: Path) -> None:
    (folder / "imagesTs").mkdir()
    shutil.copy(image(folder), folder / "imagesTs" / "other_0000.nii.gz")


def tiffs(folder: Path) -> None:
    import tifffile

    volumes(folder, file_ending=".tiff")
    for path in sorted(folder.glob("*/*.nii.gz")):
        tifffile.imwrite(
            path.with_name(path.name.replace(".nii.gz", ".tiff")), numpy.asarray(nibabel.load(path).dataobj)
        )
        path.unlink()
    for path in folder.glob("labelsTr/case_[02345].tiff"):
        for part in ("imagesTr", "labelsTr"):
            (folder / part / f"{path.stem}.json").write_text('{"spacing": [2, 1.2, 1]}', encoding="utf-8")


def smoothed(values: Any) -> Any:
    shown = Image.fromarray(values * 255)
    return numpy.array(shown.resize((40, 32), Image.Resampling.BICUBIC).resize((20, 16), Image.Resampling.BICUBIC))


def key_twice(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"b": 2', '"b": 2, "b": 1'), encoding="utf-8")


def patients_as_channels(folder: Path) -> None:
    for case in range(CASES):
        image(folder, case).rename(folder / "imagesTr" / f"liver_{case:04d}.nii.gz")
    label(folder, 0).rename(folder / "labelsTr" / "liver.nii.gz")
    for path in folder.glob("labelsTr/case_*"):
        path.unlink()


def twins(folder: Path) -> None:
    rename(folder, 1, unicodedata.normalize("NFC", "fälle"))
    rename(folder, 2, unicodedata.normalize("NFD", "fälle"))


CT: dict[str, Any] = {"channels": ("CT",), "low": -800}
TWO: dict[str, Any] = {"channels": ("T1", "T2")}
ONE: dict[str, Any] = {"labels": {"background": 0, "a": 1}}

FAULTS = (
    Miniature(
        "an order of regions that writes other values",
        damaged(four_values, labels=REGIONS, regions_class_order=[1, 2, 3]),
        r"1 is written as 3, 4 is written as 1.*core below 1, et 0.*Set regions_class_order to \[4, 2, 1\]",
        certain=True,
    ),
    Miniature(
        "regions named from the inside to the outside",
        damaged(four_values, labels=dict(reversed(REGIONS.items())), regions_class_order=[1, 2, 4]),
        r"Name the labels in the order whole, core, et, and set regions_class_order to \[4, 2, 1\]",
        certain=True,
    ),
    Miniature(
        "regions that no order tells apart",
        damaged(four_values, labels=CROSSED, regions_class_order=[1, 3, 4]),
        "2 is written as 3.*a below 1. No order",
    ),
    Miniature(
        "a grey picture among colours",
        damaged(lambda f: again(image(f), lambda v: v[..., 0]), pictures),
        r"other colours.*case_1 \(1 instead of 3\).*without alpha",
        certain=True,
    ),
    Miniature(
        "a picture with alpha among colours",
        damaged(lambda f: again(image(f), lambda v: numpy.dstack([v, v[..., 0]])), pictures),
        r"other colours.*case_1 \(4 instead of 3\).*without alpha",
        certain=True,
    ),
    Miniature(
        "a grey picture with alpha",
        damaged(lambda f: again(image(f), lambda v: numpy.dstack([v, v])), pictures, channels=("grey",)),
        "grey with an alpha channel.*save it without alpha",
        certain=True,
    ),
    Miniature(
        "pictures of 16 bits that are to be divided by 255",
        damaged(lambda f: again(image(f), lambda v: v.astype(numpy.uint16) * 200), pictures, channels=("rgb_to_0_1",)),
        "rgb_to_0_1.*outside 0 to 255: case_1",
        certain=True,
    ),
    Miniature(
        "images in two voxel orders",
        damaged(each(turned, range(3))),
        r"3 PSR \(case_0, case_1 and 1 more\); 3 RAS.*SimpleITKIOWithReorient",
    ),
    Miniature("images that are mirrored to others", damaged(placed(MIRRORED)), r"5 RAS.*; 1 LAS \(case_1\)"),
    Miniature(
        "sides that only their place tells apart",
        lambda f: volumes(f, labels={"background": 0, "NiereLinks": 1, "NiereRechts": 2}),
        "NiereLinks and NiereRechts.*mirroring=none",
    ),
    Miniature(
        "ignored air in the statistics of a CT",
        damaged(far_ignored, **CT, labels={"background": 0, "a": 1, "b": 2, "ignore": 3}),
        r"statistics of CT: it scales by a mean of -9\d\d HU, and that of the labels is -\d\d\d\.",
    ),
    Miniature("a case called _seg", damaged(lambda f: rename(f, 0, "case_1_seg")), "end in _seg.*Rename", certain=True),
    Miniature(
        "labels with a channel number",
        named("case_{}_0000", "case_{}_0000"),
        r"Rename the labels: case_0_0000\.nii\.gz becomes case_0\.nii\.gz",
        certain=True,
    ),
    Miniature(
        "a dot before the number", named("case_{}.0000"), r"case_0\.0000\.nii\.gz becomes case_0_0000", certain=True
    ),
    Miniature("a number of three digits", named("case_{}_000"), "case_0_000.nii.gz becomes case_0_0000", certain=True),
    Miniature(
        "patients numbered like channels",
        damaged(patients_as_channels),
        "several patients.*liver_0000_0000",
        certain=True,
    ),
    Miniature("a label that is declared twice", damaged(key_twice), "has b twice in the same place", certain=True),
    Miniature(
        "masks of 0 and 255",
        damaged(each(lambda f, case: again(label(f, case), lambda v: v * 255)), pictures),
        r"another value than declared.*\(255\).*255 divided by 255.*nnunet_prepare_dataset",
        certain=True,
    ),
    Miniature(
        "masks that were smoothed",
        damaged(each(lambda f, case: again(label(f, case), smoothed)), pictures),
        "shades.*never as JPEG",
        certain=True,
    ),
    Miniature(
        "lesions numbered in each patient", damaged(each(objects), **ONE), "number the objects.*6 cases", certain=True
    ),
    Miniature(
        "a label value as large as 32 bits allow",
        damaged(each(lambda f, case: again(label(f, case), largest_in(here=case == 1))), **ONE),
        "does not declare.*case_1 .2147483648",
        certain=True,
    ),
    Miniature(
        "an ending in capitals",
        damaged(each(lambda f, case: image(f, case).rename(image(f, case).with_suffix(".PNG"))), pictures),
        r"no \.png files, but 6 \.PNG: nnU-Net minds the letter case",
        certain=True,
    ),
    Miniature(
        "another ending than declared",
        lambda f: volumes(f, file_ending=".nii"),
        r"Set file_ending to \.nii\.gz",
        certain=True,
    ),
    Miniature(
        "no dataset.json",
        damaged(lambda f: (f / "dataset.json").unlink()),
        r'"channel_names": \{"0": "MRI"\}.*imagesTr/CASE_0000\.nii\.gz.*"dataset": \{"CASE"',
        certain=True,
    ),
    # and what nobody has reported yet
    Miniature("axes that sform and qform mirror", damaged(two_axes), "case_1 .axes RAS by its sform, LAS by its qform"),
    Miniature(
        "a spacing that sform contradicts", damaged(two_spacings), r"spacing 1 × 1\.2 × 2, by its sform 2 × 2\.4 × 4"
    ),
    Miniature(
        "a header without sform and qform",
        damaged(without_codes),
        "lost spacing or orientation.*: case_1",
    ),
    Miniature("a header of ones", damaged(placed(numpy.eye(4))), "lost spacing or orientation.*: case_1"),
    Miniature("slices along another axis", damaged(placed(numpy.diag([2.0, 1.2, 1.0, 1.0]))), r"than z.*case_1 \(x\)"),
    Miniature(
        "an image in metres", damaged(placed(numpy.diag([1e-3, 1.2e-3, 2e-3, 1.0]))), "suspicious spacing: case_1"
    ),
    Miniature(
        "all images in metres", damaged(placed(AFFINE / 1000, range(CASES))), "suspicious spacing.*Correct the header"
    ),
    Miniature(
        "a label that only its header mirrors", damaged(lambda f: again(label(f), affine=MIRRORED)), "another direction"
    ),
    Miniature(
        "a CT that was windowed to 8 bits",
        damaged(lambda f: again(image(f), lambda v: numpy.clip((v + 900) / 2, 0, 255).astype(numpy.uint8)), **CT),
        r"begin at 0 or above.*case_1 \(from",
    ),
    Miniature(
        "a CT without its intercept", damaged(lambda f: again(image(f), lambda v: v + 1024), **CT), "intercept of -1024"
    ),
    Miniature("a PET called CT", lambda f: volumes(f, channels=("CT",), low=300), "not one is below 0.*PET"),
    Miniature("a CT with a longer name", lambda f: volumes(f, channels=("CT_venous",), low=-500), "exact name CT"),
    Miniature(
        "a CT under another name",
        damaged(each(aired), channels=("scan",)),
        "scan, but.*Hounsfield.*call it CT",
    ),
    Miniature("one voxel that outshines all", damaged(spike), r"outshine.*case_1 \(30000, the others"),
    Miniature(
        "channels swapped in one case",
        damaged(lambda f: swap(image(f), image(f, 1, 1)), **TWO),
        "look swapped: case_1; in all other cases T1 is darker than T2",
    ),
    Miniature(
        "one channel of two cases",
        damaged(lambda f: shutil.copy(image(f, 1, 1), image(f, 2, 1)), **TWO),
        "same channel 1",
    ),
    Miniature(
        "labels of two cases swapped", damaged(lambda f: swap(label(f, 0), label(f, 5))), "something else.*case_"
    ),
    Miniature("a label that is scattered", damaged(without_shape), "something else than in the other cases: case_1"),
    Miniature(
        "one label file of two cases", damaged(lambda f: shutil.copy(label(f, 1), label(f, 2))), "same label file"
    ),
    Miniature(
        "an image that is its label",
        damaged(lambda f: shutil.copy(label(f), image(f))),
        "same file as their label",
        certain=True,
    ),
    Miniature(
        "an inverted mask",
        damaged(
            each(lambda f, case: again(label(f, case), lambda v: ((v == 1) ^ (case == 1)).astype(numpy.uint8))), **ONE
        ),
        r"cover most of the image: case_1.*swap 0 and 1",
    ),
    Miniature(
        "masks of nothing but ones",
        damaged(each(lambda f, case: again(label(f, case), numpy.ones_like)), **ONE),
        "every voxel of every label file has the same value",
        certain=True,
    ),
    Miniature(
        "a label in one slice",
        damaged(lambda f: again(label(f), lambda v: v * (numpy.arange(10) == 4).astype(numpy.uint8))),
        "single slices.*: case_1",
    ),
    Miniature(
        "a label in every third slice",
        damaged(lambda f: again(label(f), lambda v: v[..., 3:4] * (numpy.arange(10) % 3 == 0).astype(numpy.uint8))),
        "single slices.*: case_1",
    ),
    Miniature(
        "names that differ in letter case", damaged(lambda f: rename(f, 2, "Case_1")), "one file on macOS and Windows"
    ),
    Miniature("names with accents in two encodings", damaged(twins), "f.+lle and f.+lle.*one file on macOS"),
    Miniature(
        "an image and its label with accents in two encodings",
        damaged(lambda f: rename(f, 1, "f\u00e4lle", "fa\u0308lle")),
        "encoding of accents.*Rename the labels",
        certain=True,
    ),
    Miniature(
        "a training image among the test images", damaged(first_test_image), "other_0000.nii.gz = case_1_0000.nii.gz"
    ),
    Miniature("a 3D TIFF without its spacing", tiffs, "without the JSON file.*: case_1.*CASE.json"),
)
SOUND = (
    Miniature("volumes", volumes, ""),
    Miniature("a CT", lambda f: volumes(f, **CT), ""),
    Miniature("two channels", lambda f: volumes(f, **TWO), ""),
    Miniature("colours", pictures, ""),
    Miniature("grey pictures", lambda f: pictures(f, channels=("grey",)), ""),
    Miniature("regions in order", damaged(four_values, labels=REGIONS, regions_class_order=[4, 2, 1]), ""),
    Miniature(
        "regions in an order that writes another value of the same regions",
        damaged(four_values, labels=REGIONS, regions_class_order=[4, 3, 1]),
        "",
    ),
    Miniature(
        "a reader that turns the images",
        damaged(each(turned, range(3)), overwrite_image_reader_writer="SimpleITKIOWithReorient"),
        "",
    ),
    Miniature("a time axis of one", damaged(lambda f: again(image(f), lambda v: v[..., None])), ""),
    Miniature(
        "labels of minus zero", damaged(lambda f: again(label(f), lambda v: v.astype(numpy.float32) * 1 - 0.0)), ""
    ),
    Miniature("a number at the end of a name", damaged(lambda f: rename(f, 1, "case_0000")), ""),
    Miniature("masks of one bit", damaged(lambda f: again(label(f), lambda v: v > 0), pictures), ""),
)
