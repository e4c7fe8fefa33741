"""Ways to break a good dataset, each with what must be said about it. They break the case `SECOND`."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy
from PIL import Image

Base = Literal["mri", "two channels", "uncompressed", "cells"]
Break = Callable[[Path], object]
BROKEN = "case_b"
ENDINGS = {"uncompressed": ".nii", "cells": ".png"}


@dataclass(frozen=True)
class Defect:
    """A sentence for the test's name, what is broken, and the words that must name it and its fix."""

    name: str
    base: Base
    damage: Break
    said: str
    fix: str
    certain: bool = True
    case: str = BROKEN


def image(folder: Path, channel: int = 0, case: str = BROKEN) -> Path:
    return next(folder.glob(f"imagesTr/{case}_{channel:04d}.*"))


def label(folder: Path, case: str = BROKEN) -> Path:
    return next(folder.glob(f"labelsTr/{case}.*"))


def rewrite(
    path: Path,
    change: Callable[[Any], Any] = lambda values: values,
    move: Callable[[Any], Any] = lambda affine: affine,
    dtype: Any = None,
) -> None:
    """Write a NIfTI file again with other voxels, another affine or another type."""
    found = nibabel.load(path)
    values = change(numpy.asarray(found.dataobj).copy())
    nibabel.save(nibabel.Nifti1Image(values.astype(dtype or values.dtype), move(found.affine.copy())), path)


def pixels(path: Path, change: Callable[[Any], Any]) -> None:
    """Write a picture again with other pixels."""
    with Image.open(path) as found:
        values = numpy.array(found)
    Image.fromarray(change(values)).save(path)


def described(folder: Path, **fields: Any) -> None:
    """Set keys of dataset.json."""
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


