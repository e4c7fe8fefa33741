"""Label values that nobody declared are told with their number, file and place."""

import json
from pathlib import Path

import nibabel
import numpy
import pytest

from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.steps.undeclared_labels import refuse_undeclared_labels
from tests.kit.tiny import make_dataset


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({}, "declare it as 2 (labels have no gaps)", id="the next number"),
        pytest.param({"ignore": 2}, "declare it as 2 and ignore as 3 (ignore is the highest", id="before ignore"),
    ],
)
def test_an_undeclared_value_is_told_with_its_voxels_and_the_ways_on(
    tmp_path: Path, more: dict[str, int], said: str
) -> None:
    raw = make_dataset(tmp_path, "Dataset001_Tiny")
    description = json.loads((raw / "dataset.json").read_text("utf-8"))
    description["labels"] |= more
    (raw / "dataset.json").write_text(json.dumps(description), "utf-8")
    refuse_undeclared_labels(raw)
    path = raw / "labelsTr" / "case_002.nii.gz"
    found = nibabel.load(path)
    voxels = numpy.asarray(found.dataobj).copy()
    voxels[1, 5, 7] = voxels[4, 6, 7] = 7
    nibabel.save(nibabel.Nifti1Image(voxels, found.affine), path)

    with pytest.raises(StageFailure) as refused:
        refuse_undeclared_labels(raw)

    failure = refused.value.failure
    assert failure.cause.endswith("does not declare: 7") and not failure.resume
    assert failure.evidence.startswith("case_002.nii.gz: value 7 in 2 voxels, the first at (1, 5, 7)")
    assert said in failure.remedy


def test_voxels_without_a_number_are_told_as_mistakes_and_a_damaged_file_is_left_to_nnunet(tmp_path: Path) -> None:
    """With nibabel: SimpleITK reads NaN in NIfTI as 0."""
    raw = make_dataset(tmp_path, "Dataset001_Tiny")
    description = json.loads((raw / "dataset.json").read_text("utf-8"))
    description["overwrite_image_reader_writer"] = "NibabelIO"
    (raw / "dataset.json").write_text(json.dumps(description), "utf-8")
    path = raw / "labelsTr" / "case_002.nii.gz"
    found = nibabel.load(path)
    voxels = numpy.asarray(found.dataobj).astype(numpy.float32)
    voxels[1, 5, 7] = voxels[4, 6, 7] = numpy.nan
    nibabel.save(nibabel.Nifti1Image(voxels, found.affine), path)

    with pytest.raises(StageFailure) as refused:
        refuse_undeclared_labels(raw)

    failure = refused.value.failure
    assert failure.evidence.startswith("case_002.nii.gz: value nan in 2 voxels, the first at (1, 5, 7)")
    assert failure.remedy == "Correct these voxels: they hold no numbers."
    path.write_bytes(b"")
    refuse_undeclared_labels(raw)
