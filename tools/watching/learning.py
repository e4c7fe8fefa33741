"""Does a training learn? Judged from its losses, its pseudo Dice per class and its learning rate.

Both slow starters and wrecks have a pseudo Dice of 0, so time decides: the share of the run, and how much was trained.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...schemas.progress import Health
from ...schemas.records import HIGHEST_RATE, NAN_EPOCHS, USUAL_RATE, Epoch, Progress

# nnU-Net's loss is cross entropy minus Dice (compound_losses.py:50), so at least -1. A network that guesses has a cross
# entropy of ln(classes): 5.7 for 300. A user's own loss may be higher, but then it falls.
GUESSING, ABSURD = 10.0, 1000.0
# Above the lowest loss so far. Patches differ, so early epochs need more; 480 iterations on Hippocampus wobble by 0.1.
RISE, EARLY_RISE = 0.2, 0.5
RISEN_EPOCHS, EARLY_EPOCHS = 5, 20
# nnU-Net v1 started anew where the Dice was still 0 at epoch 100 of 1000 (nnUNetTrainerV2.py, on_epoch_end).
LATE_SHARE = 0.1
# Short epochs count for less: a good training of 60 epochs of 8 iterations had 0 in both classes from epoch 2 to 15.
LATE_ITERATIONS, HALF = 2500, 0.5
# So many epochs in a row, and more than a lucky hit before: then a class was learnt and is lost.
LOST_EPOCHS, LEARNT = 10, 0.3
UNHIT_EPOCHS = 3
NAMED = 3


@dataclass(frozen=True)
class Course:
    """A training so far: its recent epochs, how many it is to have and of how many iterations, and its classes."""

    epochs: Sequence[Epoch]
    planned: int | None = None
    iterations: int | None = None
    names: Callable[[], Sequence[str]] = tuple

    @classmethod
    def of(
        cls, epochs: Sequence[Epoch], progress: Progress | None, names: Callable[[], Sequence[str]] = tuple
    ) -> "Course":
        if progress is None:
            return cls(epochs, names=names)
        return cls(epochs, progress.epochs, progress.iterations, names)

    @property
    def now(self) -> str:
        """The last epoch in words, counted from 1."""
        of = f" of {self.planned}" if self.planned else ""
        return f"epoch {self.epochs[-1].epoch + 1}{of}"

    def is_late(self, zeros: int) -> bool:
        """Whether so many epochs without a hit are more than a slow start."""
        if not self.planned or zeros < LOST_EPOCHS:
            return False
        share, trained = zeros / self.planned, zeros * (self.iterations or 0)
        return share >= HALF or (share >= LATE_SHARE and trained >= LATE_ITERATIONS)

    def named(self, classes: Sequence[int]) -> str:
        """The first classes by their place in nnU-Net's list, and how many more there are."""
        names = self.names()
        first = [names[number] if number < len(names) else f"class {number + 1}" for number in classes[:NAMED]]
        more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
        return ", ".join(first) + more

    def scores(self) -> Iterator[list[float]]:
        """The pseudo Dice of each class, without the epochs whose patches lack it."""
        classes = len(self.epochs[-1].pseudo_dice_per_class)
        for number in range(classes):
            lines = [e.pseudo_dice_per_class for e in self.epochs if len(e.pseudo_dice_per_class) == classes]
            yield [value for line in lines if (value := line[number]) is not None]


def not_a_number(course: Course) -> Health | None:
    """Gradients that overflow are left out by nnU-Net's GradScaler: the weights are sound while val_loss is finite."""
    last, recent = course.epochs[-1], course.epochs[-NAN_EPOCHS:]
    if last.train_loss is not None:
        return None
    detail = f"train_loss is not a number in {course.now}"
    if last.val_loss is None:
        return Health(verdict="nan", detail=f"{detail}, nor is val_loss: the weights are lost{_rate(last)}")
    again = len(recent) == NAN_EPOCHS and all(epoch.train_loss is None for epoch in recent)
    detail += f"; val_loss is {last.val_loss:.3f}, so the weights are sound: mixed precision overflowed in a step"
    return Health(verdict="nan" if again else "ok", detail=f"{detail}.")


