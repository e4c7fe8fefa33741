"""DICOM series of small volumes, as a scanner exports them."""

import locale
from pathlib import Path

import numpy
import SimpleITK

# Axes of the volume in the patient, its spacing and first corner, in mm along x, y, z.
AXES = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)  # columns: coronal slices, head first
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-12.5, 30.0, 7.25)


def dicom_volume(seed: int = 0) -> SimpleITK.Image:
    """Hounsfield units in coronal slices."""
    voxels = numpy.random.default_rng(seed).integers(-1000, 900, (5, 6, 7)).astype(numpy.int16)
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(AXES)
    return image


def two_phases(folder: Path, *, numbers: tuple[str, str] = ("3", "4")) -> None:
    """An arterial and a venous series, which are dicom_volume(3) and dicom_volume(4), in one folder."""
    for seed, name, number in zip((3, 4), ("arterial", "venous"), numbers, strict=True):
        write_series(folder, dicom_volume(seed), uid=f"1.2.{seed}", name=name, series=number)
        for path in folder.glob("IM*"):
            path.rename(path.with_name(f"{name}{path.name}"))


def write_series(
    folder: Path,
    image: SimpleITK.Image,
    *,
    uid: str = "1.2.826.0.1.1",
    name: str = "abdomen",
    series: str = "",
    patient: str = "",
    leave_out: tuple[int, ...] = (),
    tilt: float = 0.0,
) -> None:
    """One file per slice, whose name does not tell its order; `tilt` shifts each slice by so many mm."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = numpy.reshape(image.GetDirection(), (3, 3))
    orientation = "\\".join(f"{part:g}" for part in (*axes[:, 0], *axes[:, 1]))
    for number in range(image.GetDepth()):
        if number in leave_out:
            continue
        place = numpy.array(image.TransformIndexToPhysicalPoint((0, 0, number))) + number * tilt * axes[:, 1]
        slice_ = image[:, :, number]
        for tag, value in {
            "0008|0060": "CT",
            "0008|103e": name,
            "0020|000d": "1.2.826.0.1",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{number + 1}",
            "0020|0013": str(number + 1),
            "0020|0032": "\\".join(f"{part:g}" for part in place),
            "0020|0037": orientation,
            "0018|0050": f"{image.GetSpacing()[2]:g}",
            "0028|1052": "-1024",
            "0028|1053": "1",
            "0020|0011": series,
            "0010|0010": patient,
        }.items():
            slice_.SetMetaData(tag, value)
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(folder / f"IM{(number * 7) % 11:04d}.dcm"))
        before = locale.setlocale(locale.LC_ALL)
        writer.Execute(slice_)
        locale.setlocale(locale.LC_ALL, before)  # GDCM leaves the C locale, in which other tests read ASCII only
