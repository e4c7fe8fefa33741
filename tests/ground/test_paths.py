"""Which paths tools take: a request's are resolved first, and links in the nnU-Net folders are their owner's."""

import json
import os
from pathlib import Path

import pytest

from nnunet_mcp.allowed_paths import allowed_path, readable, refuse_outside
from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.preprocessed import raw_identity
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset


@pytest.mark.parametrize("given", ["~no-such-user/x", "\ud800"])
def test_a_path_that_cannot_be_one_is_refused_everywhere(settings: Settings, given: str) -> None:
    with pytest.raises(Refused, match=r"no such home folder|is not a path"):
        allowed_path(settings, given, what="source")
    with pytest.raises(Refused, match=r"no such home folder|is not a path"):
        refuse_outside(settings, given, what="output")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("nnunet_prepare_dataset", {"source": "~no-such-user/x", "dataset_id": 5, "name": "X"}),
        ("nnunet_import_model", {"zip": "~no-such-user/x.zip"}),
        ("nnunet_predict", {"model": "~no-such-user/x", "images": "~no-such-user/x"}),
        ("nnunet_training", {"dataset_id": 1, "pretrained_weights": "~no-such-user/x.pth"}),
    ],
)
def test_the_home_of_nobody_is_told_so(settings: Settings, tool: str, arguments: dict[str, object]) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")

    with pytest.raises(ToolRefused, match=r"there is no such home folder\. Write the path out"):
        ask(settings, tool, **arguments)


def test_a_name_that_is_too_long_does_not_exist(settings: Settings) -> None:
    with pytest.raises(NotFound):
        allowed_path(settings, str(settings.folder("raw") / ("x" * 300)), what="source")


def test_a_link_in_the_nnunet_folders_is_followed(settings: Settings, tmp_path: Path) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    (raw / "imagesTr").rename(tmp_path / "another disk")
    (raw / "imagesTr").symlink_to(tmp_path / "another disk")

    (line,) = ask(settings, "nnunet_datasets", dataset_id=1)["datasets"]

    assert line["inspected"] == 5 and readable(raw / "imagesTr" / "case_000_0000.nii.gz", settings).is_file()


def test_a_link_in_another_allowed_folder_is_not(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny", cases=1)
    (tmp_path / "downloads").mkdir()
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(tmp_path / "downloads"))
    (tmp_path / "private.nii.gz").write_bytes((raw / "imagesTr" / "case_000_0000.nii.gz").read_bytes())
    link = tmp_path / "downloads" / "innocent.nii.gz"
    link.symlink_to(tmp_path / "private.nii.gz")
    content = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    listed = {"case": {"images": [str(link)], "label": "labelsTr/case_000.nii.gz"}}
    (raw / "dataset.json").write_text(json.dumps({**content, "dataset": listed}), encoding="utf-8")

    (line,) = ask(Settings(), "nnunet_datasets", dataset_id=1)["datasets"]

    assert line["inspected"] == 0 and "outside the allowed folders" in line["warnings"][0]


def test_a_stray_file_of_any_name_stops_nobody(settings: Settings) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    Path(os.fsdecode(os.fsencode(raw / "imagesTr") + b"/notes\xff.txt")).touch()

    assert raw_identity(DatasetFiles(settings.folders, "Dataset001_Tiny"))
    assert ask(settings, "nnunet_preflight", dataset_id=1, configuration="2d", fold="0", device="cpu")["possible"]
