"""Datasets whose dataset.json names the files of each case itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.runs.errors import Refused
from nnunet_mcp.runs.settings import Settings
from nnunet_mcp.schemas.requests import DatasetsRequest, PrepareRequest
from nnunet_mcp.tools.datasets import nnunet_datasets, ready_to_train
from nnunet_mcp.tools.importing import nnunet_prepare_dataset
from tests.tiny import make_dataset

SECRET = "s3cr3t-value"


def with_list(folder: Path, listed: dict[str, Any], **fields: Any) -> Path:
    """Write the list into dataset.json."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), "dataset": listed, **fields}
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture
def downloads(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that tools may read."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(folder))
    return folder


def test_the_value_of_a_variable_in_the_list_is_told_to_nobody(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_KEY", SECRET)
    entry = {"images": ["$CLOUD_KEY"], "label": "masks/${CLOUD_KEY}.nii.gz"}
    with_list(make_dataset(settings.folder("raw"), "Dataset001_Tiny"), {"case": entry})

    listed = nnunet_datasets(DatasetsRequest(), settings).model_dump_json()
    asked = nnunet_datasets(DatasetsRequest(dataset_id=1), settings).model_dump_json()
    with pytest.raises(Refused, match=r"case \(\$CLOUD_KEY, masks/\$\{CLOUD_KEY\}\.nii\.gz\)") as caught:
        ready_to_train(settings, 1)

    assert "$CLOUD_KEY" in listed and SECRET not in listed + asked + str(caught.value)


def test_a_list_with_variables_is_not_imported(downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_KEY", SECRET)
    source = with_list(make_dataset(downloads, "Mine"), {"case": {"images": ["a.nii.gz"], "label": "x_${CLOUD_KEY}"}})

    with pytest.raises(Refused, match=r"lists 'x_\$\{CLOUD_KEY\}' for case case.*Write the paths out") as caught:
        nnunet_prepare_dataset(PrepareRequest(source=str(source), dataset_id=7, name="Mine"), Settings())
    assert SECRET not in str(caught.value)
    assert not list(Settings().folder("raw").iterdir())


def test_variables_are_resolved_as_nnunet_does(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    monkeypatch.setenv("SCANS", "imagesTr")
    entry = {"images": ["$SCANS/case_000_0000.nii.gz"], "label": "labelsTr/case_000.nii.gz"}
    with_list(raw, {"case": entry}, numTraining=1)

    assert ready_to_train(settings, 1)[1] == []
    assert nnunet_datasets(DatasetsRequest(dataset_id=1), settings).model_dump()["datasets"][0]["inspected"] == 1
