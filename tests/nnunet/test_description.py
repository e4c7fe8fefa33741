"""dataset.json in every style that people have becomes the one that nnU-Net v2 reads; the file stays as it is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.nnunet.dataset_json import read_description
from nnunet_mcp.schemas.datasets import DatasetsRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.datasets import nnunet_datasets
from nnunet_mcp.tools.data.ready import ready_to_train
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, digest, make_dataset


@pytest.fixture
def raw(settings: Settings) -> Path:
    """A valid dataset with five cases."""
    return make_dataset(settings.folder("raw"), "Dataset001_Tiny")


def change(folder: Path, **fields: Any) -> None:
    """Set keys of dataset.json; None removes one."""
    path = folder / "dataset.json"
    content = {**json.loads(path.read_text(encoding="utf-8")), **fields}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8")


def test_a_valid_dataset_json_is_taken_as_it_is(raw: Path) -> None:
    description = read_description(raw)

    assert description.changes == []
    assert description.content == json.loads((raw / "dataset.json").read_text(encoding="utf-8"))


def test_the_documented_style_is_understood(settings: Settings) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset050", channels=2, style="documented")
    before = digest(folder)

    description = read_description(folder)

    assert description.channels == ["MRI0", "MRI1"]
    assert description.labels == {"background": 0, "block": 1}
    assert description.file_ending == ".nii.gz"
    assert description.content["numTraining"] == 5
    assert len(description.changes) == 3
    assert digest(folder) == before


@pytest.mark.parametrize(
    ("given", "labels", "said"),
    [
        ({"tumour": 1}, {"background": 0, "tumour": 1}, "background: 0 was added"),
        ({"Clear Label": 0, "tumour": 1}, {"background": 0, "tumour": 1}, "now called background"),
        ({"background": "0", "tumour": "1"}, {"background": 0, "tumour": 1}, None),
        ({"0": "background", "1": "tumour"}, {"background": 0, "tumour": 1}, "name: value"),
        ({"1": "tumour", "0": "air"}, {"background": 0, "tumour": 1}, "now called background"),
        ({"0": 0, "1": 1}, {"background": 0, "1": 1}, "now called background"),
        ({"background": [0], "tumour": 1}, {"background": 0, "tumour": 1}, "background is now 0 and no list"),
        ({"background": 0, "tumour": [1]}, {"background": 0, "tumour": [1]}, None),
        ({"background": 0, "a": 1, "ignore": 2}, {"background": 0, "a": 1, "ignore": 2}, None),
    ],
)
def test_labels_are_read_as_name_and_value(
    raw: Path, given: dict[str, Any], labels: dict[str, Any], said: str | None
) -> None:
    change(raw, labels=given)

    description = read_description(raw)

    assert description.labels == labels
    assert (said or "") in " ".join(description.changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 3}}, r"without gaps; they are \[0, 1, 3\]"),
        ({"labels": {"background": 0, "a": -1}}, "without gaps"),
        ({"labels": {"background": 0, "a": "one"}}, "'a' has the value 'one'"),
        ({"labels": {"background": 0, "a": {}}}, "must be a whole number"),
        ({"labels": {"background": 0, "a": float("inf")}}, "must be a whole number"),
        ({"labels": {"background": 0}}, "only the background"),
        ({"labels": {"background": 0, "ignore": 1}}, "only the background"),
        ({"labels": {"background": 0, "a": 2, "ignore": 1}}, "ignore has the value 1; it must be the highest, 2"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2]}}, r"ignore has the value \[2\]; it must be the highest"),
        ({"labels": {"liver": 0, "background": 1, "x": 2}}, "background has the value 1; it must be 0"),
        ({"labels": {"background": 1, "x": 2}}, "background has the value 1; it must be 0"),
        ({"labels": {"background": [0, 1], "x": 2}}, r"background has the value \[0, 1\]; it must be 0"),
        ({"labels": {"background": 0, "a": 1, "b": []}}, "labels without a value: b"),
        ({"labels": {"background": 0, "all": [1, 2], "core": 2}}, "regions_class_order: the 2 values .* for all, core"),
        (
            {"labels": {"background": 0, "all": [1, 2], "core": 2}, "regions_class_order": [1]},
            r"the 2 values .*; it has \[1\]",
        ),
        ({"labels": {"background": 0, "all": [1, 2], "core": 2}, "regions_class_order": "1, 2"}, "it has '1, 2'"),
        ({"file_ending": ".dcm"}, r"reads no images with the file_ending '\.dcm', only \.nii\.gz.*convert the images"),
        ({"file_ending": 5}, "reads no images with the file_ending 5"),
        ({"labels": {}}, "needs labels"),
        ({"labels": ["background", "a"]}, "needs labels"),
        ({"labels": {"background": 0, "a": 1.5}}, "must be a whole number"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "two labels have the same value"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "two labels have the same name"),
        ({"channel_names": None}, "needs channel_names"),
        ({"channel_names": {}}, "needs channel_names"),
        ({"channel_names": {"MRI": 0}}, "needs channel_names"),
        ({"channel_names": {"²": "MRI"}}, "needs channel_names"),
        ({"channel_names": ["MRI"]}, "needs channel_names"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, r"without gaps; they are \['0', '2'\]"),
    ],
)
def test_what_nnunet_could_not_use_is_refused_with_the_key(raw: Path, fields: dict[str, Any], message: str) -> None:
    change(raw, **fields)

    with pytest.raises(Refused, match=message) as caught:
        read_description(raw)
    assert str(raw / "dataset.json") in str(caught.value)


def test_regions_with_their_order_are_taken_as_they_are(raw: Path) -> None:
    labels = {"background": 0, "all": [1, 2, 3], "core": [2, 3], "necrosis": 3, "ignore": 4}
    change(raw, labels=labels, regions_class_order=[1, 2, 3])

    description = read_description(raw)

    assert description.labels == labels and description.changes == []


def test_a_file_ending_without_its_dot_gets_it(settings: Settings, raw: Path) -> None:
    change(raw, file_ending="nii.gz")

    files, notes = ready_to_train(settings, 1)

    assert read_description(files.raw).file_ending == ".nii.gz" and "file_ending is now .nii.gz" in notes[0]


def test_a_byte_order_mark_is_no_obstacle(settings: Settings, raw: Path) -> None:
    path = raw / "dataset.json"
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")

    files, notes = ready_to_train(settings, 1)

    assert "byte order mark was removed" in notes[0]
    assert json.loads((files.raw / "dataset.json").read_text(encoding="utf-8"))["labels"] == {
        "background": 0,
        "block": 1,
    }


def test_what_is_said_of_many_labels_stays_short(raw: Path) -> None:
    many = {f"a structure with a long name {number}": number * 2 for number in range(200)}
    for fields in ({"labels": {**many}}, {"labels": {**many, "b": 2}}, {"channel_names": {**many}}):
        change(raw, **fields)
        with pytest.raises(Refused) as caught:
            read_description(raw)
        assert len(str(caught.value)) - len(str(raw)) < 500


@pytest.mark.parametrize("text", ["", "{", "not json", '{"labels": }', "\ufeff{", "1" * 5000])
def test_what_is_not_json_is_refused(raw: Path, text: str) -> None:
    (raw / "dataset.json").write_text(text, encoding="utf-8")

    with pytest.raises(Refused, match="not valid JSON"):
        read_description(raw)


@pytest.mark.parametrize("text", ["[]", "null", '"text"', "5"])
def test_json_that_is_no_object_is_refused(raw: Path, text: str) -> None:
    (raw / "dataset.json").write_text(text, encoding="utf-8")

    with pytest.raises(Refused, match="must hold a JSON object"):
        read_description(raw)


def test_bytes_that_are_no_text_are_refused(raw: Path) -> None:
    (raw / "dataset.json").write_bytes(b'{"name": "\xff\xfe"}')

    with pytest.raises(Refused, match="not valid JSON"):
        read_description(raw)


def test_a_missing_dataset_json_is_said_to_be_missing(raw: Path) -> None:
    (raw / "dataset.json").unlink()

    with pytest.raises(NotFound, match=r"dataset\.json does not exist"):
        read_description(raw)


def test_the_file_ending_is_taken_from_the_images(raw: Path) -> None:
    change(raw, file_ending=None)

    assert read_description(raw).file_ending == ".nii.gz"


def test_without_any_image_the_file_ending_cannot_be_found(raw: Path) -> None:
    change(raw, file_ending=None)
    for path in (raw / "imagesTr").iterdir():
        path.unlink()

    with pytest.raises(Refused, match="has no images"):
        read_description(raw)


def test_the_number_of_cases_is_counted_and_not_believed(raw: Path) -> None:
    change(raw, numTraining=99)
    (raw / "labelsTr" / "._case_000.nii.gz").write_bytes(b"macOS")

    description = read_description(raw)

    assert description.content["numTraining"] == 5
    assert description.changes == ["numTraining is 5, as counted in labelsTr"]


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        pytest.param("labelsTr/case_002*", "no label file in labelsTr for: case_002", id="a label is missing"),
        pytest.param("imagesTr/case_002*", "no image in imagesTr for the labels: case_002", id="an image is missing"),
        pytest.param("imagesTr/case_002_0001*", r"for example case_002 has \[0\]", id="a channel is missing"),
        pytest.param("imagesTr/*", r"imagesTr has no \.nii\.gz files", id="all images are missing"),
    ],
)
def test_a_dataset_with_missing_files_is_refused_with_the_cases(settings: Settings, removed: str, message: str) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset002_Two", channels=2)
    for path in folder.glob(removed):
        path.unlink()

    with pytest.raises(Refused, match=message):
        ready_to_train(settings, 2)
    line = nnunet_datasets(DatasetsRequest(dataset_id=2), settings).datasets[0]
    assert any(re.search(message, problem) for problem in line.problems)


@pytest.mark.parametrize("name", ["._case_000_0000.nii.gz", ".case_009_0000.nii.gz"])
def test_a_hidden_file_that_nnunet_takes_for_an_image_is_named(settings: Settings, raw: Path, name: str) -> None:
    (raw / "imagesTr" / name).write_bytes(b"macOS")
    (raw / "labelsTr" / "._case_000.nii.gz").write_bytes(b"macOS")
    (raw / "imagesTr" / ".DS_Store").write_bytes(b"macOS")

    with pytest.raises(Refused, match=rf"takes for images: {re.escape(name)}\. Delete them"):
        ready_to_train(settings, 1)


def test_a_broken_dataset_does_not_hide_the_others(settings: Settings, raw: Path) -> None:
    broken = make_dataset(settings.folder("raw"), "Dataset002_Broken")
    (broken / "dataset.json").write_text("{", encoding="utf-8")
    (settings.folder("raw") / "Dataset003_Empty").mkdir()

    lines = {line.name: line for line in nnunet_datasets(DatasetsRequest(), settings).datasets}

    assert lines["Dataset001_Tiny"].problems == () and lines["Dataset001_Tiny"].cases == 5
    assert "not valid JSON" in lines["Dataset002_Broken"].problems[0]
    assert "does not exist" in lines["Dataset003_Empty"].problems[0]


def test_two_folders_with_one_id_are_refused(settings: Settings, raw: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Other")

    with pytest.raises(Refused, match="ambiguous: Dataset001_Other, Dataset001_Tiny"):
        ready_to_train(settings, 1)


def test_a_longer_number_is_another_dataset(settings: Settings, raw: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset0011_Other")

    assert ready_to_train(settings, 1)[0].name == "Dataset001_Tiny"


@pytest.mark.parametrize(("tool", "more"), [("nnunet_datasets", {}), ("nnunet_training", {"no_preprocessing": True})])
def test_a_dataset_of_another_name_is_not_taken_for_the_one_that_is_named(
    settings: Settings, raw: Path, tool: str, more: dict[str, bool]
) -> None:
    with pytest.raises(ToolRefused, match=r"Dataset 001 is Dataset001_Tiny here, not Dataset001_Liver\. Use that name"):
        ask(settings, tool, dataset_id="Dataset001_Liver", **more)


@pytest.mark.parametrize("given", ["Dataset001_Tiny", "Dataset001", "001", "1", 1])
def test_a_dataset_may_be_named_by_id_or_folder(settings: Settings, raw: Path, given: object) -> None:
    (line,) = ask(settings, "nnunet_datasets", dataset_id=given)["datasets"]

    assert line["dataset_id"] == 1
