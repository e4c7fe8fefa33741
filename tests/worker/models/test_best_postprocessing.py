"""The postprocessing that improves the Dice, against nnU-Net's own function on the same files."""

import json
import shutil
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import SimpleITK

from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.worker.best_postprocessing import determine_postprocessing
from nnunet_mcp.worker.progress import Reporter, StopRequested

Boxes = dict[tuple[int, int], int]  # from, to along one axis: label
LABELS = {"background": 0, "a": 1, "b": 2, "c": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3}
TRUTH: Boxes = {(2, 6): 1, (6, 9): 2, (9, 12): 3}
PLANS = {
    "dataset_name": "Dataset001_Tiny",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "configurations": {},
}


def write(path: Path, boxes: Boxes) -> None:
    found = numpy.zeros((20, 6, 5), dtype=numpy.uint8)
    for (begins, ends), label in boxes.items():
        found[begins:ends, 1:4, 1:4] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(found), path)


def measured(folder: Path, labels: dict[str, Any], wrong: Boxes) -> tuple[str, str, str, str]:
    """Two predictions, the first with something wrong in it, measured as the search has done by then."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    shutil.rmtree(folder, ignore_errors=True)
    predictions, truth = folder / "predictions", folder / "truth"
    for case, more in (("one", wrong), ("two", {})):
        write(truth / f"{case}.nii.gz", TRUTH)
        write(predictions / f"{case}.nii.gz", {**TRUTH, **more})
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
    manager = LabelManager(labels, order := [1, 2, 3][: len(labels) - 1])
    described = {"plans.json": PLANS, "dataset.json": {**description, "regions_class_order": order}}
    for name, content in described.items():
        (predictions / name).write_text(json.dumps(content), "utf-8")
    classes = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    summary = str(predictions / "summary.json")
    compute_metrics_on_folder(
        str(truth), str(predictions), summary, SimpleITKIO(), ".nii.gz", classes, manager.ignore_label, 1
    )
    return str(predictions), str(truth), str(predictions / "plans.json"), str(predictions / "dataset.json")


def left(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools of threads: nnU-Net's processes each import for seconds."""
    context = SimpleNamespace(Pool=ThreadPool)
    for name in ("postprocessing.remove_connected_components", "evaluation.evaluate_predictions"):
        monkeypatch.setattr(f"nnunetv2.{name}.multiprocessing", SimpleNamespace(get_context=lambda _: context))


@pytest.fixture
def reporter(tmp_path: Path) -> Iterator[Reporter]:
    (tmp_path / "stage").mkdir()
    yield Reporter(StageDir(tmp_path / "stage"), tmp_path / "cancel.json")


@pytest.mark.parametrize(
    ("labels", "wrong", "steps"),
    [
        pytest.param(LABELS, {}, [], id="nothing to improve"),
        pytest.param({"background": 0, "a": 1}, {(17, 18): 1}, [[1]], id="the only label"),
        pytest.param(LABELS, {(6, 9): 0}, [], id="a label would be worse"),
        pytest.param(LABELS, {(2, 12): 0}, [], id="nothing predicted"),
        pytest.param(LABELS, {(12, 13): 2, (17, 18): 1}, [[1, 2, 3], 2], id="the whole, then a label"),
        pytest.param(LABELS, {(12, 13): 1, (13, 14): 2}, [1, 2], id="two labels"),
        pytest.param({"background": 0, "a": 1, "b": 2, "ignore": 3}, {(12, 13): 1}, [[1, 2]], id="an ignore label"),
        pytest.param(REGIONS, {(12, 13): 1, (13, 14): 3}, [[2, 3]], id="regions"),
    ],
)
def test_what_is_found_and_left_is_nnunets(
    tmp_path: Path, reporter: Reporter, labels: dict[str, Any], wrong: Boxes, steps: list[Any]
) -> None:
    from nnunetv2.postprocessing import remove_connected_components as theirs

    files = measured(tmp_path / "search", labels, wrong)
    theirs.determine_postprocessing(*files, 1, True)
    wanted = left(tmp_path / "search")

    files = measured(tmp_path / "search", labels, wrong)
    determine_postprocessing(*files, 1, True, reporter=reporter)

    found = left(tmp_path / "search")
    assert list(found) == list(wanted)
    assert {name for name, content in wanted.items() if found[name] != content} == set()
    told = json.loads(found["predictions/postprocessing.json"])["postprocessing_kwargs"]
    assert [one["labels_or_regions"] for one in told] == steps


def test_a_stop_is_heard_after_each_case(tmp_path: Path, reporter: Reporter) -> None:
    files = measured(tmp_path / "search", LABELS, {(12, 13): 1})
    (tmp_path / "cancel.json").touch()

    with pytest.raises(StopRequested):
        determine_postprocessing(*files, 1, True, reporter=reporter)

    progress = StageDir(tmp_path / "stage").progress()
    assert progress is not None and (progress.phase, progress.done, progress.total) == (
        "determining the postprocessing",
        0,
        6,
    )
