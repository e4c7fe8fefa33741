"""Which folds a training has, with which cases, and whether it may write their folders."""

from collections.abc import Iterable, Mapping, Set

from ...calls import argument, call
from ...errors import NotFound, Refused
from ...nnunet.best import made_from
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...nnunet.old_models import way_back
from ...nnunet.preprocessed import raw_cases
from ...nnunet.splits import (
    FoldCases,
    Split,
    begun_otherwise,
    idle_cases,
    other_cases,
    read_split,
    split_to_make,
    torn_patients,
    trained_cases,
    unusable,
    usual_split,
    validated_twice,
)
from ...nnunet.variants.in_checkpoints import said_at
from ...runs.by_hand import trained_by_hand_now
from ...schemas.training import TrainingRequest
from ...texts import numbered, some
from ..helping import about_idle, about_torn, before


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
                f"{files.name} has {numbered(len(self.cases), 'training case')}; a 5-fold cross-validation needs at "
                f"least 5. Use {argument(fold='full')} (one model on every case), add cases, or put a "
                "splits_final.json into the raw dataset folder."
            )

    def _find_split(self) -> Split | None:
        if self.uses_old:
            return read_split(self.files.splits_file) or usual_split(self.cases)
        return split_to_make(self.files)

    def refuse_renewed_split(self) -> None:
        """Whether the split is still the one that the training was planned with.

        Raises:
            Refused: it was written anew meanwhile.
        """
        if self.request.fold != "full" and (self._find_split() or ()) != self.split:
            raise Refused(
                f"The split of {self.files.name} was changed while this training was planned, and nothing was started. "
                "Call again: it is planned with the new split."
            )

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
                f"{self.request.fold}. Use fold '0'-'{count - 1}', 'all' or 'full'; "
                f"{call('nnunet_split_dataset', dataset_id=self.files.dataset_id, folds=None)} makes another number. "
                f"(nnU-Net would silently train on a random split.){self._other_split()}"
            )
        return (self.request.fold,)

    def notes(self) -> list[str]:
        """What is to be known of the split."""
        idle = idle_cases(self.split, self.cases) if self.split and self.request.fold != "full" else ""
        chosen = tuple(self.split[int(fold)] for fold in self.wanted if fold != "all")
        torn, pattern = torn_patients(chosen, self.cases)
        return [
            *([about_idle(self.files.dataset_id, idle)] if idle else []),
            *filter(None, [self._other_split().strip()]),
            *([about_torn(self.files.dataset_id, torn, pattern)] if torn else []),
        ]

    def _other_split(self) -> str:
        """Where preprocessed data are used with their split: whether the raw folder has another."""
        own = read_split(self.files.own_splits_file) if self.request.no_preprocessing else None
        if own is None or own == self.split:
            return ""
        return (
            f" The splits_final.json in the raw folder is another one, with {len(own)} folds: leave "
            f"{argument(no_preprocessing=None)} out to use it."
        )

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
        self.refuse_missing(fold, cases)
        if not goes_on and cases is not None:
            self._refuse_useless(fold, files, cases)
        difference = other_cases(files, self.split[int(fold)]) if goes_on and fold != "all" else None
        if difference is None:
            return None
        if trained_cases(files) and (self.request.fold != "all" or self.request.validation_only):
            return f"{difference}. It goes on with the cases that it began with."
        raise Refused(f"{difference}. {self._ways_on(fold, files)}")

    def _refuse_useless(self, fold: str, files: FoldFiles, cases: FoldCases) -> None:
        """A new training would measure nothing, or the model's other folds have another split."""
        if told := next(unusable(cases), ""):
            raise Refused(
                f"Fold {fold} of {self.files.name}'s splits_final.json {told}. Correct it, or "
                f"{call('nnunet_split_dataset', dataset_id=self.files.dataset_id)} makes a sound split."
            )
        alone = self.request.fold != "all" and not self.request.overwrite
        if alone and (begun := begun_otherwise(self.files, self.split, files.path.parent.name)):
            raise Refused(
                f"{some(begun)} began with another split than fold {fold} would have, so they could never be one "
                f"cross-validation. Put the old split back; or {argument(overwrite=True)} trains on the split of now."
            )

    def check_target(self, files: FoldFiles) -> None:
        """Whether the training may write this fold folder.

        Raises:
            NotFound, Refused: somebody else writes it, or what is there would be lost or is lacking.
        """
        refuse_training_by_hand(files)
        if self.request.validation_only:
            _require_trained(files, best=self.request.val_best)
        elif self.request.continue_training:
            self._check_resume(files)
        elif not self.request.overwrite:
            _refuse_overwriting(files, self.rests_on([files]))

    def rests_on(self, overwritten: Iterable[FoldFiles]) -> str:
        """What was made of finished folds that are to be trained again, as a sentence; empty where there is nothing."""
        done = [files for files in overwritten if files.finished()]
        names = [files.path.name.removeprefix("fold_") for files in done]
        made = made_from(self.files, done[0].path.parent.name, names) if done else ""
        return f"Made of the present model, and as it is also after another training: {made}." if made else ""

    def _check_resume(self, files: FoldFiles) -> None:
        if files.finished():
            raise Refused(
                f"{files.path} is trained and validated: there is nothing to continue. Use "
                f"{argument(validation_only=True)} to validate again, or {argument(overwrite=True)} to train again. "
                f"For more epochs: {argument(trainer='nnUNetTrainer_2000epochs')} trains longer from the start, and "
                f"{argument(pretrained_weights=str(files.final))} with another trainer starts from this model."
            )
        if not files.checkpoints() and self.request.fold != "all":
            raise NotFound(
                f"There is no checkpoint in {files.path} to continue from. Leave {argument(continue_training=None)} "
                "out to start from scratch."
            )
        lean = next((path for path in files.checkpoints()[:1] if not said_at(path).resumable), None)
        if lean:
            raise Refused(
                f"{lean} came from a zip without the state of the optimizer, so its training cannot go on. "
                f"{argument(pretrained_weights=str(lean))} starts another training from its weights; or import a zip "
                f"that was exported with {argument(include=['optimizer'])}."
            )

    def refuse_missing(self, fold: str, cases: FoldCases | None) -> None:
        """Whether all cases of a fold are there.

        Raises:
            Refused: some are not.
        """
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