def diverging(course: Course) -> Health | None:
    """A loss beyond what guessing costs, at once; a loss that rises, after a few epochs."""
    last, losses = course.epochs[-1], known(course.epochs, "train_loss")
    if last.train_loss is None:
        return None
    name, worst = max(("train_loss", last.train_loss), ("val_loss", last.val_loss or 0.0), key=lambda loss: loss[1])
    if worst > (GUESSING if is_hot(last) or worst > 2 * losses[0] else ABSURD):
        detail = f"{name} is {worst:.3g} in {course.now}; nnU-Net's lies between -1 and about 6"
        return Health(verdict="diverging", detail=f"{detail}{_rate(last)}")
    early = len(losses) < EARLY_EPOCHS
    recent, best = statistics.fmean(losses[-RISEN_EPOCHS:]), min(losses)
    if len(losses) <= RISEN_EPOCHS or recent - best <= (EARLY_RISE if early else RISE):
        return None
    detail = f"train_loss is {recent:.3f} on average, up from {best:.3f}"
    return Health(verdict="diverging", detail=f"{detail}{_rate(last)}")


def is_hot(epoch: Epoch) -> bool:
    """Whether its learning rate is higher than any of nnU-Net's."""
    return (epoch.learning_rate or 0.0) > HIGHEST_RATE


def _rate(epoch: Epoch) -> str:
    """The learning rate as the cause, where it is one."""
    return f". The learning rate is {epoch.learning_rate:.3g}; nnU-Net's is {USUAL_RATE}." if is_hot(epoch) else "."


def collapsed(course: Course) -> Health | None:
    """Nothing but background is predicted: for too long, or again after foreground was learnt."""
    zeros = _without_a_hit(course)
    before = known(course.epochs[: len(course.epochs) - zeros], "pseudo_dice")
    lost = zeros >= LOST_EPOCHS and max(before, default=0.0) >= LEARNT
    if not zeros or not (lost or course.is_late(zeros)):
        return None
    why = ". Usual causes: labels (0/255?), too little foreground, learning rate."  # nnU-Net's issues 2623 and 2318
    why = _rate(course.epochs[-1]) if is_hot(course.epochs[-1]) else why
    said = f"pseudo Dice is 0 in every class for {zeros} epochs ({course.now}): only background is predicted"
    return Health(verdict="collapsed", detail=f"{said}{why}")


def _without_a_hit(course: Course) -> int:
    """The last epochs in which no class was hit. A moving average of 0 proves it from the first epoch on."""
    last = course.epochs[-1]
    if last.ema_pseudo_dice == 0:
        return last.epoch + 1
    return _zeros([epoch.pseudo_dice for epoch in course.epochs if epoch.pseudo_dice is not None])


def _zeros(scores: Sequence[float]) -> int:
    return next((count for count, value in enumerate(reversed(scores)) if value > 0), len(scores))


def class_missing(course: Course) -> Health | None:
    """Classes that are not predicted while others are."""
    scores = list(course.scores())
    if not any(values and statistics.fmean(values[-RISEN_EPOCHS:]) >= LEARNT for values in scores):
        return None
    missing = []
    for number, values in enumerate(scores):
        zeros = _zeros(values)
        lost = zeros >= LOST_EPOCHS and max(values[: len(values) - zeros], default=0.0) >= LEARNT
        if lost or course.is_late(zeros):
            missing.append((number, zeros))
    if not missing:
        return None
    names = course.named([number for number, _ in missing])
    least = min(zeros for _, zeros in missing)
    detail = f"{names}: pseudo Dice 0 for {least} epochs ({course.now}) while other classes are learnt"
    return Health(verdict="class_missing", detail=f"{detail}. Look at the labels: rare, tiny or wrong?")


def not_yet(course: Course) -> str:
    """What is unusual, where it is too early to worry: a high learning rate, and classes that are not hit."""
    unusual = f" {_rate(course.epochs[-1])[2:]}" if is_hot(course.epochs[-1]) else ""
    scores = list(course.scores())
    zeros = {number: count for number, values in enumerate(scores) if (count := _zeros(values)) >= UNHIT_EPOCHS}
    if not zeros:
        return unusual
    names = "Every class" if len(zeros) == len(scores) else course.named(list(zeros))
    return f" {names}: pseudo Dice 0 in the last {min(zeros.values())} epochs, which is usual early on.{unusual}"


def known(epochs: Sequence[Epoch], name: str) -> list[float]:
    """The values of a field that are known."""
    return [value for epoch in epochs if (value := getattr(epoch, name)) is not None]
