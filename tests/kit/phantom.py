"""Made-up images: two ellipsoids in noise, in nnU-Net v2's layout."""

import json
from pathlib import Path

import nibabel
import numpy


def write_phantom(folder: Path, *, cases: int, shape: tuple[int, int, int], seed: int = 0) -> None:
    """Write a raw dataset with one channel and two labels; spacing 1 mm."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = numpy.random.default_rng(seed)
    for number in range(cases):
        label = _ellipsoid(shape, 0.35, 0.18, random) + 2 * _ellipsoid(shape, 0.68, 0.14, random)
        image = random.normal(100, 15, shape) + 60 * (label == 1) + 120 * (label == 2)
        _save(image.astype(numpy.float32), folder / "imagesTr" / f"case_{number:03d}_0000.nii.gz")
        _save(label.astype(numpy.uint8), folder / "labelsTr" / f"case_{number:03d}.nii.gz")
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "big": 1, "small": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def _ellipsoid(
    shape: tuple[int, int, int], centre: float, radius: float, random: numpy.random.Generator
) -> "numpy.typing.NDArray[numpy.bool_]":
    size = numpy.array(shape)
    middle = size * centre + random.uniform(-2, 2, 3)
    radii = size * radius * random.uniform(0.9, 1.1, 3)
    grid = numpy.stack(numpy.meshgrid(*[numpy.arange(n) for n in shape], indexing="ij"), axis=-1)
    found: numpy.typing.NDArray[numpy.bool_] = (((grid - middle) / radii) ** 2).sum(axis=-1) <= 1
    return found


def _save(array: "numpy.typing.NDArray[numpy.generic]", path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array, numpy.eye(4)), path)