def put(value: float) -> Callable[[Any], Any]:
    """Set one voxel."""

    def change(values: Any) -> Any:
        values[tuple(length // 2 for length in values.shape)] = value
        return values

    return change


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def scaled(factor: float) -> Callable[[Any], Any]:
    return lambda affine: affine @ numpy.diag([1, 1, factor, 1])


def moved(affine: Any) -> Any:
    affine[:3, 3] += 25
    return affine


def mirrored(affine: Any) -> Any:
    return affine @ numpy.diag([-1, 1, 1, 1])


def sheared(affine: Any) -> Any:
    affine[0, 1] += 0.4
    return affine


def averaged(values: Any) -> Any:
    return (values[:] + numpy.roll(values, 1, axis=0)) / 2


def without_channel_number(folder: Path) -> None:
    image(folder).rename(folder / "imagesTr" / f"{BROKEN}.nii.gz")


def corrupted(folder: Path) -> None:
    path = image(folder)
    content = bytearray(path.read_bytes())
    content[-8:-4] = b"\0\0\0\0"  # gzip's checksum
    path.write_bytes(bytes(content))


def header_without_spacing(folder: Path) -> None:
    for path in (image(folder), label(folder)):
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[88:92] = b"\0\0\0\0"  # pixdim[3]
        path.write_bytes(gzip.compress(bytes(content)))


def promising_header(folder: Path) -> None:
    path = image(folder)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = numpy.array([30_000] * 3, "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))


def background_everywhere(folder: Path) -> None:
    for path in (folder / "labelsTr").iterdir():
        rewrite(path, numpy.zeros_like)


def listed(folder: Path) -> None:
    cases = [path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()]
    entries = {case: {"images": [f"imagesTr/{case}_0000.nii.gz"], "label": f"labelsTr/{case}.nii.gz"} for case in cases}
    described(folder, dataset=entries)
    label(folder).unlink()


def all_as_hounsfield(folder: Path) -> None:
    for path in (folder / "imagesTr").iterdir():
        rewrite(path, lambda values: values - 1000, dtype=numpy.float32)


def one_slice(folder: Path) -> None:
    for path in (image(folder), label(folder)):
        rewrite(path, lambda values: values[:, :, 20:21])


def second_channel(folder: Path) -> None:
    target = folder / "imagesTr" / f"{BROKEN}_0001.nii.gz"
    shutil.copy(image(folder), target)
    rewrite(target, lambda values: values + 1)


def second_name(folder: Path) -> None:
    shutil.copy(image(folder, case="case_a"), image(folder))
    shutil.copy(label(folder, "case_a"), label(folder))


def replaced_by_fifo(folder: Path) -> None:
    path = image(folder)
    path.unlink()
    os.mkfifo(path)


def replaced_by_link(folder: Path) -> None:
    path = image(folder)
    path.unlink()
    path.symlink_to(folder / "elsewhere.nii.gz")


def other_resolution(folder: Path) -> None:
    rewrite(image(folder), move=scaled(12))
    rewrite(label(folder), move=scaled(12))


MRI = (
    Defect("a case without label", "mri", lambda f: label(f).unlink(), "no label file", "Add CASE.nii.gz"),
    Defect("a label without image", "mri", lambda f: image(f).unlink(), "no image in imagesTr", "Add the images"),
    Defect("an image without channel number", "mri", without_channel_number, "without a channel number", "rename"),
    Defect(
        "a channel that nobody declared",
        "mri",
        second_channel,
        r"declares the channels \[0\]",
        "channel_names",
    ),
    Defect(
        "an image in a format that is not read",
        "mri",
        lambda f: shutil.copy(image(f), f / "imagesTr" / f"{BROKEN}_0000.nrrd"),
        "ignores",
        "Convert",
        certain=False,
    ),
    Defect("a label value that is not declared", "mri", lambda f: rewrite(label(f), put(7)), r"\(7\)", "Declare"),
    Defect(
        "a negative label value",
        "mri",
        lambda f: rewrite(label(f), lambda v: put(-1)(v.astype(numpy.int16))),
        r"\(-1\)",
        "Declare",
    ),
    Defect(
        "labels that were resampled linearly",
        "mri",
        lambda f: rewrite(label(f), averaged, dtype=numpy.float32),
        "not whole numbers",
        "nearest neighbour",
    ),
    Defect(
        "a label with NaN",
        "mri",
        lambda f: rewrite(label(f), lambda v: put(numpy.nan)(v.astype(numpy.float32))),
        r"NaN.*label: 1 voxels",
        "Replace",
    ),
    Defect(
        "label values with a gap in dataset.json",
        "mri",
        lambda f: described(f, labels={"background": 0, "Anterior": 1, "Posterior": 3}),
        "without gaps",
        "Renumber",
        case="dataset.json",
    ),
    Defect(
        "a label that never occurs",
        "mri",
        lambda f: described(f, labels={"background": 0, "Anterior": 1, "Posterior": 2, "Tail": 3}),
        "occur in no case",
        "Remove them",
        certain=False,
        case="Tail",
    ),
    Defect("a smaller label", "mri", lambda f: rewrite(label(f), lambda v: v[:-2]), "another shape", "Resample"),
    Defect("a label with swapped axes", "mri", lambda f: rewrite(label(f), lambda v: v.T), "another shape", "Resample"),
    Defect(
        "a label of another spacing", "mri", lambda f: rewrite(label(f), move=scaled(2)), "another spacing", "Copy the"
    ),
    Defect(
        "a label that lies elsewhere",
        "mri",
        lambda f: rewrite(label(f), move=moved),
        "another origin.*43.3 mm",
        "nnunet_plot",
        certain=False,
    ),
    Defect(
        "a label that is mirrored in its header",
        "mri",
        lambda f: rewrite(label(f), move=mirrored),
        "another direction",
        "nnunet_plot",
        certain=False,
    ),
    Defect("an image with NaN", "mri", lambda f: rewrite(image(f), put(numpy.nan)), r"NaN.*1 voxels", "Replace"),
    Defect("an image with infinity", "mri", lambda f: rewrite(image(f), put(numpy.inf)), r"NaN.*1 voxels", "Replace"),
    Defect("an image of zeros", "mri", lambda f: rewrite(image(f), numpy.zeros_like), "one value.*all 0", "Export"),
    Defect("a truncated image", "mri", lambda f: cut(image(f), 0.6), "cannot be read whole.*image", "copy them again"),
    Defect("a truncated label", "mri", lambda f: cut(label(f), 0.6), "cannot be read whole.*label", "copy them again"),
    Defect("an image that is an empty file", "mri", lambda f: cut(image(f), 0), "0 bytes", "copy them again"),
    Defect("an image with a wrong checksum", "mri", corrupted, "CRC", "copy them again"),
    Defect(
        "a text file called .nii.gz",
        "mri",
        lambda f: image(f).write_text("404 not found", encoding="utf-8"),
        "[Nn]ot a gzipped file",
        "copy them again",
    ),
    Defect("a header that promises 100 TB", "mri", promising_header, "truncated", "copy them again"),
    Defect("a sheared image", "mri", lambda f: rewrite(image(f), move=sheared), "orthonormal", "Export"),
    Defect("a link to nowhere", "mri", replaced_by_link, "link to nowhere", "remove the case"),
    Defect("a pipe in the place of an image", "mri", replaced_by_fifo, "no file", "remove the case"),
    Defect(
        "a case under a second name",
        "mri",
        second_name,
        "case_a = case_b",
        "Keep one",
        certain=False,
    ),
    Defect(
        "an image in 4D",
        "mri",
        lambda f: rewrite(image(f), lambda v: numpy.stack([v, v + 1], -1)),
        "2 instead of 1",
        "splits 4D",
    ),
    Defect(
        "a label in 4D",
        "mri",
        lambda f: rewrite(label(f), lambda v: numpy.stack([v, v], -1)),
        "more than one value per voxel",
        "3D image",
    ),
    Defect("a spacing that no other case has", "mri", other_resolution, "12×1×1 mm", "header", certain=False),
    Defect("a spacing of zero", "mri", header_without_spacing, "impossible spacing", "1 mm", certain=False),
    Defect("a slice among volumes", "mri", one_slice, "single slice among 3D", "of their own", certain=False),
    Defect(
        "a label with only background",
        "mri",
        lambda f: rewrite(label(f), numpy.zeros_like),
        "only background",
        "Make sure",
        certain=False,
    ),
    Defect(
        "labels with nothing but background", "mri", background_everywhere, "nothing to learn", "Check", case="labelsTr"
    ),
    Defect("a listed file that is not there", "mri", listed, "dataset.json lists", "Add them"),
    Defect(
        "Hounsfield units called MRI",
        "mri",
        all_as_hounsfield,
        "look like Hounsfield",
        "call it CT",
        certain=False,
        case="MRI",
    ),
    Defect(
        "a dataset.json that is cut off",
        "mri",
        lambda f: cut(f / "dataset.json", 0.5),
        "not valid JSON",
        "Correct it",
        case="dataset.json",
    ),
)
OTHERS = (
    Defect(
        "a missing channel",
        "two channels",
        lambda f: image(f, 1).unlink(),
        r"declares the channels \[0, 1\]",
        "Add the missing images",
    ),
    Defect(
        "channels of different shape",
        "two channels",
        lambda f: rewrite(image(f, 1), lambda v: v[:, :-3]),
        "channels of different shape",
        "same grid",
    ),
    Defect(
        "channels of different spacing",
        "two channels",
        lambda f: rewrite(image(f, 1), move=scaled(3)),
        "channels of different spacing",
        "same grid",
    ),
    Defect(
        "channels that lie apart",
        "two channels",
        lambda f: rewrite(image(f, 1), move=moved),
        "lie elsewhere",
        "overlay",
        certain=False,
    ),
    Defect(
        "a channel without content",
        "two channels",
        lambda f: rewrite(image(f, 1), numpy.ones_like),
        r"one value.*channel 1",
        "Make sure",
        certain=False,
    ),
    Defect(
        "the same channel twice",
        "two channels",
        lambda f: shutil.copy(image(f, 0), image(f, 1)),
        "same image twice",
        "Export the right",
        certain=False,
    ),
    Defect("a truncated file without compression", "uncompressed", lambda f: cut(image(f), 0.7), "truncated", "copy"),
    Defect(
        "NaN in a file that nibabel reads",
        "uncompressed",
        lambda f: rewrite(image(f), put(numpy.nan)),
        "NaN",
        "Replace",
    ),
    Defect(
        "a colour image where grey is declared",
        "cells",
        lambda f: pixels(image(f), lambda v: numpy.stack([v] * 3, -1)),
        "3 instead of 1",
        "channel_names",
    ),
    Defect(
        "a label drawn in colour",
        "cells",
        lambda f: pixels(label(f), lambda v: numpy.stack([v * 255] * 3, -1)),
        "more than one value per voxel",
        "grey 2D",
    ),
    Defect(
        "a mask of 0 and 255", "cells", lambda f: pixels(label(f), lambda v: v * 255), r"\(255\)", "255 divided by 255"
    ),
    Defect("a truncated PNG", "cells", lambda f: cut(image(f), 0.5), "cannot be read whole", "copy them again"),
    Defect("a smaller mask", "cells", lambda f: pixels(label(f), lambda v: v[:-1]), "another shape", "Resample"),
)
DEFECTS = (*MRI, *OTHERS)
