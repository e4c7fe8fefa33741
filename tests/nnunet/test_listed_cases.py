"""Datasets whose dataset.json names the files of each case itself."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused, RunError
from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.schemas.datasets import DatasetsRequest, Prepared, PrepareRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.datasets import nnunet_datasets
from nnunet_mcp.tools.data.importing import nnunet_prepare_dataset
from nnunet_mcp.tools.data.ready import ready_to_train
from tests.kit.tiny import make_dataset

SECRET = "s3cr3t-value"


def with_list(folder: Path, listed: dict[str, Any], **fields: Any) -> Path:
    """Write the list into dataset.json."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), "dataset": listed, **fields}
    path.write_text(json.dumps(content), encoding="utf-8")
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

    with pytest.raises(Refused, match=r"'x_\$\{CLOUD_KEY\}'.*Write the paths out") as caught:
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


def apart(downloads: Path, *, cases: int = 5, channels: int = 1) -> tuple[Path, dict[str, Any]]:
    """A source whose images and labels lie in folders of their own, and its list."""
    source = make_dataset(downloads, "Mine", cases=cases, channels=channels)
    (source / "imagesTr").rename(source / "scans")
    (source / "labelsTr").rename(downloads / "masks")
    listed = {}
    for number in range(cases):
        name = f"case_{number:03d}"
        images = [f"scans/{name}_{channel:04d}.nii.gz" for channel in range(channels)]
        listed[f"patient{number}"] = {"images": images, "label": str(downloads / "masks" / f"{name}.nii.gz")}
    return with_list(source, listed), listed


def bring(source: Path) -> Prepared:
    return nnunet_prepare_dataset(PrepareRequest(source=str(source), dataset_id=7, name="Mine"), Settings())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("count", [5, "five", None])
def test_listed_files_are_copied_from_wherever_they_lie(settings: Settings, downloads: Path, count: object) -> None:
    source, listed = apart(downloads, channels=2)
    with_list(source, listed, numTraining=count)

    answer = bring(source)

    folder = Path(answer.path)
    assert answer.cases == 5 and "the list is gone" in " ".join(answer.changes)
    assert names(folder / "imagesTr") == [f"patient{n}_{c:04d}.nii.gz" for n in range(5) for c in range(2)]
    assert names(folder / "labelsTr") == [f"patient{n}.nii.gz" for n in range(5)]
    first = (folder / "imagesTr" / "patient0_0001.nii.gz").read_bytes()
    assert first == (source / "scans" / "case_000_0001.nii.gz").read_bytes()
    assert "dataset" not in json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert ready_to_train(settings, 7)[1] == []


def test_a_listed_4d_image_is_split(downloads: Path) -> None:
    source = make_dataset(downloads, "Mine", cases=1, channels=3, style="msd")
    entry = {"images": ["imagesTr/case_000.nii.gz"], "label": "labelsTr/case_000.nii.gz"}

    answer = bring(with_list(source, {"a": entry}))

    assert names(Path(answer.path) / "imagesTr") == [f"a_{channel:04d}.nii.gz" for channel in range(3)]


def test_a_listed_file_outside_the_allowed_folders_is_not_read(downloads: Path, tmp_path: Path) -> None:
    source, _ = apart(downloads)
    outside = make_dataset(tmp_path / "private", "Theirs", cases=1)
    label = str(outside / "labelsTr" / "case_000.nii.gz")
    with_list(source, {"a": {"images": ["scans/case_000_0000.nii.gz"], "label": label}})

    with pytest.raises(Refused, match="outside the allowed folders"):
        bring(source)
    assert names(Settings().folder("raw")) == []


@pytest.mark.parametrize(
    ("case", "entry", "said"),
    [
        ("../up", {"images": ["scans/case_000_0000.nii.gz"], "label": "x.nii.gz"}, "can be no file name"),
        (".hidden", {"images": ["scans/case_000_0000.nii.gz"], "label": "x.nii.gz"}, "can be no file name"),
        ("a", {"images": ["scans/case_000_0000.nii.gz"], "label": "x.nrrd"}, "does not end in .nii.gz"),
        ("a", {"images": ["scans/case_000_0000.nii.gz"]}, "without label"),
        ("a", {"label": "x.nii.gz"}, "without images"),
        ("a", ["scans/case_000_0000.nii.gz"], "without images"),
        ("a", {"images": ["scans/missing.nii.gz"], "label": "x.nii.gz"}, "missing.nii.gz' does not exist"),
    ],
)
def test_an_entry_that_cannot_be_imported_is_refused(downloads: Path, case: str, entry: Any, said: str) -> None:
    source, _ = apart(downloads)
    with_list(source, {case: entry})

    with pytest.raises(RunError, match=re.escape(said)):
        bring(source)
    assert names(Settings().folder("raw")) == []


def test_a_list_that_is_none_is_left_out(settings: Settings) -> None:
    with_list(make_dataset(settings.folder("raw"), "Dataset001_Tiny"), "Tiny")  # type: ignore[arg-type]

    files, notes = ready_to_train(settings, 1)

    assert "is no list of cases" in notes[0] and "dataset" not in read_description(files.raw).content


def test_an_empty_list_is_a_problem(settings: Settings) -> None:
    with_list(make_dataset(settings.folder("raw"), "Dataset001_Tiny"), {})

    with pytest.raises(Refused, match="lists no cases"):
        ready_to_train(settings, 1)
