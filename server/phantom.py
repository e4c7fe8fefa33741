"""A made-up dataset that a network learns in a minute: one bright and one brighter ellipsoid in noise."""

import json
from pathlib import Path

import nibabel
import numpy
from numpy.typing import NDArray

SHAPE = (40, 40, 32)
SPACING_MM = (1.0, 1.0, 1.2)
NOISE, STEP = 15.0, 60.0


def write_phantom(folder: Path, *, cases: int = 12, seed: int = 2026) -> None:
    """Write the cases as a Medical Segmentation Decathlon task: 3D NIfTI images, spacing 1 x 1 x 1.2 mm."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = numpy.random.default_rng(seed)
    names = [f"phantom_{number:02d}.nii.gz" for number in range(cases)]
    for name in names:
        image, label = _case(random)
        _save(image, folder / "imagesTr" / name)
        _save(label, folder / "labelsTr" / name)
    description = {
        "name": "Phantom",
        "description": "Two ellipsoids in noise",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ", "2": "lesion"},
        "numTraining": cases,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def _case(random: numpy.random.Generator) -> tuple[NDArray[numpy.float32], NDArray[numpy.uint8]]:
    """One image with its label; places, sizes and brightness vary."""
    label = numpy.zeros(SHAPE, numpy.uint8)
    label[_ellipsoid(random, centre=0.40, radius=0.24)] = 1
    label[_ellipsoid(random, centre=0.68, radius=0.15)] = 2
    image = random.normal(100.0, NOISE, SHAPE) + random.uniform(0.9, 1.1) * STEP * label
    return image.astype(numpy.float32), label


def _ellipsoid(random: numpy.random.Generator, *, centre: float, radius: float) -> NDArray[numpy.bool_]:
    size = numpy.array(SHAPE)
    middle = size * centre + random.uniform(-3, 3, 3)
    radii = size * radius * random.uniform(0.85, 1.15, 3)
    grid = numpy.stack(numpy.meshgrid(*(numpy.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    inside: NDArray[numpy.bool_] = (((grid - middle) / radii) ** 2).sum(axis=-1) <= 1
    return inside


def _save(array: NDArray[numpy.generic], path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(array, numpy.diag([*SPACING_MM, 1.0])), path)
