"""What a cascade needs besides its own folds: 3d_lowres folds that predict every case for it."""

from collections.abc import Iterable

from ...calls import argument
from ...errors import Refused
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.preprocessed import CASCADE, LOWRES
from ...nnunet.splits import FoldCases, other_cases
from ...schemas.records import StageSpec
from ...texts import some
from .folds import Folds, refuse_training_by_hand


def lowres_stages(
    files: DatasetFiles, trainer: str, plans: str, folds: Folds, needs: tuple[str, ...]
) -> list[StageSpec]:
    """A stage for each 3d_lowres fold of the split that is yet to be trained, or to predict.

    Raises:
        Refused: a fold that is there was trained on other cases, or is being trained by hand.
    """
    predictions = files.model(trainer, plans, LOWRES) / "predicted_next_stage" / CASCADE
    predicted = {path.stem for path in predictions.glob("*.b2nd")}
    stages = []
    for fold in folds.every:
        there = FoldFiles(files.fold(trainer, plans, LOWRES, fold))
        _check_lowres(fold, there, folds)
        if not (there.finished() and predicted.issuperset(folds.split[int(fold)].val)):
            refuse_training_by_hand(there)
            stages.append(_lowres_stage(fold, there, needs))
    return stages


def _lowres_stage(fold: str, files: FoldFiles, needs: tuple[str, ...]) -> StageSpec:
    trained = files.final.is_file()
    return StageSpec(
        name=f"lowres_fold_{fold}",
        kind="validate" if trained else "train",
        configuration=LOWRES,
        fold=fold,
        needs=needs,
        resume=not trained and bool(files.checkpoints()),
        detail="predict for the cascade" if trained else "train",
    )


def _check_lowres(fold: str, files: FoldFiles, folds: Folds) -> None:
    """Whether a 3d_lowres fold that is there predicts, for the cascade, the cases that the split holds out.

    Raises:
        Refused: it was trained on other cases, maybe on those that it would predict.
    """
    folds.refuse_missing(fold, folds.split[int(fold)])
    if difference := other_cases(files, folds.split[int(fold)]):
        raise Refused(
            f"3d_lowres {difference}. Train it again before the cascade: {argument(configuration='3d_lowres')}, "
            f"{argument(fold='all')}, {argument(overwrite=True)}."
        )


def refuse_unpredicted(folds: Folds, cases: Iterable[FoldCases | None]) -> None:
    """The cascade reads a 3d_lowres prediction of each of its cases, made by the fold that holds it out.

    Raises:
        Refused: no fold holds one of them out.
    """
    needed = frozenset[str]().union(*(one.every if one else folds.cases for one in cases))
    if missing := sorted(needed - frozenset[str]().union(*(fold.val for fold in folds.split))):
        raise Refused(
            "The cascade needs a 3d_lowres prediction of every case, and no fold of splits_final.json validates "
            f"{some(missing)}. Add them to the 'val' of a fold, or use {argument(configuration='3d_fullres')}."
        )
