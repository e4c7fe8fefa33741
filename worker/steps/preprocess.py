"""The preprocess stage: verify, fingerprint, plan, and preprocess only what the configuration needs.

Whatever exists already and was made from unchanged raw data is reused.
"""

import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import read_model, write_model, write_text
from ...locks import lock_name, waiting_for
from ...nnunet.datasets import DEFAULT_PLANS, DatasetFiles, label_files, training_files
from ...nnunet.preprocessed import (
    DataNote,
    DatasetNote,
    data_folder,
    data_needed_by,
    data_note_file,
    dataset_note_file,
    planned,
    planned_by_hand,
    preprocessed_cases,
    raw_cases,
    raw_identity,
    readiness,
    recipe,
)
from ...nnunet.splits import digest, made_here, read_split, split_to_make, text_of
from ...nnunet.trainers import classes_in, made_trainer_folder, own_trainers
from ...nnunet.variants.patches import refuse_huge_images, refuse_odd_patch
from ...schemas.jobs import TrainingJob
from ...schemas.records import Outcome
from .. import nnunet_seam
from ..nnunet_seam import PLANNING
from ..pool_watch import end_when_a_pool_process_is_killed
from ..pools import start_server
from ..progress import Reporter
from ..resources import usable_cores
from ..self_supervised import Pretrained, read_pretrained
from ..stage import Job, StageFailure
from ..truncated_images import refuse_damaged
from .planning import make_plans
from .transfer import adapt_plans, copy_dataset_json, move_plans
from .undeclared_labels import refuse_undeclared_labels

# What is wrong with a trainer's file on every machine.
WRONG_CODE = (SyntaxError, NameError, TypeError, AttributeError, ModuleNotFoundError)
NOT_FOUND = "Could not find requested nnunet trainer"  # nnunetv2 2.8.1, utilities/find_objects.py:46
FINGERPRINT_BAR = f"{PLANNING}.dataset_fingerprint.fingerprint_extractor:tqdm"
PREPROCESSING_BAR = "nnunetv2.preprocessing.preprocessors.default_preprocessor:tqdm"
NAME_OF_DATASET = f"{PLANNING}.plan_and_preprocess_api:convert_id_to_dataset_name"


def carry_out(job: Job) -> Outcome:
    """Make the dataset ready for the configuration; one run of a dataset at a time."""
    end_when_a_pool_process_is_killed(job.stage)
    if job.weights is not None:
        read_pretrained(job.weights)  # refuse a damaged file before the long work
    refuse_unfound_trainer(job.record.trainer)
    locks = job.locks_dir
    with waiting_for(locks / lock_name("preprocess", job.record.dataset_name), _say(job.reporter), holder=job.holder):
        notes = Preprocessing(job).carry_out()
    for spec in job.record.stages:
        if spec.traits.of_fold and not spec.reused:
            refuse_small_batch(job, spec.configuration)
    return Outcome(ok=True, notes=tuple(notes))


def refuse_unfound_trainer(name: str) -> None:
    """Import a trainer that is not nnU-Net's own as the training will, which comes hours later.

    Raises:
        StageFailure: with the file, the line and what Python says.
    """
    if name not in own_trainers() | classes_in(made_trainer_folder()).keys():
        return
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        recursive_find_trainer_class_by_name(name)
    except WRONG_CODE as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        file, line = frame.filename, frame.lineno
        if isinstance(error, SyntaxError):
            file, line = str(error.filename), error.lineno
        raise StageFailure(
            f"the trainer {name} cannot be imported",
            f"{type(error).__name__}: {error} | {file}, line {line}",
            "Correct that line, or install what it imports into nnU-Net's Python; nothing was preprocessed.",
        ) from error
    except Exception as error:
        if NOT_FOUND in str(error):
            raise StageFailure(
                f"the trainer {name} cannot be found",
                "no class of that name, or the class that it is derived from is gone",
                "Put the missing class into a folder of nnUNet_extTrainer; nothing was preprocessed.",
            ) from error
        traceback.print_exc()  # of this machine: trainings may run on another, with a GPU


