"""What a picture of a case shows, seen in the figure: scale, marks, slices, contours, numbers and words."""

import itertools
from pathlib import Path
from typing import Any

import numpy
import pytest
import SimpleITK
from matplotlib.colors import to_rgb
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from PIL import Image

from nnunet_mcp.schemas.plots import CasePicture, CasesPicture, ClassScore
from nnunet_mcp.worker.asks.pictures import cases
from nnunet_mcp.worker.asks.pictures.style import COLOURS, CONFUSED, EXTRA, MISSED

SPACING = (0.5, 1.0, 4.0)  # x, y, z in mm
# Machado et al. 2009, doi:10.1109/TVCG.2009.113: linear RGB as seen without one of the three kinds of cones.
CONES = {
    "all": numpy.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def boxes(*places: tuple[int, int, int]) -> Any:
    """Labels 1, 2, …, each a block of 4 x 12 x 24 voxels (z, y, x), which is 16 x 12 x 12 mm, from a corner on."""
    labels = numpy.zeros((20, 60, 120), "uint8")
    for value, (z, y, x) in enumerate(places, 1):
        labels[z : z + 4, y : y + 12, x : x + 24] = value
    return labels


def saved(folder: Path, name: str, array: Any) -> str:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(SPACING)
    SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))
    return str(folder / f"{name}.nii.gz")


def drawn(folder: Path, truth: Any, prediction: Any, **more: Any) -> Figure:
    """The figure of one case, laid out."""
    image, seen = saved(folder, "image", (truth * 50).astype("int16")), saved(folder, "truth", truth)
    scores = more.pop("scores", ())
    found = saved(folder, "prediction", prediction)
    case = CasePicture(name="a", image=image, truth=seen, prediction=found, scores=scores)
    names = more.pop("names", {1: "liver", 2: "tumour"})
    figure = cases.draw(CasesPicture(title="a case", cases=(case,), names=names, **more))
    figure.canvas.draw()
    return figure


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def contours(axes: Any) -> list[tuple[Any, ...]]:
    """The colour and the bounds (x, y, width, height) in mm of each contour in a panel."""
    found = [drawn for drawn in axes.collections if isinstance(drawn, QuadContourSet)]
    return [(tuple(one.get_edgecolor()[0][:3]), *one.get_paths()[0].get_extents().bounds) for one in found]


def test_no_class_has_the_colour_of_an_error_for_whichever_eyes() -> None:
    def far(one: str, other: str) -> float:
        return min(float(numpy.linalg.norm(lab(one, cones) - lab(other, cones))) for cones in CONES.values())

    def lab(name: str, cones: Any) -> Any:
        linear = numpy.array(
            [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(name)]
        )
        seen = numpy.clip(numpy.array(cones) @ linear, 0, 1)
        to_xyz = numpy.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
        xyz = to_xyz @ seen / (0.9505, 1, 1.089)
        f = numpy.where(xyz > 216 / 24389, numpy.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
        return numpy.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    errors = (MISSED, EXTRA, CONFUSED)
    assert min(far(one, other) for one, other in itertools.combinations(COLOURS, 2)) > 15
    assert min(far(one, other) for one, other in itertools.product(errors, COLOURS)) > 20
    assert min(far(one, other) for one, other in itertools.combinations(errors, 2)) > 40


def test_all_planes_have_one_scale_with_a_bar_and_the_lines_where_they_cut(tmp_path: Path) -> None:
    truth = boxes((6, 20, 40))
    truth[6:10, 20:32, 30:90] = 1  # 30 mm from right to left

    figure = drawn(tmp_path, truth, truth)

    first, panels = figure.axes[::4][:3], figure.axes
    scales = {round(axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0], 2) for axes in panels}
    high = {round(axes.transData.transform((0, 0))[1] - axes.transData.transform((0, 1))[1], 2) for axes in panels}
    assert len(scales | high) == 1
    assert [axes.get_title() for axes in first] == ["axial, 7 of 20", "coronal, 21 of 60", "sagittal, 31 of 120"]
    # The contour in each plane has the size of the box in mm, and the other planes' lines cross it.
    for axes, size in zip(figure.axes[1::4], [(30, 12), (30, 16), (12, 16)], strict=True):
        ((_, x, y, *found),) = contours(axes)
        assert found == pytest.approx(size, abs=0.01)
        image: Any = figure.axes[figure.axes.index(axes) - 1]
        across, down, bar = image.lines
        assert x < across.get_xdata()[0] < x + size[0] and y < down.get_ydata()[0] < y + size[1]
        (said,) = [
            text.get_text() for text in figure.axes[figure.axes.index(axes) - 1].texts if "mm" in text.get_text()
        ]
        assert said == f"{numpy.ptp(bar.get_xdata()):g} mm"


