"""What a drawing has in it, seen in the figure itself or in its pixels."""

import io
from typing import Any

import numpy
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nnunet_mcp.schemas.plots import Curve, CurvesPicture, FoldsPicture, Paper
from nnunet_mcp.worker.asks.pictures import curves, folds
from nnunet_mcp.worker.asks.pictures.style import colour
from nnunet_mcp.worker.asks.pictures.writing import written


def drawn(runs: int, epochs: int) -> Figure:
    """The figure with the curves of so many runs."""
    values = tuple(1 / (1 + number) for number in range(epochs))
    names = ("train_loss", "val_loss", "pseudo_dice", "moving_average", "learning_rate")
    numbers: dict[str, Any] = {"epochs": tuple(range(1, epochs + 1)), **dict.fromkeys(names, values)}
    made = tuple(Curve(label=f"d081-2d-f{run}-tttt fold {run}", **numbers) for run in range(runs))
    figure = curves.draw(CurvesPicture(title="runs", curves=made))
    figure.canvas.draw()
    return figure


def test_the_names_of_several_runs_lie_below_their_curves() -> None:
    figure = drawn(runs=6, epochs=30)

    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"d081-2d-f{run}-tttt fold {run}" for run in range(6)]
    assert all(axes.get_legend() is None for axes in figure.axes)
    assert legend.get_window_extent().y1 <= min(axes.get_window_extent().y0 for axes in figure.axes)


def test_two_epochs_are_numbered_1_and_2() -> None:
    *_, rate = drawn(runs=1, epochs=2).axes

    low, high = rate.get_xlim()
    assert [tick for tick in rate.get_xticks() if low <= tick <= high] == [1, 2]


def test_a_fold_with_one_case_has_its_colour() -> None:
    picture = FoldsPicture(title="folds", labels=("a",), folds={"0": ((0.5, 0.6, 0.7, 0.8),), "1": ((0.9,),)})

    pixels = numpy.asarray(Image.open(io.BytesIO(written(folds.draw(picture), Paper()))).convert("RGB"), dtype=int)

    above_the_legend = pixels[: int(0.75 * len(pixels))]
    wanted = numpy.array(to_rgb(colour(1))) * 255
    assert (abs(above_the_legend - wanted).sum(axis=2) < 60).sum() > 20
