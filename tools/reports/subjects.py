"""What is known of a training, read from its run, its model's folder and its dataset: the ground of a report."""

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...calls import call
from ...errors import NotFound, Refused, RunError
from ...files import NO_FILE, read_json, read_plain
from ...nnunet.datasets import DEFAULT_TRAINER, DatasetFiles
from ...nnunet.models import Model, model_of
from ...nnunet.preprocessed import planned, raw_cases
from ...nnunet.scores import Scores, read_scores
from ...nnunet.splits import FoldCases, complete_folds, is_fixed_set, patients_of, split_told, trained_cases
from ...nnunet.summary import fold_outcome
from ...nnunet.trainers import own_trainers
from ...runs.layout import StateDir
from ...runs.model_owners import taken_over, told_taken_over
from ...schemas.changes.table import read_changes
from ...schemas.outcomes import ModelOutcome
from ...schemas.records import Provenance, RunRecord
from ...schemas.results import Result
from ...schemas.training import TrainingRequest
from ...settings import Settings
from ..watching.results import result_of
from ..watching.snapshot import snapshot

# nnU-Net's own trainers that differ from nnUNetTrainer only in what debug.json records: epochs, loss, optimizer,
# augmentation, sampling (nnunetv2 2.8.1, training/nnUNetTrainer/variants). Others change more.
DESCRIBED = re.compile(
    r"nnUNetTrainer(?:_(?:1epoch|(?:5|10|20|50|100|250|500|750|2000|4000|8000)epochs)(?:_NoMirroring)?"
    r"|CELoss(?:_5epochs)?|DiceLoss|DiceCELoss_noSmooth|Topk10Loss(?:LS01)?|DiceTopK10Loss"
    r"|(?:Vanilla)?Adam(?:1en3|3en4)?|Adan(?:1en1|1en3|3en4|CosAnneal)?|CosAnneal|NoDeepSupervision|NoMirroring"
    r"|_onlyMirror01(?:_1500ep|_DASegOrd0|_DA5)?|DA5(?:ord0|Segord0|_10epochs)?|_DASegOrd0(?:_NoMirroring)?|NoDA"
    r"|_noDummy2DDA|_probabilisticOversampling(?:_033|_010)?)?"
)
DEBUG_BYTES = 4 << 20


@dataclass(frozen=True)
class Subject:
    """A training with at least one validated fold that is still its own."""

    record: RunRecord
    result: Result
    model: Model
    scores: Scores
    end: Provenance | None

    @property
    def files(self) -> DatasetFiles:
        return self.model.files

    @property
    def request(self) -> TrainingRequest:
        assert self.record.training is not None
        return self.record.training.request

    @cached_property
    def changes(self) -> dict[str, str]:
        return read_changes(self.request.changes)

    @cached_property
    def plans(self) -> dict[str, Any]:
        """The model's own copy of its plans; nothing where it may not be used."""
        with suppress(RunError):
            return self.model.plans
        return {}

    @cached_property
    def planned(self) -> dict[str, Any]:
        return self.of_configuration(self.record.job.configuration)

    def of_configuration(self, name: str) -> dict[str, Any]:
        with suppress(RunError):
            return planned(self.plans, name) or {}
        return {}

    @cached_property
    def description(self) -> dict[str, Any]:
        with suppress(RunError):
            return self.model.description
        return {}

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        found = read_json(self.model.folder / "dataset_fingerprint.json", inside=[self.model.folder])
        return found if isinstance(found, dict) else {}

    @cached_property
    def debug(self) -> dict[str, str]:
        """What nnU-Net noted of the trainer when the training began (nnUNetTrainer.py:278); of the first fold that
        has it."""
        for fold in self.scores.folds:
            path = self.model.fold(fold).path / "debug.json"
            found = read_json(path, most=DEBUG_BYTES, inside=[self.model.folder])
            if isinstance(found, dict):
                return {str(key): str(value) for key, value in found.items()}
        return {}

    @cached_property
    def outcomes(self) -> dict[str, ModelOutcome]:
        found = {fold: fold_outcome(self.model.fold(fold)) for fold in self.scores.folds}
        return {fold: outcome for fold, outcome in found.items() if outcome is not None}

    @cached_property
    def begun(self) -> dict[str, FoldCases]:
        """The cases that each fold trains on and holds out, where they were noted."""
        found = {fold: trained_cases(self.model.fold(fold)) for fold in self.scores.folds}
        return {fold: cases for fold, cases in found.items() if cases is not None}

    @cached_property
    def cases(self) -> frozenset[str]:
        """Every case whose name could be in a text."""
        raw = raw_cases(self.files) if self.files.raw.is_dir() else []
        return frozenset(raw).union(self.scores.cases, *(fold.every for fold in self.begun.values()))

    @cached_property
    def patients(self) -> dict[str, str]:
        """Whose each of its cases is, as far as their names show it."""
        return patients_of(self.scores.cases.union(*(fold.every for fold in self.begun.values())))

    @cached_property
    def is_cross_validation(self) -> bool:
        """Whether all folds of the split are there, which together hold out every case."""
        return set(self.scores.folds) == set(complete_folds(self.files)) and not is_fixed_set(self.files)

    @cached_property
    def split(self) -> str:
        """Whose choice the split is, in words; "" where it may be another by now."""
        used = self.end.sha256.get("splits_final.json") if self.end else None
        with suppress(RunError, *NO_FILE):
            if used in (None, hashlib.sha256(read_plain(self.files.splits_file)).hexdigest()):
                return split_told(self.files, used=True)
        return ""

    @cached_property
    def base(self) -> str:
        """The trainer that was named; `changes` make another one of it."""
        return self.request.trainer or DEFAULT_TRAINER

    @cached_property
    def is_described(self) -> bool:
        """Whether debug.json tells all that its trainer does otherwise than nnUNetTrainer."""
        return DESCRIBED.fullmatch(self.base) is not None and self.base not in own_trainers()

    @property
    def is_of_every_case(self) -> bool:
        return self.record.fold == "full"


def told(sentence: Callable[[Subject], str], subject: Subject) -> str:
    """What a file tells; a file that is not as nnU-Net writes it tells nothing."""
    with suppress(ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        return sentence(subject)
    return ""


def subject_of(run_id: str, settings: Settings) -> Subject:
    """The training of a run.

    Raises:
        NotFound: no such run, or none of its folds is validated yet.
        Refused: it is no training, or all of its folds hold other models by now.
    """
    view = snapshot(settings, run_id)
    record = view.record
    if record.training is None:
        raise Refused(f"Run {run_id} is no training; only trainings are reported. {call('nnunet_runs')} lists them.")
    result, model, taken = result_of(view), model_of(record), taken_over(StateDir.of(settings), record)
    kept = Model(model.files, model.folder, tuple(fold for fold in model.folds if fold not in taken))
    scores = read_scores(kept)
    if not scores.folds:
        if taken:
            raise Refused(" ".join(told_taken_over(fold, run_id, other) for fold, other in taken.items()))
        raise NotFound(
            f"Run {run_id} has no validated fold with a checkpoint yet. {call('nnunet_progress', run_id=run_id)} says "
            "how far it is."
        )
    return Subject(record, result, kept, scores, view.run.provenance())


def folders_of(settings: Settings) -> list[str]:
    """Where this machine keeps data, models and runs."""
    own = [*settings.allowed_roots, settings.state_dir, Path.home()]
    return [str(folder) for folder in own if len(Path(folder).parts) > 1]