def test_a_picture_is_measured_in_pixels_whatever_its_file_says_of_inches(tmp_path: Path) -> None:
    for name, pixels in (("image", 200), ("truth", 1)):
        array = numpy.zeros((60, 80), "uint8")
        array[20:40, 20:40] = pixels
        Image.fromarray(array).save(tmp_path / f"{name}.png", dpi=(300, 300))
    case = CasePicture(name="a", image=str(tmp_path / "image.png"), truth=str(tmp_path / "truth.png"))

    figure = cases.draw(CasesPicture(title="a", cases=(case,), names={1: "cell"}))

    assert [text.get_text() for text in figure.axes[0].texts] == ["5 px"]


def test_a_stack_of_tiff_is_measured_in_mm_where_the_file_beside_it_tells_a_spacing(tmp_path: Path) -> None:
    labels = SimpleITK.GetImageFromArray(boxes((6, 20, 40)))
    SimpleITK.WriteImage(labels, str(tmp_path / "a.tif"))
    case = CasePicture(name="a", image=str(tmp_path / "a.tif"), truth=str(tmp_path / "a.tif"))
    bars = []
    for beside in ('{"spacing": [4, 1, 0.5]}', '{"spacing": [4, "wide", NaN]}', "[]"):
        (tmp_path / "a.json").write_text(beside, "utf-8")
        figure = cases.draw(CasesPicture(title="a", cases=(case,), names={1: "cell"}))
        bars.append(figure.axes[0].texts[-1].get_text())

    assert bars == ["5 mm", "10 px", "10 px"]


def test_each_class_is_seen_in_some_slice_and_slices_are_shared(tmp_path: Path) -> None:
    truth = boxes((1, 10, 10), (12, 10, 10), (12, 40, 80), (15, 40, 10))
    truth[1:5, 8:40, 8:50] = 1  # the largest

    seen = drawn(tmp_path, truth, truth, names={1: "a", 2: "b", 3: "c", 4: "d"})

    slices = [title for title in titles(seen) if " of 20" in title]
    assert slices == ["axial, 2 of 20", "axial, 16 of 20"]  # in the 16th all of b, c and d lie
    assert len(contours(seen.axes[-3])) == 3
    fewer = drawn(tmp_path, truth, truth, names={1: "a", 2: "b", 3: "c", 4: "d"}, more_slices=0)
    assert [title for title in titles(fewer) if " of 20" in title] == ["axial, 2 of 20"]
    assert "In none of these slices: c" in fewer.get_suptitle()


def test_each_class_has_its_dice_and_both_volumes_and_an_empty_prediction_is_said(tmp_path: Path) -> None:
    truth = boxes((6, 20, 40), (12, 20, 40))
    scores = (
        ClassScore(label="liver", dice=0.5, voxels=(0, 1152)),
        ClassScore(label="tumour", dice=None, voxels=(0, 1152)),
        ClassScore(label="whole", dice=0.25),
    )

    figure = drawn(tmp_path, truth, numpy.zeros_like(truth), scores=scores)

    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[:3] == [
        "liver: Dice 0.500, truth 2.3 ml, predicted nothing",
        "tumour: no Dice, truth 2.3 ml, predicted nothing",
        "whole: Dice 0.250",
    ]
    assert "The prediction is empty: it has nothing but background." in figure.get_suptitle()
    assert "prediction: none here" in titles(figure)
    assert figure.legends[0].get_window_extent().x0 >= 0


def test_areas_are_drawn_under_the_contours_where_they_are_asked_for(tmp_path: Path) -> None:
    truth = boxes((6, 20, 40))

    plain, filled = (drawn(tmp_path, truth, truth, filled=filled) for filled in (False, True))

    assert [len(axes.images) for axes in plain.axes[:4]] == [1, 1, 1, 2]
    assert [len(axes.images) for axes in filled.axes[:4]] == [1, 2, 2, 2]
    assert contours(plain.axes[1]) == contours(filled.axes[1]) and len(contours(plain.axes[1])) == 1


def test_forty_classes_differ_in_colour_and_stroke_as_long_as_that_goes_and_the_legend_says_so(tmp_path: Path) -> None:
    truth = boxes()
    for value in range(40):
        truth[:, (value // 8) * 12 : (value // 8) * 12 + 10, (value % 8) * 15 : (value % 8) * 15 + 12] = value + 1

    figure = drawn(tmp_path, truth, truth, names={value: f"class {value}" for value in range(1, 41)})

    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[:2] == ["class 1", "class 2"] and "and 28 more" in labels
    assert "more than 24 classes: looks repeat" in legend.get_title().get_text()
    looks = {(str(line.get_color()), line.get_linestyle()) for line in legend.get_lines()[:12]}
    assert len(looks) == 12