def refuse_small_batch(job: Job, configuration: str) -> None:
    """Check the batch size again: at the time of the request there may have been no plans.

    Raises:
        StageFailure: the batch cannot be split among so many GPUs (nnunetv2 2.8.1, nnUNetTrainer.py:402).
    """
    plans, gpus = job.files.plans(job.record.plans_identifier) or {}, job.record.num_gpus
    batch = (planned(plans, configuration) or {}).get("batch_size")
    if isinstance(batch, int) and gpus > batch:
        raise StageFailure(
            f"{argument(num_gpus=None)} is larger than the planned batch",
            f"{argument(num_gpus=gpus)}, and {job.record.plans_identifier} has a batch of {batch} for {configuration}",
            f"Start the request again with {argument(num_gpus=batch)} or less.",
        )


# Which part of the stage each step is; measured on 30 small images, a step that is left out is jumped over.
AT_READING, AT_VERIFYING, AT_FINGERPRINT, AT_PLANNING = (0.0, 0.05), (0.05, 0.4), (0.4, 0.75), (0.75, 0.75)


def _say(reporter: Reporter) -> Callable[[dict[str, Any]], None]:
    def say(holder: dict[str, Any]) -> None:
        reporter.tick(phase="waiting", waits_for=f"run {holder.get('run_id', '?')} uses the preprocessed data")
        reporter.stop_here()

    return say


