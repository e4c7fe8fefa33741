"""Which stages a training needs, decided from the files that are there, before anything starts.

Whatever a look of seconds can show to be hopeless is refused here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...calls import argument
from ...errors import Refused
from ...files import read_json, read_model
from ...nnunet.datasets import DEFAULT_PLANS, DEFAULT_TRAINER, DatasetFiles, FoldFiles
from ...nnunet.preprocessed import (
    CASCADE,
    LOWRES,
    DatasetNote,
    data_folder,
    data_needed_by,
    dataset_note_file,
    planned,
    preprocessed_cases,
    raw_identity,
    readiness,
    refuse_indivisible,
)
from ...nnunet.splits import known_cases
from ...nnunet.summary import learnt_nothing
from ...nnunet.trainers import check_trainer, planner_for, refuse_unadapted, trainer_for
from ...nnunet.transfer import plan_transfer
from ...nnunet.variants.made import Trainer
from ...nnunet.variants.own import refuse_broken_trainer
from ...schemas.records import StageSpec
from ...schemas.training import CONFIGURATIONS, TrainingRequest
from .cascade import lowres_stages, refuse_unpredicted
from .changing import Experiment, experiment_of
from .folds import Folds, split_changed

FLAT_IMAGES = (".png", ".bmp")
# What a fold that is reused may have been trained or validated without.
NOT_FOR_REUSED = ("pretrained_weights", "bf16", "npz", "val_best")
NO_LOWRES = (
    "nnU-Net plans 3d_lowres and 3d_cascade_fullres only where the median image is much larger than a 3d_fullres "
    f"patch. Use {argument(configuration='3d_fullres')}."
)


@dataclass
class Plan:
    """The stages of a run, the fold folders it will write, and what the person should know."""

    made: Trainer
    plans_identifier: str
    planner: str | None
    source_plans: str | None = None
    stages: list[StageSpec] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    folds: Folds | None = None

    @property
    def trainer(self) -> str:
        return self.made.name


class Planner:
    """Turns one request into a plan.

    Raises:
        NotFound, Refused: the request cannot work; the message says the ways on.
    """

    def __init__(self, request: TrainingRequest, files: DatasetFiles, python: str) -> None:
        self.request = request
        self.files = files
        weights = request.pretrained_weights
        transfer = plan_transfer(request, Path(weights), files, python) if weights is not None else None
        plans = request.plans_identifier or DEFAULT_PLANS
        needed = transfer.trainer if transfer else None
        if request.plans_identifier is not None and transfer is None:
            needed = trainer_for(files.plans(plans) or {})
        base = request.trainer or needed or DEFAULT_TRAINER
        check_trainer(base, python)
        if request.trainer is not None:
            refuse_broken_trainer(base, python)
        changed = Experiment(Trainer(base), plans)
        if request.changes:
            changed = experiment_of(request, base, plans, files, python)
        self.trainer = changed.trainer.name
        self.plans_identifier = transfer.plans_identifier if transfer else changed.plans_identifier
        planner = None if transfer else planner_for(files, plans)
        self.plan = Plan(changed.trainer, self.plans_identifier, planner, notes=list(changed.notes))
        if transfer is not None:
            self.plan.source_plans = transfer.source
            self.plan.notes.append(transfer.note)
        if transfer is None or transfer.trainer is None:
            refuse_unadapted(request, base, self.existing_plans or {})

    @cached_property
    def existing_plans(self) -> dict[str, Any] | None:
        """The plans that are there, read and judged once."""
        return self.files.plans(self.plans_identifier)

    def make(self) -> Plan:
        """Decide the stages in order."""
        self._refuse_impossible()
        self._plan_preprocessing()
        folds = self.plan.folds = self._choose_folds()
        ready = tuple(spec.name for spec in self.plan.stages)
        if self.request.configuration == CASCADE:
            ready = self._plan_lowres(ready, folds)
        models = [self._plan_fold(fold, ready, folds) for fold in folds.wanted]
        if self.request.overwrite:
            again = (self._fold_files(self.request.configuration, fold) for fold in folds.wanted)
            self.plan.notes += filter(None, [folds.rests_on(again)])
        self._check_cases(folds)
        self.plan.stages += models
        if self.request.fold == "all":
            self._plan_cross_validation(tuple(spec.name for spec in models))
        self._add_notes()
        self.plan.notes += folds.notes()
        return self.plan

    def _refuse_impossible(self) -> None:
        description = read_json(self.files.raw / "dataset.json") or {}
        if str(description.get("file_ending")) in FLAT_IMAGES and not self.request.configuration.startswith("2d"):
            raise Refused(
                f"{self.files.name} has 2D images ({description['file_ending']}), so nnU-Net plans no "
                f"{self.request.configuration} for it. Use {argument(configuration='2d')}."
            )

        plans = self.existing_plans or {}
        wanted = self.request.configuration
        if wanted not in CONFIGURATIONS and planned(plans, wanted) is None:
            self._refuse_undefined()
        for configuration in (LOWRES, CASCADE) if wanted == CASCADE else (wanted,):
            self._refuse_small_batch(configuration, (planned(plans, configuration) or {}).get("batch_size"))

    def _refuse_small_batch(self, configuration: str, batch: object) -> None:
        gpus = self.request.num_gpus or 1
        if isinstance(batch, int) and gpus > batch:  # nnunetv2 2.8.1, nnUNetTrainer.py:402
            raise Refused(
                f"{argument(num_gpus=gpus)} splits a batch, and the plans {self.plans_identifier} of "
                f"{self.files.name} have a batch of {batch} for {configuration}. Use {argument(num_gpus=batch)} or "
                f"less, or {_larger_batch(configuration, gpus)}"
            )

    def _refuse_undefined(self) -> None:
        raise Refused(
            f"The plans {self.plans_identifier} of {self.files.name} have no {self.request.configuration}, and nnU-Net "
            f"plans only {', '.join(CONFIGURATIONS)}. Add it to {self.files.plans_file(self.plans_identifier)} under "
            f'"configurations", e.g. {_inherits(self.request.configuration, 10)}, once there are plans.'
        )

    def _choose_folds(self) -> Folds:
        old = self.request.no_preprocessing or self._goes_on_with_old_data() or not self.files.raw.is_dir()
        return Folds(self.request, self.files, self._preprocessed_cases() if old else None)

    def _check_cases(self, folds: Folds) -> None:
        cases = {fold: folds.cases_of(fold, self._trained(fold)) for fold in folds.wanted}
        folds.refuse_overlap({fold: set(one.val) for fold, one in cases.items() if one})
        if weights := self.request.pretrained_weights:
            held_out = {case for one in cases.values() if one for case in one.val}
            self.plan.notes += [*learnt_nothing(FoldFiles(Path(weights).parent)), *known_cases(Path(weights), held_out)]
        if self.request.configuration == CASCADE:
            refuse_unpredicted(folds, cases.values())

    def _trained(self, fold: str) -> FoldFiles | None:
        """The fold folder, if what was trained in it is reused, validated or gone on with."""
        files = self._fold_files(self.request.configuration, fold)
        go_on = self.request.validation_only or self._reusable(files)
        return files if go_on or (self.request.continue_training and files.checkpoints()) else None

    def _fold_files(self, configuration: str, fold: str) -> FoldFiles:
        return FoldFiles(self.files.fold(self.trainer, self.plans_identifier, configuration, fold))

    def _plan_preprocessing(self) -> None:
        reason = self._why_preprocess()
        if self.request.no_preprocessing:
            self._require_preprocessed()
        elif not (reason and self._goes_on_with_old_data()):
            self.plan.stages.append(
                StageSpec(
                    name="preprocess",
                    kind="preprocess",
                    configuration=self.request.configuration,
                    reused=reason is None,
                    detail=reason or "already preprocessed from unchanged raw data",
                )
            )

    def _goes_on_with_old_data(self) -> bool:
        """A resume or a validation uses the data that the training began with, if they are there."""
        old = self.request.continue_training or self.request.validation_only
        return old and all(self._has_data(c) for c in data_needed_by(self.request.configuration))

    def _has_data(self, configuration: str) -> bool:
        return bool(self._preprocessed_cases(configuration))

    def _preprocessed_cases(self, configuration: str | None = None) -> list[str]:
        plans, wanted = self.existing_plans, configuration or self.request.configuration
        if plans is None or planned(plans, wanted) is None:
            return []
        return preprocessed_cases(data_folder(self.files, plans, wanted))

    def _why_preprocess(self) -> str | None:
        """What is lacking, or None where everything is there and unchanged."""
        plans = self.existing_plans
        if plans is not None and planned(plans, self.request.configuration) is None and self._raw_unchanged():
            known = ", ".join(plans.get("configurations", {}))
            hint = NO_LOWRES if self.request.configuration in (LOWRES, CASCADE) else "Choose one of these."
            raise Refused(
                f"The plans {self.plans_identifier} of {self.files.name} have no {self.request.configuration}; they "
                f"have {known}. {hint}"
            )
        for configuration in data_needed_by(self.request.configuration):
            refuse_indivisible(plans or {}, configuration)
            state = readiness(self.files, self.plans_identifier, configuration)
            if not state.ready:
                return state.reason
        if split_changed(self.files):
            return "the split has changed since"
        note = read_model(dataset_note_file(self.files), DatasetNote)
        if self.request.verify_dataset_integrity and (note is None or not note.verified) and self.files.raw.is_dir():
            return "the dataset is not verified yet"
        return None

    def _raw_unchanged(self) -> bool:
        note = read_model(dataset_note_file(self.files), DatasetNote)
        return note is None or not self.files.raw.is_dir() or note.raw_identity == raw_identity(self.files)

    def _require_preprocessed(self) -> None:
        for configuration in data_needed_by(self.request.configuration):
            if not self._has_data(configuration):
                state = readiness(self.files, self.plans_identifier, configuration)
                raise Refused(
                    f"{argument(no_preprocessing=None)} was asked for, but {state.reason}. Leave "
                    f"{argument(no_preprocessing=None)} out, and it will be preprocessed first."
                )

    def _plan_lowres(self, needs: tuple[str, ...], folds: Folds) -> tuple[str, ...]:
        """The cascade reads a 3d_lowres prediction of every case, so all lowres folds of the split come first."""
        found = lowres_stages(self.files, self.trainer, self.plans_identifier, folds, needs)
        self.plan.stages += found
        self.plan.targets += [self._target(self._fold_files(LOWRES, str(spec.fold)).path) for spec in found]
        if found:
            self.plan.notes.append(
                "The cascade needs 3d_lowres predictions of every case: "
                + ", ".join(f"{spec.name} ({spec.detail})" for spec in found)
                + " come first."
            )
        return (*needs, *(spec.name for spec in found))

    def _plan_fold(self, fold: str, needs: tuple[str, ...], folds: Folds) -> StageSpec:
        files = self._fold_files(self.request.configuration, fold)
        reused = self._reusable(files)
        if not reused:
            folds.check_target(files)
            self.plan.targets.append(self._target(files.path))
        if note := folds.check(fold, files, goes_on=self._trained(fold) is not None):
            self.plan.notes.append(note)
        verb = "validate" if self.request.validation_only else "train"
        return StageSpec(
            name=f"{verb}_{'full' if fold == 'all' else f'fold_{fold}'}",
            kind="validate" if self.request.validation_only else "train",
            configuration=self.request.configuration,
            fold=fold,
            needs=needs,
            reused=reused,
            resume=not reused and self.request.continue_training and bool(files.checkpoints()),
            detail="already trained" if reused else "",
        )

    def _reusable(self, files: FoldFiles) -> bool:
        again = self.request.overwrite or self.request.validation_only
        return self.request.fold == "all" and files.finished() and not again

    def _plan_cross_validation(self, needs: tuple[str, ...]) -> None:
        self.plan.stages.append(
            StageSpec(
                name="cross_validation",
                kind="cross_validation",
                configuration=self.request.configuration,
                needs=needs,
            )
        )

    def _target(self, path: Path) -> str:
        return "/".join(path.parts[-3:])

    def _add_notes(self) -> None:
        reused = [str(spec.fold) for spec in self.plan.stages if spec.reused and spec.traits.trains]
        began_with = ("pretrained_weights",) if self.request.continue_training else ()
        missed = [name for name in NOT_FOR_REUSED if getattr(self.request, name) and name not in began_with]
        if reused and missed:
            self.plan.notes.append(
                f"Fold {', '.join(reused)} was trained before and is reused as it is, without {' and '.join(missed)}. "
                f"{argument(overwrite=True)} trains it again; {argument(validation_only=True)} with "
                f"{argument(npz=True)} adds the probabilities alone."
            )
        self.plan.notes += list(_notes(self.request))


def _inherits(name: str, batch: int) -> str:
    """What to write into plans for a configuration with another batch."""
    parent = next(one for one in CONFIGURATIONS if name.startswith(one))
    return json.dumps({name: {"inherits_from": parent, "batch_size": batch}})


def _larger_batch(configuration: str, gpus: int) -> str:
    """How to train the configuration on more GPUs than its batch has patches."""
    name = f"{configuration}_bs{gpus}"
    if configuration not in ("2d", "3d_fullres"):
        return "train the folds on single GPUs."
    return f"add {_inherits(name, gpus)} to the plans' configurations and train {name}."


def _notes(request: TrainingRequest) -> Iterator[str]:
    if request.use_compressed:
        yield (
            f"{argument(use_compressed=None)}: nnU-Net 2.6 and later always train from compressed data, so it changes "
            "nothing."
        )
    if request.fold == "full":
        yield "fold full: its metrics will be measured on training data and are optimistic."
    if request.disable_checkpointing:
        yield (
            f"{argument(disable_checkpointing=None)}: nothing is saved, so this training can be neither resumed nor "
            "predicted with."
        )
