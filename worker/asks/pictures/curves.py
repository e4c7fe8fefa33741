"""Learning curves: losses, pseudo Dice with its moving average, learning rate; several trainings overlaid."""

from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ....schemas.plots import Curve, CurvesPicture, Numbers
from .style import COLOURS, INK, NothingToShow, colour, dress, legend, new_figure, png, title

TRAIN, VALIDATION = COLOURS[0], COLOURS[3]
LARGEST = 1e30


def draw(picture: CurvesPicture) -> bytes:
    """Three plots below each other, over the same epochs."""
    if not any(curve.epochs for curve in picture.curves):
        raise NothingToShow("No epoch has ended yet, so there is no curve.")
    figure = new_figure(7.2, picture.theme)
    title(figure, picture.title, picture.theme)
    loss, dice, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    alone = len(picture.curves) == 1
    for number, curve in enumerate(picture.curves):
        _losses(loss, curve, number, alone)
        _dice(dice, curve, number, alone)
        _line(rate, curve.epochs, curve.learning_rate, color=INK[picture.theme] if alone else colour(number))
    for axes in (loss, dice):
        _resumes(axes, picture)
    _finish(figure, (loss, dice, rate), picture)
    return png(figure)


def _losses(axes: Any, curve: Curve, number: int, alone: bool) -> None:
    train, validation = (TRAIN, VALIDATION) if alone else (colour(number), colour(number))
    _line(axes, curve.epochs, curve.train_loss, color=train, label="training" if alone else curve.label)
    _line(axes, curve.epochs, curve.val_loss, color=validation, linestyle="--", label="validation" if alone else None)


def _dice(axes: Any, curve: Curve, number: int, alone: bool) -> None:
    drawn = TRAIN if alone else colour(number)
    dots = {"marker": ".", "linestyle": "", "markersize": 3, "alpha": 0.35, "color": drawn}
    axes.plot(curve.epochs, _finite(curve.pseudo_dice), **dots, label="epoch" if alone else None)
    _line(axes, curve.epochs, curve.moving_average, color=drawn, label="moving average" if alone else curve.label)


def _line(axes: Any, epochs: Sequence[int], values: Numbers, **style: Any) -> None:
    few = {"marker": "o", "markersize": 3} if len(epochs) < 4 else {}
    axes.plot(epochs, _finite(values), linewidth=1.5, **few, **style)


def _finite(values: Numbers) -> Any:
    """The values, with gaps where an axis cannot show the number."""
    numbers = numpy.array([numpy.nan if value is None else value for value in values], dtype=float)
    return numpy.where(numpy.abs(numbers) < LARGEST, numbers, numpy.nan)


def _resumes(axes: Any, picture: CurvesPicture) -> None:
    epochs = sorted({epoch for curve in picture.curves for epoch in curve.resumed_at})
    for number, epoch in enumerate(epochs):
        label = "resumed" if number == 0 else None
        axes.axvline(epoch - 0.5, color=INK[picture.theme], alpha=0.7, linewidth=1, linestyle=(0, (4, 3)), label=label)


def _finish(figure: Figure, plots: Sequence[Any], picture: CurvesPicture) -> None:
    loss, dice, rate = plots
    alone = len(picture.curves) == 1
    loss.set_ylabel("loss" if alone else "loss (validation dashed)")
    dice.set_ylabel("pseudo Dice (on patches)")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    for axes in plots:
        dress(axes, picture.theme)
        if not any(numpy.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
            axes.text(0.5, 0.5, "no finite values", ha="center", va="center", transform=axes.transAxes)
            axes.texts[-1].set_color(INK[picture.theme])
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    if alone:
        legend(loss, picture.theme)
        legend(dice, picture.theme)
    else:  # below everything: the names of several runs would lie over their lines
        handles, _ = loss.get_legend_handles_labels()
        legend(figure, picture.theme, handles, loc="outside lower center", ncols=2)