class Preprocessing:
    """Makes one dataset ready for training."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.files: DatasetFiles = job.files
        self.plans_name = job.record.plans_identifier
        self.identity = raw_identity(self.files)
        self.notes: list[str] = []

    def carry_out(self) -> list[str]:
        """Every step that is needed, in nnU-Net's order."""
        self.files.preprocessed.mkdir(parents=True, exist_ok=True)
        known = read_model(dataset_note_file(self.files), DatasetNote)
        unchanged = known.raw_identity == self.identity if known else planned_by_hand(self.files, self.plans_name)
        verified = unchanged and known is not None and known.verified
        if self.job.asked("verify_dataset_integrity") and not verified:
            verified = self._verify()
        self._fingerprint(unchanged)
        own_splits = self._renew_split(known or DatasetNote(raw_identity=""))
        plans = known.plans if known else {}
        current = planned_by_hand(self.files, self.plans_name)
        note = DatasetNote(
            raw_identity=self.identity,
            verified=verified,
            plans=plans,
            changes=self._changes(known),
            own_splits=own_splits,
        )
        # Before the planning, too: plans that are there without a note on their changes count as somebody's own.
        write_model(dataset_note_file(self.files), note)
        self._plan(plans[self.plans_name] == self.identity if self.plans_name in plans else current)
        note.plans = {**plans, self.plans_name: self.identity}
        write_model(dataset_note_file(self.files), note)
        needed = data_needed_by(self.job.spec.configuration)
        each = (1.0 - AT_PLANNING[1]) / len(needed)
        for number, configuration in enumerate(needed):
            begins = AT_PLANNING[1] + number * each
            self._preprocess(configuration, (begins, begins + each))
        return self.notes

    def _begin(self, phase: str, section: tuple[float, float], **fields: Any) -> None:
        self.job.reporter.stop_here()
        start_server()  # only a step that has to be done needs pools
        self.job.reporter.section(*section)
        self.job.reporter.say(phase, **fields)

    def _verify(self) -> bool:
        files = [path for path in training_files(self.files.raw) if not path.name.startswith(".")]
        self._begin("reading the files", AT_READING, done=0, total=len(files))
        refuse_damaged(files, threads=usable_cores(), tell=lambda done: self.job.reporter.tick(done=done))
        self._begin("verifying the dataset", AT_VERIFYING)
        from nnunetv2.configuration import default_num_processes
        from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

        try:
            verify_dataset_integrity(str(self.files.raw), default_num_processes)
        except (RuntimeError, AssertionError):
            refuse_undeclared_labels(self.files.raw)
            raise
        return True

    def _fingerprint(self, unchanged: bool) -> None:
        if unchanged and self.files.fingerprint_file.is_file():
            self.notes.append("The dataset fingerprint was reused.")
            return
        self._begin("extracting the fingerprint", AT_FINGERPRINT)
        from nnunetv2.configuration import default_num_processes
        from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

        nnunet_seam.replace(FINGERPRINT_BAR, lambda original: _counter(self.job.reporter))
        extractor = DatasetFingerprintExtractor(self.files.name, default_num_processes)
        extractor.run(overwrite_existing=True)

    def _plan(self, current: bool) -> None:
        plans_file = self.files.plans_file(self.plans_name)
        training = self.job.typed(TrainingJob)
        planner = training.planner
        if plans_file.is_file() and (current or (planner is None and training.source_plans is None)):
            self.notes.append(f"The plans {self.plans_name} were reused.")
        elif training.source_plans is not None:
            self._begin("moving the plans of the pretrained model", AT_PLANNING)
            self._take_over(Path(training.source_plans))
        elif planner is None:
            raise StageFailure(
                f"there are no plans {self.plans_name}",
                str(plans_file),
                "Use a preset's identifier or plans that exist.",
            )
        else:
            self._begin("planning the experiment", AT_PLANNING)
            self._keep_old_plans()
            refuse_huge_images(self.files, training.changes_of_plans)
            base, changes = training.request.plans_identifier or DEFAULT_PLANS, training.changes_of_plans
            make_plans(self.files.name, planner, self.plans_name, base, changes)
        self._check_configuration()
        if not (self.files.preprocessed / "dataset.json").is_file():  # beside plans that somebody put there
            copy_dataset_json(self.files)

    def _take_over(self, source: Path) -> None:
        """The plans of the pretrained model, or those that adapt its encoder."""
        found = None if source.suffix == ".json" else read_pretrained(source)
        if found is None:
            move_plans(source, self.files, self.plans_name)
            return
        self._refuse_other_trainer(found)
        self.notes.append(adapt_plans(found, source, self.files, self.plans_name))

    def _refuse_other_trainer(self, found: Pretrained) -> None:
        """The server chose the trainer without reading the file."""
        network, trainer = found.plan["architecture_plans"]["arch_class_name"], self.job.record.trainer
        asked = self.job.typed(TrainingJob).request.trainer
        if network.startswith("Primus") and not asked and "Primus" not in trainer:
            raise StageFailure(
                f"{found.name} is of a {network}, for which nnU-Net has another trainer",
                f"{trainer} was chosen",
                f"Start it again with {argument(trainer='PretrainedTrainer_Primusx')}; nothing was preprocessed.",
            )

    def _changes(self, known: DatasetNote | None) -> dict[str, dict[str, str]]:
        """What derived plans were planned with: the name alone may be somebody's own."""
        own = self.job.typed(TrainingJob).changes_of_plans
        return {**(known.changes if known else {}), **({self.plans_name: own} if own else {})}

    def _keep_old_plans(self) -> None:
        """Keep a copy of plans that planning would replace: somebody may have edited them."""
        plans_file = self.files.plans_file(self.plans_name)
        if plans_file.is_file():
            kept = plans_file.with_suffix(f".json.before-{self.job.record.run_id}")
            shutil.copy2(plans_file, kept)
            self.notes.append(f"The raw data have changed: planned again; the old plans are kept as {kept.name}.")

    def _check_configuration(self) -> None:
        plans = self.files.plans(self.plans_name) or {}
        wanted = self.job.spec.configuration
        if (found := planned(plans, wanted)) is not None:
            refuse_odd_patch(found.get("spacing", ()), self.job.typed(TrainingJob).changes_of_plans)
        if planned(plans, wanted) is None:
            known = ", ".join(plans.get("configurations", {}))
            raise StageFailure(
                f"the plans have no configuration {wanted}",
                f"{self.plans_name} has {known}",
                "nnU-Net plans 3d_lowres and 3d_cascade_fullres only where the median image is much larger than "
                "a 3d_fullres patch. Use 3d_fullres here."
                if wanted.startswith("3d")
                else "Choose one of these.",
            )

    def _renew_split(self, note: DatasetNote) -> str:
        """Make the split before nnU-Net plans, which stops at a differing one, and before several folds start at once.

        Returns the digest of a split that we made. Running trainings keep to the cases that they began with.
        """
        split, path = split_to_make(self.files), self.files.splits_file
        if split is None:
            path.unlink(missing_ok=True)
            return ""
        if split == read_split(path):
            return note.own_splits if made_here(self.files) else ""
        text = text_of(split)
        # The note is written first: a split that no note names counts as the user's.
        write_model(dataset_note_file(self.files), note.model_copy(update={"own_splits": digest(text)}))
        write_text(path, text)
        return digest(text)

    def _preprocess(self, configuration: str, section: tuple[float, float]) -> None:
        plans = self.files.plans(self.plans_name) or {}
        folder = data_folder(self.files, plans, configuration)
        if readiness(self.files, self.plans_name, configuration).ready:
            self.notes.append(f"The preprocessed data of {configuration} were reused.")
            return
        self._begin(f"preprocessing {configuration}", section, done=0, total=len(raw_cases(self.files)))
        locks = self.job.locks_dir
        with waiting_for(data_lock(locks, self.files, folder.name), _say(self.job.reporter), holder=self.job.holder):
            data_note_file(folder).unlink(missing_ok=True)
            self.job.reporter.say(f"preprocessing {configuration}", done=0, total=len(raw_cases(self.files)))
            _run_preprocessor(self.job, self.files.name, self.plans_name, configuration)
            _renew_ground_truth(self.files)
            self._check_complete(folder, configuration)
            note = DataNote(raw_identity=self.identity, recipe=recipe(plans, configuration))
            write_model(data_note_file(folder), note)

    def _check_complete(self, folder: Path, configuration: str) -> None:
        missing = sorted(set(raw_cases(self.files)) - set(preprocessed_cases(folder)))
        if missing:
            raise StageFailure(
                f"{len(missing)} cases of {configuration} were not preprocessed",
                f"missing in {folder.name}: {', '.join(missing[:5])}",
                "Look for the first error in the log of this stage, then start the request again.",
            )


