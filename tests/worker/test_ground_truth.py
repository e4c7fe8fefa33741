"""The labels that the validation reads are those of the raw data, with the spacing that lies beside a TIFF."""

import json

from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.steps.preprocess import _renew_ground_truth


def test_the_spacing_of_a_tiff_comes_along_to_the_ground_truth(settings: Settings) -> None:
    """Without it nnU-Net says "Assuming spacing (1, 1, 1)" in the validation."""
    files = DatasetFiles(settings.folders, "Dataset001_Tiff")
    for folder in (files.raw / "labelsTr", files.ground_truth):
        folder.mkdir(parents=True)
        (folder / "case_1.tif").write_bytes(b"voxels")
    (files.raw / "labelsTr" / "case_1.json").write_text(json.dumps({"spacing": [3, 1, 1]}), encoding="utf-8")

    _renew_ground_truth(files)

    assert json.loads((files.ground_truth / "case_1.json").read_text("utf-8")) == {"spacing": [3, 1, 1]}
