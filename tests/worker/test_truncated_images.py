"""Files that are not whole are named before nnU-Net reads them."""

import gzip
from pathlib import Path

import nibabel
import numpy
import pytest

from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.truncated_images import refuse_damaged

DATATYPE = slice(70, 72)  # nifti1.h


def image(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(numpy.ones((8, 8, 8), numpy.int16), numpy.eye(4)), path)
    return path


def look_at(path: Path) -> None:
    refuse_damaged([path], threads=1, tell=lambda done: None)


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
def test_a_whole_file_passes(tmp_path: Path, name: str) -> None:
    look_at(image(tmp_path / name))


@pytest.mark.parametrize("name", ["case.nii", "case.nii.gz"])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, name: str) -> None:
    path = image(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(StageFailure, match=f"{name} cannot be read whole"):
        look_at(path)


def test_a_header_with_a_datatype_that_does_not_exist_is_named(tmp_path: Path) -> None:
    content = bytearray(gzip.decompress(image(tmp_path / "case.nii.gz").read_bytes()))
    content[DATATYPE] = (9999).to_bytes(2, "little")
    (tmp_path / "case.nii.gz").write_bytes(gzip.compress(bytes(content)))

    with pytest.raises(StageFailure, match=r"case\.nii\.gz cannot be read whole"):
        look_at(tmp_path / "case.nii.gz")