def split_changed(files: DatasetFiles) -> bool:
    """Whether preprocessing would put another split beside its data."""
    return split_to_make(files) != read_split(files.splits_file)


def refuse_training_by_hand(files: FoldFiles) -> None:
    """Somebody else's nnUNetv2_train may be at work there.

    Raises:
        Refused: it is.
    """
    if trained_by_hand_now(files.path):
        raise Refused(
            f"{files.path} is being trained by an nnUNetv2_train that was started by hand. Wait for it, stop it in "
            "its terminal, or choose another fold."
        )


def _require_trained(files: FoldFiles, *, best: bool) -> None:
    if not files.final.is_file():
        if old := way_back(files):
            raise Refused(f"There is no finished training in {files.path} to validate. {before(**old)}")
        way = f"{argument(continue_training=True)} finishes it" if files.checkpoints() else "train it first"
        raise Refused(f"There is no finished training in {files.path} to validate: {way}.")
    if best and not files.best.is_file():
        raise NotFound(
            f"{files.best} does not exist, so {argument(val_best=None)} has nothing to validate. Leave "
            f"{argument(val_best=None)} out."
        )


def _refuse_overwriting(files: FoldFiles, rests: str) -> None:
    if old := way_back(files):
        raise Refused(
            f"{files.path} was being trained again by a run that is gone. {before(**old)} {argument(overwrite=True)} "
            "starts again."
        )
    if files.final.is_file():
        raise Refused(
            f"{files.path} has a finished model. Three ways on: {argument(validation_only=True)} validates it again, "
            f"{argument(overwrite=True)} trains again (the old model is kept until the new one is ready), or choose "
            f"another fold. {rests}".rstrip()
        )
    if files.checkpoints():
        raise Refused(
            f"{files.path} has an unfinished training. {argument(continue_training=True)} goes on with it; "
            f"{argument(overwrite=True)} starts again from scratch."
        )
