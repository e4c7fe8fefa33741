"""Learning curves: losses, pseudo Dice with its moving average, learning rate; several trainings overlaid."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, SymmetricalLogLocator

from ....schemas.plots import Curve, CurvesPicture, Numbers
from .style import COLOURS, INK, MISSED, NothingToShow, columns, dress, legend, new_figure

# Yellow is lost on white; vermilion stands in for it.
LINES = (*COLOURS[:5], "#D55E00")
TRAIN, VALIDATION = COLOURS[4], COLOURS[1]
LARGEST = 1e30
# nnU-Net's loss lies between -1 and about 6 (2.8.1, compound_losses.py:50): beyond, the axis is logarithmic, so
# that a training that blew up still shows its course.
LINEAR_LOSS = 10.0
# More lines cannot be told apart.
CLASSES = 6
# So many epochs in a row without a hit are no accident of the patches.
UNHIT_EPOCHS = 3


def draw(picture: CurvesPicture) -> Figure:
    """Plots below each other, over the same epochs; of one training also the classes."""
    if not any(curve.epochs for curve in picture.curves):
        raise NothingToShow("No epoch has ended yet, so there is no curve.")
    alone = len(picture.curves) == 1
    classes = alone and len(picture.curves[0].classes) > 1
    shares = (3, 3, 3, 1) if classes else (3, 3, 1)
    figure = new_figure(7.2 + 2.2 * classes, picture)
    loss, dice, *of_classes, rate = figure.subplots(len(shares), 1, sharex=True, height_ratios=shares)
    for number, curve in enumerate(picture.curves):
        _losses(loss, curve, number, alone)
        _dice(dice, curve, number, alone)
        _line(rate, curve.epochs, curve.learning_rate, color=INK[picture.theme] if alone else _colour(number))
        _broken(loss, dice, curve, MISSED if alone else _colour(number))
    for axes in of_classes:
        _classes(axes, picture.curves[0])
    for axes in (loss, dice, *of_classes):
        _resumes(axes, picture)
    _finish(figure, (loss, dice, rate), of_classes, picture)
    return figure


def _colour(number: int) -> str:
    return LINES[number % len(LINES)]


def _losses(axes: Any, curve: Curve, number: int, alone: bool) -> None:
    train, validation = (TRAIN, VALIDATION) if alone else (_colour(number), _colour(number))
    _line(axes, curve.epochs, curve.train_loss, color=train, label="training" if alone else curve.label)
    _line(axes, curve.epochs, curve.val_loss, color=validation, linestyle="--", label="validation" if alone else None)


def _dice(axes: Any, curve: Curve, number: int, alone: bool) -> None:
    drawn = TRAIN if alone else _colour(number)
    dots = {"marker": ".", "linestyle": "", "markersize": 3, "alpha": 0.35, "color": drawn}
    axes.plot(curve.epochs, _finite(curve.pseudo_dice), **dots, label="epoch" if alone else None)
    _line(axes, curve.epochs, curve.moving_average, color=drawn, label="moving average" if alone else curve.label)


def _classes(axes: Any, curve: Curve) -> None:
    """The moving average of each class; of many classes those that end lowest, and last those never seen."""
    ends = {name: values[-1] for name, values in curve.classes.items()}
    lowest = sorted(ends, key=lambda name: (ends[name] is None, ends[name] or 0.0))[:CLASSES]
    for number, name in enumerate(name for name in ends if name in lowest):
        _line(axes, curve.epochs, curve.classes[name], color=_colour(number), label=name)


def _broken(loss: Any, dice: Any, curve: Curve, drawn: str) -> None:
    """Shade the epochs whose loss is not a number, and those in which only background was predicted."""
    lost = [value is None for value in curve.train_loss]
    unhit = [value is not None and value <= 0 for value in curve.pseudo_dice]
    for axes, bad, least, said in (
        (loss, lost, 1, "loss is not a number"),
        (dice, unhit, UNHIT_EPOCHS, "only background predicted"),
    ):
        for first, last in _spans(bad, least):
            across = (curve.epochs[first] - 0.5, curve.epochs[last] + 0.5)
            known = said in axes.get_legend_handles_labels()[1]
            axes.axvspan(*across, color=drawn, alpha=0.2, linewidth=0, label=None if known else said)


def _spans(bad: Sequence[bool], least: int) -> Iterator[tuple[int, int]]:
    """The first and last index of each series of at least so many."""
    for is_bad, members in groupby(enumerate(bad), key=lambda one: one[1]):
        numbers = [number for number, _ in members]
        if is_bad and len(numbers) >= least:
            yield numbers[0], numbers[-1]


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


def _stretch(loss: Any) -> None:
    """A logarithmic axis if there are losses that no network should have."""
    values = numpy.concatenate([line.get_ydata() for line in loss.get_lines()])
    low, high = (float(found(values, initial=0.0)) for found in (numpy.nanmin, numpy.nanmax))
    if max(high, -low) > LINEAR_LOSS:
        loss.set_yscale("symlog", linthresh=1.0)
        loss.set_ylim(low * 3 if low < -1 else -1.2, high * 3 if high > 1 else 1.2)
        loss.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1.0, subs=[1]))
        loss.yaxis.get_major_locator().set_params(numticks=6)


def _finish(figure: Figure, plots: Sequence[Any], of_classes: Sequence[Any], picture: CurvesPicture) -> None:
    loss, dice, rate = plots
    alone = len(picture.curves) == 1
    loss.set_ylabel("loss" if alone else "loss (validation dashed)")
    dice.set_ylabel("pseudo Dice (on patches)")
    rate.set_ylabel("learning rate")
    rate.set_xlabel("epoch")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    _stretch(loss)
    for axes in (loss, dice, *of_classes, rate):
        dress(axes, picture.theme)
        if not any(numpy.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
            axes.text(0.5, 0.5, "no finite values", ha="center", va="center", transform=axes.transAxes)
            axes.texts[-1].set_color(INK[picture.theme])
    for axes in (dice, *of_classes):
        axes.set_ylim(-0.03, 1.03)  # also of a training that learns nothing: 0 has to look like 0
    for axes in of_classes:
        axes.set_ylabel("per class (average)")
        every = len(picture.curves[0].classes)
        legend(axes, picture.theme, title=f"the lowest of {every}" if every > CLASSES else None)
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    if alone:
        legend(loss, picture.theme)
        legend(dice, picture.theme)
    else:  # below everything: the names of several runs would lie over their lines
        pairs = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in (loss, dice)]
        found = {label: handle for named in pairs for handle, label in named}
        placed = {"loc": "outside lower center", "ncols": columns(picture, list(found))}
        legend(figure, picture.theme, found.values(), **placed)
