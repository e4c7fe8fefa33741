"""What speaks against a result: which classes are missed, in which cases, and how much weight the numbers carry."""

import statistics
from collections.abc import Iterator, Sequence

from ..schemas.outcomes import MeasuredOutcome, ModelOutcome
from ..schemas.records import USUAL_EPOCHS, CaseMetrics
from ..schemas.results import HARDLY_ANY, far_under
from ..texts import NAMED, clean, numbered, some

# nnU-Net's own shorter trainers have 1, 5, 10, 20, 50 epochs and more (nnunetv2 2.8.1, nnUNetTrainer_Xepochs.py).
FEW_EPOCHS = 50
# One case of fewer carries more than a fifth of the mean.
FEW_CASES = 5


def remarks(measured: MeasuredOutcome, folds: Sequence[ModelOutcome]) -> Iterator[str]:
    """Sentences for the notes, the gravest first; none about a result that nothing speaks against."""
    dice = {line.label: line.dice for line in measured.per_class if line.dice is not None}
    hardly = {label: value for label, value in dice.items() if 0 < value < HARDLY_ANY}
    partly = [label for label in dice.keys() - hardly if dice[label] and _zeros(measured.cases, label)]
    yield from _first([_missed(measured, label) for label, value in dice.items() if value == 0], "of Dice 0")
    yield from _first([_overlaps(measured, label, value) for label, value in hardly.items()], "with hardly any overlap")
    pseudo, whole = last_pseudo_dice(folds), measured.metrics.dice if measured.metrics else None
    if far_under(whole, pseudo):
        yield (
            f"Dice {whole:.3f} is far under the last pseudo Dice ({pseudo:.3f}, moving average). That one pools the "
            "voxels of random patches, a third of them centred on foreground. Usual reasons: small structures, false "
            "positives elsewhere in whole images, cases with wrong labels or geometry. Look at the worst cases."
        )
    yield from _first([_missed(measured, label) for label in sorted(partly)], "of Dice 0 in some cases")
    yield from _weight(measured, folds)


def _first(sentences: Sequence[str], what: str) -> Iterator[str]:
    """The first sentences, and how many more classes there are; there may be a hundred."""
    yield from sentences[:NAMED]
    if len(sentences) > NAMED:
        yield f"{len(sentences) - NAMED} more classes {what}."


def last_pseudo_dice(folds: Sequence[ModelOutcome]) -> float | None:
    """nnU-Net's moving average of the pseudo Dice at the end of the trainings; null where one is unknown."""
    known = [fold.ema_pseudo_dice for fold in folds if fold.ema_pseudo_dice is not None]
    return statistics.fmean(known) if known and len(known) == len(folds) else None


def _zeros(cases: Sequence[CaseMetrics], label: str) -> list[CaseMetrics]:
    return [case for case in cases if case.per_class.get(label) == 0]


def _missed(measured: MeasuredOutcome, label: str) -> str:
    """In which cases a class has a Dice of 0, and what is predicted there."""
    zeros = _zeros(measured.cases, label)
    having = [case for case in measured.cases if case.per_class.get(label) is not None]
    if not zeros:
        return f"{clean(label)}: Dice 0 in every case."
    named = f" ({some([case.case for case in zeros])})" if len(zeros) < len(having) else ""
    return f"{clean(label)}: Dice 0 in {len(zeros)} of {len(having)} cases{named}{_volumes(measured, zeros, label)}."


def _overlaps(measured: MeasuredOutcome, label: str, dice: float) -> str:
    return f"{clean(label)}: Dice {dice:.3f}, hardly any overlap{_volumes(measured, measured.cases, label)}."


def _volumes(measured: MeasuredOutcome, zeros: Sequence[CaseMetrics], label: str) -> str:
    known = [case.voxels[label] for case in zeros if label in case.voxels]
    if not known:
        return ""
    predicted, true = (_volume(statistics.fmean(part), measured.voxel_mm3) for part in zip(*known, strict=True))
    if not any(voxels for voxels, _ in known):
        return f": no voxel of it is predicted, {true} a case are true"
    return f": {predicted} a case are predicted, {true} are true"


def _volume(voxels: float, voxel_mm3: float | None) -> str:
    return f"{voxels:,.0f} voxels" + (f" ({voxels * voxel_mm3 / 1000:.3g} mL)" if voxel_mm3 else "")


def _weight(measured: MeasuredOutcome, folds: Sequence[ModelOutcome]) -> Iterator[str]:
    """That a training was short, or that its cases are few."""
    epochs = min((fold.epochs_trained for fold in folds if fold.epochs_trained), default=USUAL_EPOCHS)
    cases = len(measured.cases)
    trained = f"{numbered(epochs, 'epoch')} (nnU-Net's usual is {USUAL_EPOCHS})" if epochs < FEW_EPOCHS else ""
    scored = numbered(cases, "case") if 0 < cases < FEW_CASES else ""
    if trained or scored:
        few = " and ".join(filter(None, (trained, scored)))
        yield f"Only {few}: a first impression, not a measurement of the method."
