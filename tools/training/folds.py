"""Which folds a training has, with which cases, and whether folds that are there already go with them."""

from collections.abc import Iterable, Mapping, Set

from ...calls import argument
from ...errors import Refused
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.preprocessed import raw_cases
from ...nnunet.splits import (
    FoldCases,
    Split,
    other_cases,
    read_split,
    split_to_make,
    trained_cases,
    usual_split,
    validated_twice,
)
from ...schemas.training import TrainingRequest
from ...texts import some


class Folds:
    """The folds of a request.

    `preprocessed` has the cases that are preprocessed already where the training uses them as they are, with the
    split as it is; None where the raw data decide.

    Raises:
        Refused: the dataset has no such folds, or cases of them are missing.
    """

    def __init__(self, request: TrainingRequest, files: DatasetFiles, preprocessed: list[str] | None) -> None:
        self.request = request
        self.files = files
        self.cases = raw_cases(files) if preprocessed is None else preprocessed
        self.uses_old = preprocessed is not None
        self.split = self._find_split() or ()
        if not self.split and request.fold != "full":
            raise Refused(
                f"{files.name} has {len(self.cases)} training cases; a 5-fold cross-validation needs at least 5. Use "
                f"{argument(fold='full')} (one model on every case), add cases, or put a splits_final.json into the "
                "raw dataset folder."
            )

    def _find_split(self) -> Split | None:
        if self.uses_old:
            return read_split(self.files.splits_file) or usual_split(self.cases)
        return split_to_make(self.files)

    @property
    def every(self) -> tuple[str, ...]:
        """All folds of the split, as nnU-Net names them."""
        return tuple(map(str, range(len(self.split))))

    @property
    def wanted(self) -> tuple[str, ...]:
        """The folds that are asked for; "all" is nnU-Net's name of the model on every case."""
        if self.request.fold == "all":
            return self.every
        if self.request.fold == "full":
            return ("all",)
        if self.request.fold not in self.every:
            count = len(self.split)
            raise Refused(
                f"The split of {self.files.name} (splits_final.json) has {count} folds, so there is no fold "
                f"{self.request.fold}. Use fold '0'-'{count - 1}', 'all' or 'full'. (nnU-Net would silently train on a "
                "random split.)"
            )
        return (self.request.fold,)

    def cases_of(self, fold: str, trained: FoldFiles | None) -> FoldCases | None:
        """The cases that a fold uses: those a training that goes on began with, else the split's."""
        own = trained_cases(trained) if trained is not None else None
        return own or (None if fold == "all" else self.split[int(fold)])

    def check(self, fold: str, files: FoldFiles, *, goes_on: bool) -> str | None:
        """Whether the fold can be trained, or its training goes on, with cases that are there and are its own.

        Returns a note where it goes on with cases that are not the split's any more.

        Raises:
            Refused: it cannot; the message says the ways on.
        """
        cases = self.cases_of(fold, files if goes_on else None)
        self._refuse_missing(fold, cases)
        difference = other_cases(files, self.split[int(fold)]) if goes_on and fold != "all" else None
        if difference is None:
            return None
        if trained_cases(files) and (self.request.fold != "all" or self.request.validation_only):
            return f"{difference}. It goes on with the cases that it began with."
        raise Refused(f"{difference}. {self._ways_on(fold, files)}")

    def _refuse_missing(self, fold: str, cases: FoldCases | None) -> None:
        if cases is None or not (missing := sorted(cases.every - set(self.cases))):
            return
        where = "preprocessed" if self.uses_old else "in the raw dataset folder"
        raise Refused(
            f"Fold {fold} of {self.files.name} has {len(missing)} cases that are not {where}: {some(missing)}. Add "
            f"them, correct splits_final.json, or train the fold anew on other cases with {argument(overwrite=True)}."
        )

    def _ways_on(self, fold: str, files: FoldFiles) -> str:
        again = f"{argument(overwrite=True)} trains on the cases of now"
        old = read_split(self.files.splits_file) if not self.uses_old else None
        if old and int(fold) < len(old) and other_cases(files, old[int(fold)]) is None:
            return (
                f"Two ways on: {again}; {argument(no_preprocessing=True)} goes on with the data and the split as "
                "preprocessed."
            )
        return f"Two ways on: {again}; or put the old cases back, with their splits_final.json beside the raw data."

    def check_lowres(self, fold: str, files: FoldFiles) -> None:
        """Whether a 3d_lowres fold that is there predicts, for the cascade, the cases that the split holds out.

        Raises:
            Refused: it was trained on other cases, maybe on those that it would predict.
        """
        self._refuse_missing(fold, self.split[int(fold)])
        if difference := other_cases(files, self.split[int(fold)]):
            raise Refused(
                f"3d_lowres {difference}. Train it again before the cascade: {argument(configuration='3d_lowres')}, "
                f"{argument(fold='all')}, {argument(overwrite=True)}."
            )

    def refuse_unpredicted(self, cases: Iterable[FoldCases | None]) -> None:
        """The cascade reads a 3d_lowres prediction of each of its cases, made by the fold that holds it out.

        Raises:
            Refused: no fold holds one of them out.
        """
        needed = frozenset[str]().union(*(one.every if one else self.cases for one in cases))
        if missing := sorted(needed - frozenset[str]().union(*(fold.val for fold in self.split))):
            raise Refused(
                "The cascade needs a 3d_lowres prediction of every case, and no fold of splits_final.json validates "
                f"{some(missing)}. Add them to the 'val' of a fold, or use {argument(configuration='3d_fullres')}."
            )

    def refuse_overlap(self, held_out: Mapping[str, Set[str]]) -> None:
        """A cross-validation measures each case once.

        Raises:
            Refused: several folds hold out the same case.
        """
        if self.request.fold == "all" and (told := validated_twice(held_out)):
            raise Refused(
                f"{told}, so {argument(fold='all')} would end without a cross-validation. Correct splits_final.json, "
                "or train the folds one by one."
            )