def data_lock(locks: Path, files: DatasetFiles, data_identifier: str) -> Path:
    """The lock on a folder of preprocessed cases: shared by trainings, exclusive for preprocessing.

    nnU-Net removes the folder before it preprocesses (default_preprocessor.py:370), and presets share it.
    """
    return locks / lock_name("data", files.name, data_identifier)


def _run_preprocessor(job: Job, dataset_name: str, plans_name: str, configuration: str) -> None:
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    nnunet_seam.replace(PREPROCESSING_BAR, lambda original: _counter(job.reporter))
    # nnU-Net's function takes an id and looks the name up, which fails where two folders share the id.
    nnunet_seam.replace(NAME_OF_DATASET, lambda original: lambda _: dataset_name)
    preprocess_dataset(job.record.job.dataset_id, plans_name, (configuration,), (default_num_processes,))


def _renew_ground_truth(files: DatasetFiles) -> None:
    """Replace labels that differ. nnU-Net copies only newer ones, so it would miss an older file that was restored."""
    for name, label in label_files(files.raw).items():
        copy = files.ground_truth / name
        if copy.exists() and _size_and_time(copy) != _size_and_time(label):
            shutil.copy2(label, copy)
        _copy_spacing(label, copy)


def _copy_spacing(label: Path, copy: Path) -> None:
    """The spacing of a TIFF, without which the validation assumes 1 mm (nnunetv2 2.8.1, tif_reader_writer.py:91)."""
    spacing = label.with_suffix(".json")
    if label.suffix in (".tif", ".tiff") and spacing.is_file():
        shutil.copy2(spacing, copy.with_suffix(".json"))


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, int(stat.st_mtime)


def _counter(reporter: Reporter) -> type:
    """A stand-in for tqdm that reports how many cases are done."""

    class Counter:
        def __init__(self, iterable: Any = None, total: int | None = None, **_: Any) -> None:
            self.iterable, self.done, self.total = iterable, 0, total

        def __enter__(self) -> "Counter":
            reporter.tick(done=0, total=self.total)
            return self

        def __exit__(self, *_: object) -> None:
            reporter.tick(done=self.done, total=self.total)

        def update(self, number: int = 1) -> None:
            self.done += number
            reporter.tick(done=self.done, total=self.total)
            reporter.stop_here()

    return Counter
