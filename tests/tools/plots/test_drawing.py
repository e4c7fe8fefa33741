"""What a drawing has in it, seen in the figure itself or in its pixels."""

import io
from pathlib import Path
from typing import Any

import numpy
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from nnunet_mcp.schemas.plots import CasePicture, CasesPicture, Curve, CurvesPicture, FoldsPicture, Paper
from nnunet_mcp.worker.asks.pictures import cases, curves, folds
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


def collapsing(**more: Any) -> Curve:
    """Ten good epochs, a loss that blows up, then ten without a number in which only background is predicted."""
    losses: tuple[float | None, ...] = (*[0.5 - 0.1 * n for n in range(10)], 40.0, 1e6, *[None] * 10)
    dice = (*[0.08 * n for n in range(1, 11)], 0.5, 0.4, *[0.0] * 10)
    numbers = {"epochs": tuple(range(1, 23)), "train_loss": losses, "val_loss": losses, "pseudo_dice": dice}
    more = {"label": "fold 0", "moving_average": dice, "learning_rate": dice, **more}
    return Curve.model_validate({**numbers, **more})


def spans(axes: Any) -> dict[str, tuple[float, float]]:
    """The shaded epochs by what the legend says of them."""
    return {str(one.get_label()): (one.get_x(), one.get_x() + one.get_width()) for one in axes.patches}


def test_a_collapse_is_shaded_and_a_loss_that_blew_up_leaves_the_rest_readable() -> None:
    figure = curves.draw(CurvesPicture(title="run", curves=(collapsing(),)))

    loss, dice, _ = figure.axes
    assert spans(loss) == {"loss is not a number": (12.5, 22.5)}
    assert spans(dice) == {"only background predicted": (12.5, 22.5)}
    assert loss.get_yscale() == "symlog" and loss.get_ylim()[0] < -0.4 and loss.get_ylim()[1] > 1e6
    assert dice.get_ylim()[0] < 0 and dice.get_ylim()[1] > 1
    _, flat, _ = drawn(runs=1, epochs=5).axes
    assert not flat.patches and flat.get_ylim() == dice.get_ylim()


def test_of_many_classes_those_that_end_lowest_are_drawn_and_those_never_seen_come_last() -> None:
    known: dict[str, Any] = {"liver": (0.5, 0.55, 0.55, 0.495), "spleen": (None, 0.25, 0.25, 0.25)}
    short = {"epochs": (1, 2, 3, 4), **dict.fromkeys(("train_loss", "val_loss", "pseudo_dice"), (0.1,) * 4)}
    flat = {"moving_average": (0.1,) * 4, "learning_rate": (0.1,) * 4}
    unseen: dict[str, Any] = {f"never seen {number}": (None,) * 4 for number in range(3)}
    many = {**unseen, **{f"class {number}": (number / 10,) * 4 for number in range(8)}}

    two, more = (
        curves.draw(CurvesPicture(title="run", curves=(collapsing(**short, **flat, classes=classes),))).axes[2]
        for classes in (known, many)
    )

    lines: dict[str, Any] = {str(line.get_label()): line.get_ydata() for line in two.get_lines()}
    assert list(lines["liver"]) == [0.5, 0.55, 0.55, 0.495]
    assert numpy.isnan(lines["spleen"][0]) and lines["spleen"][3] == pytest.approx(0.25)
    lowest = {str(line.get_label()) for line in more.get_lines()}
    assert lowest == {f"class {number}" for number in range(6)}
    assert "the lowest of 11" in more.get_legend().get_title().get_text()  # type: ignore[union-attr]


def test_a_fold_with_one_case_has_its_colour() -> None:
    picture = FoldsPicture(title="folds", labels=("a",), folds={"0": ((0.5, 0.6, 0.7, 0.8),), "1": ((0.9,),)})

    pixels = numpy.asarray(Image.open(io.BytesIO(written(folds.draw(picture), Paper()))).convert("RGB"), dtype=int)

    above_the_legend = pixels[: int(0.75 * len(pixels))]
    wanted = numpy.array(to_rgb(colour(1))) * 255
    assert (abs(above_the_legend - wanted).sum(axis=2) < 60).sum() > 20


PINK, NUCLEI = (235, 180, 205), (150, 80, 170)


@pytest.mark.parametrize(("filled", "most_bytes"), [(False, 40_000), (False, 16_000), (True, 25_000)])
def test_a_stained_image_keeps_its_colours_and_so_do_its_classes(tmp_path: Path, filled: bool, most_bytes: int) -> None:
    labels = numpy.zeros((160, 160), "uint8")
    labels[40:90, 30:80], labels[110:126, 120:136] = 1, 2  # a large class and a small one
    noise = numpy.random.default_rng(0).normal(0, 12, (160, 160, 3))
    tissue = numpy.where((labels == 1)[..., None], NUCLEI, PINK) + noise
    for name, pixels in (("image", tissue.clip(0, 255).astype("uint8")), ("truth", labels)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    case = CasePicture(name="a", image=str(tmp_path / "image.png"), truth=str(tmp_path / "truth.png"))
    figure = cases.draw(CasesPicture(title="a", cases=(case,), names={1: "a", 2: "b"}, filled=filled))

    whole, small = (written(figure, Paper(most_bytes=most)) for most in (None, most_bytes))

    assert len(small) <= most_bytes < len(whole)
    was, now = (Image.open(io.BytesIO(png)).convert("RGB") for png in (whole, small))
    before, pixels = (numpy.asarray(image, dtype=int) for image in (was.resize(now.size), now))
    for tissue_colour in (PINK, NUCLEI):
        there = abs(before - numpy.array(tissue_colour)).max(axis=2) < 25
        assert there.sum() > 500 and abs((pixels[there] - before[there]).mean(axis=0)).max() < 5
    assert tuple(pixels[2, 2]) == (255, 255, 255)
    for number in (0, 1):
        wanted = numpy.array(to_rgb(colour(number))) * 255
        assert (abs(pixels[: int(0.8 * len(pixels))] - wanted).sum(axis=2) < 60).sum() > 20
