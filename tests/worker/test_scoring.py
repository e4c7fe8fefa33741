"""Scores against nnU-Net's own evaluation, and surfaces against distances worked out by hand."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy.ndimage import binary_erosion, distance_transform_edt
from tifffile import imwrite

from nnunet_mcp.worker.scoring import Pair, Wanted, remarks_of, score_case, summary_of
from nnunet_mcp.worker.surfaces import surface_of
from tests.kit.tiny import save

SPACING = (3.0, 1.5, 1.0)
Mask = Any


def box(*ends: tuple[int, int], shape: tuple[int, ...] = (16, 18, 20)) -> Mask:
    found = numpy.zeros(shape, dtype=bool)
    found[tuple(slice(*end) for end in ends)] = True
    return found


def ball(centre: tuple[float, ...], radius: float) -> Mask:
    axes = numpy.indices((16, 18, 20))
    squares = [(spacing * (axis - middle)) ** 2 for axis, middle, spacing in zip(axes, centre, SPACING, strict=True)]
    found: Mask = sum(squares) <= radius**2
    return found


def by_hand(truth: Mask, prediction: Mask, spacing: tuple[float, ...], tolerance: float) -> tuple[float, float]:
    """HD95 and NSD from the distance of each boundary voxel to the other boundary."""
    edges = [mask & ~binary_erosion(mask) for mask in (truth, prediction)]
    away = [distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = away[1][edges[0]], away[0][edges[1]]
    within = int((there <= tolerance).sum() + (back <= tolerance).sum())
    return max(numpy.percentile(there, 95), numpy.percentile(back, 95)), within / (there.size + back.size)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("truth", "prediction", "tolerance"),
    [
        (ball((8, 9, 10), 9.0), ball((8, 10, 11), 8.0), 1.0),
        (ball((8, 9, 10), 9.0), box((2, 14), (3, 15), (3, 17)), 2.5),
        (box((0, 16), (0, 18), (0, 20)), box((0, 5), (2, 9), (2, 9)), 4.0),  # up to the border of the image
        (box((3, 4), (3, 4), (3, 4)), box((9, 10), (3, 4), (3, 4)), 18.0),  # single voxels, 18 mm apart
    ],
)
def test_surfaces_are_as_worked_out_by_hand(truth: Mask, prediction: Mask, tolerance: float) -> None:
    found = surface_of(truth, prediction, spacing=SPACING, tolerance_mm=tolerance)

    assert (found.hd95_mm, found.nsd) == pytest.approx(by_hand(truth, prediction, SPACING, tolerance), abs=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize(("axis", "steps", "millimetres"), [(0, 2, 6.0), (1, 2, 3.0), (2, 3, 3.0)])
def test_a_box_moved_along_an_axis_is_as_far_away_as_the_spacing_says(
    axis: int, steps: int, millimetres: float
) -> None:
    truth = box((4, 9), (4, 9), (4, 9))

    found = surface_of(truth, numpy.roll(truth, steps, axis), spacing=SPACING, tolerance_mm=millimetres)
    flat = surface_of(truth[5:6], numpy.roll(truth[5:6], steps, 1), spacing=SPACING, tolerance_mm=1.0)

    assert found.hd95_mm == pytest.approx(millimetres) and found.nsd == 1.0
    assert flat.hd95_mm == pytest.approx(steps * SPACING[1]), "a single slice is measured in its plane"


@pytest.mark.heavy
def test_equal_and_empty_masks_have_the_values_that_the_documentation_says() -> None:
    mask, empty = box((4, 9), (4, 9), (4, 9)), box((0, 0))
    values = {}
    for name, (truth, prediction) in {"same": (mask, mask), "one": (mask, empty), "none": (empty, empty)}.items():
        found = surface_of(truth, prediction, spacing=SPACING, tolerance_mm=1.0)
        values[name] = (found.hd95_mm, found.nsd)

    assert values == {"same": (0.0, 1.0), "one": (None, 0.0), "none": (None, None)}


@pytest.fixture
def segmentations(downloads: Path) -> list[Pair]:
    """Random classes; class 3 is in one case only, and 4 is ignored."""
    random, pairs = numpy.random.default_rng(0), []
    for number in range(3):
        files = [downloads / part / f"case_{number}.nii.gz" for part in ("predictions", "labels")]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            save(file, random.integers(0, 4 if number == 1 else 3, (6, 7, 8)).astype(numpy.uint8))
        pairs.append(Pair(f"case_{number}", str(files[0]), str(files[1])))
    return pairs


def test_surfaces_that_cannot_be_measured_cost_no_score(
    segmentations: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*masks: Any, **options: Any) -> Any:
        raise ImportError("cannot import name 'x' from 'monai'")

    monkeypatch.setattr("nnunet_mcp.worker.scoring.surface_of", broken)

    found = score_case(segmentations[0], Wanted(classes=(1, 2), tolerance_mm=1.0))

    assert not found.fault and found.entry["metrics"][1]["Dice"] > 0
    assert not found.surface and "monai" in found.no_surface


@pytest.mark.parametrize("spacing", [None, (3.0, 1.0, 1.0)])
def test_a_stack_of_tiff_slices_has_a_volume_only_with_its_spacing(
    downloads: Path, spacing: tuple[float, ...] | None
) -> None:
    files = [downloads / part / "case.tif" for part in ("predictions", "labels")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        imwrite(file, box((2, 5), (2, 5), (2, 5), shape=(8, 9, 10)).astype(numpy.uint8))
        if spacing is not None:
            file.with_suffix(".json").write_text(json.dumps({"spacing": spacing}), encoding="utf-8")

    found = score_case(Pair("case", *map(str, files)), Wanted(classes=(1,)))

    assert not found.fault and found.voxel_ml == (None if spacing is None else 0.003)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "a": 1, "b": 2, "c": 3},
        {"background": 0, "a": 1, "b": 2, "ignore": 3},
        {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3},
    ],
    ids=["labels", "ignore", "regions"],
)
def test_a_summary_is_what_nnunets_own_command_writes(segmentations: list[Pair], labels: dict[str, Any]) -> None:
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder, save_summary_json
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    manager = LabelManager(labels, [1, 2, 3])
    classes = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    truth, predicted = (Path(file).parent for file in (segmentations[0].reference, segmentations[0].prediction))
    theirs, ours = truth.parent / "theirs.json", truth.parent / "ours.json"
    compute_metrics_on_folder(
        str(truth), str(predicted), str(theirs), SimpleITKIO(), ".nii.gz", classes, manager.ignore_label, 1
    )

    wanted = Wanted.of(labels)
    save_summary_json(summary_of([score_case(pair, wanted) for pair in segmentations], wanted), str(ours))

    assert ours.read_text("utf-8") == theirs.read_text("utf-8")
    assert json.loads(ours.read_text("utf-8"))["foreground_mean"]["Dice"] > 0


def test_copies_of_the_labels_are_told(segmentations: list[Pair]) -> None:
    first, second, *_ = segmentations
    scores = [
        score_case(pair, Wanted(classes=(1, 2))) for pair in (Pair("copy", first.reference, first.reference), second)
    ]

    (told,) = (remark for remark in remarks_of(scores) if "copies" in remark)
    assert "copy" in told and second.case not in told
