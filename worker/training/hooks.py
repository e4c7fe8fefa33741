"""Our hooks on nnU-Net's trainer: each epoch into epochs.jsonl, a heartbeat, safe checkpoints, a clean stop.

The logger is nnU-Net's own extension point (training/logging/nnunet_logger.py). Everything else wraps methods of the
trainer object, so that any trainer class works and keeps its name in checkpoints.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import append_line, read_model, write_model
from ...nnunet.datasets import FoldFiles
from ...nnunet.preprocessed import DataNote, data_note_file, preprocessed_cases
from ...nnunet.splits import FoldCases, TrainedCases, read_split, trained_cases
from ...nnunet.summary import finite
from ...runs.saved import note_saved
from ...schemas.records import ESTIMATING, NAN_EPOCHS, TRAINED_PART, TRAINING, Epoch
from ...texts import some
from .. import nnunet_seam
from ..nnunet_seam import LOGGER, RUN, TRAINER
from ..pools import start_server
from ..progress import Silent, StopRequested
from ..stage import Job, StageFailure
from .checkpoints import load_checkpoint, only_data_of_others, save_whole
from .compiling import look_ahead
from .each_step import Steps
from .lost_weights import nan_failure
from .validation import validate

# Drawing progress.png takes about 0.7 s on a CPU, more than many a short epoch.
PLOT_EVERY_S = 60.0


def install(job: Job) -> None:
    """Make nnU-Net create the trainer with our hooks and load checkpoints our way; called in every DDP rank, too."""

    def trainer_with_hooks(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_trainer_from_args(*args: Any, **kwargs: Any) -> Any:
            trainer = original(*args, **kwargs)
            hooks = TrainerHooks(trainer, job)
            hooks.attach()
            if trainer.device.type == "cuda":
                hooks.say_of_compiling(look_ahead())
            return trainer

        return get_trainer_from_args

    def load(trainer: Any, resume: bool, validate: bool, weights: str | None = None) -> None:
        load_checkpoint(trainer, job, resume=resume, validate=validate, weights=weights)

    nnunet_seam.replace(f"{RUN}:get_trainer_from_args", trainer_with_hooks)
    nnunet_seam.replace(f"{RUN}:maybe_load_checkpoint", lambda original: load)


class TrainerHooks:
    """What is added to one trainer object."""

    def __init__(self, trainer: Any, job: Job) -> None:
        self.trainer = trainer
        self.job = job
        self.first = trainer.local_rank == 0
        self.report = job.reporter if self.first else Silent(job.stage, job.run.cancel_file)
        self.steps = Steps(trainer, job, self.report)
        self.nan_epochs = 0
        self.saved_at = self.drawn_at = time.monotonic()

    def attach(self) -> None:
        """Wrap the trainer's methods; only rank 0 reports and saves."""
        cases = settle_cases(self.trainer, self.job)
        if self.job.spec.traits.trains:
            self.report.section(0.0, TRAINED_PART)
        self._wrap("do_split", lambda method: (list(cases.train), list(cases.val)))
        self._wrap("on_epoch_end", self._on_epoch_end)
        self._wrap("on_epoch_start", self._on_epoch_start)
        self._wrap("train_step", self.steps.around(TRAINING))
        self._wrap("validation_step", self.steps.around(ESTIMATING))
        self._wrap("load_checkpoint", self._as_data)
        if not self.first:
            return
        self.trainer.logger.loggers.append(EpochLogger(self.trainer, self.job, self.steps))
        self._wrap("save_checkpoint", self._save)
        self._wrap("on_train_end", self._on_train_end)
        self._wrap("perform_actual_validation", self._on_validation)
        self._wrap("load_checkpoint", self._on_load)
        nnunet_seam.replace_on(self.trainer.logger, f"{LOGGER}:MetaLogger.plot_progress_png", self._plot)

    def _as_data(self, method: Callable[[Any], None], checkpoint: Any) -> None:
        with only_data_of_others(self.job):
            method(checkpoint)

    def say_of_compiling(self, note: str | None) -> None:
        """Replace the note of an earlier attempt, which may have been on another machine."""
        if self.first:
            self.job.stage.write_notes("compile", [note] if note else [])
        if note:
            self.trainer.print_to_log_file(note)

    def _wrap(self, name: str, around: Callable[..., Any]) -> None:
        nnunet_seam.replace_on(self.trainer, f"{TRAINER}.{name}", around)

    def _on_epoch_start(self, method: Callable[[], None]) -> None:
        self.steps.begin_epoch()
        method()

    def _on_epoch_end(self, method: Callable[[], None]) -> None:
        method()
        # Every rank has the same gathered losses and the same weights, so all ranks stop together.
        self.nan_epochs = self.nan_epochs + 1 if self._is_lost() else 0
        if self.nan_epochs >= NAN_EPOCHS:
            rate = next((epoch.learning_rate for epoch in self.job.stage.recent_epochs(1)), None)
            raise nan_failure(self.trainer.current_epoch - NAN_EPOCHS, rate)
        done = self.trainer.current_epoch >= self.trainer.num_epochs
        stop = self._all_are_to_stop() and not done
        if stop or (not done and self._checkpoint_due()):
            self._save_latest()
        if stop:
            _end_data_loaders(self.trainer)
            _wait_for_all_ranks(self.trainer)  # the first rank to end ends the others, and rank 0 may be saving
            raise StopRequested

    def _is_lost(self) -> bool:
        """Whether the weights are gone. A train_loss that is not a number does not prove it: in mixed precision the
        GradScaler skips such a step, and one of 250 makes the mean NaN."""
        train, val = (
            finite(float(self.trainer.logger.get_value(name, step=-1))) for name in ("train_losses", "val_losses")
        )
        return train is None and (val is None or not _all_finite(self.trainer.network))

    def _all_are_to_stop(self) -> bool:
        """Whether rank 0 has seen a request to stop. Ranks that checked for themselves could disagree, and wait for
        ever."""
        asked = self.report.stop_requested()
        if not self.trainer.is_ddp:
            return asked
        import torch

        word = torch.tensor([int(asked)], device=self.trainer.device)
        torch.distributed.broadcast(word, src=0)
        return bool(word.item())

    def _checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved_at > self.job.settings.checkpoint_every_s

    def _save_latest(self) -> None:
        # on_epoch_end has counted the epoch already, and save_checkpoint counts it again. So undo one of them, as
        # nnU-Net does in on_train_end.
        epoch = self.trainer.current_epoch
        nnunet_seam.write(self.trainer, f"{TRAINER}.current_epoch", epoch - 1)
        self.trainer.save_checkpoint(str(self.job.fold.latest))
        nnunet_seam.write(self.trainer, f"{TRAINER}.current_epoch", epoch)

    def _save(self, method: Callable[[str], None], filename: str) -> None:
        save_whole(method, filename, lambda written: self._note(written, Path(filename).name))
        self.saved_at = time.monotonic()

    def _note(self, written: Path, file: str) -> None:
        """nnU-Net counts the present epoch as done in what it saves (2.8.1, nnUNetTrainer.py, `save_checkpoint`)."""
        with suppress(OSError, LookupError):  # a checkpoint without a note serves as well
            epochs = self.trainer.current_epoch + 1
            note_saved(self.job.fold, written, file, epochs=epochs, sound=not self._is_lost())

    def _plot(self, plot: Callable[[str], None], folder: str) -> None:
        last = self.trainer.current_epoch + 1 >= self.trainer.num_epochs
        if last or time.monotonic() - self.drawn_at > PLOT_EVERY_S:
            plot(folder)
            self.drawn_at = time.monotonic()

    def _on_train_end(self, method: Callable[[], None]) -> None:
        self.report.say("saving the model", **self.steps.position())
        start_server()  # needed for the pools of the validation, which comes next
        method()

    def _on_load(self, method: Callable[[Any], None], checkpoint: Any) -> None:
        method(checkpoint)
        if self.job.spec.resume and not self.job.stage.epochs_file.exists():
            _write_history(self.trainer, self.job)

    def _on_validation(self, method: Callable[..., None], save_probabilities: bool = False) -> None:
        validate(self.trainer, self.job, self.report, method, save_probabilities)


def _all_finite(network: Any) -> bool:
    return all(bool(weights.isfinite().all()) for weights in network.parameters())


def _wait_for_all_ranks(trainer: Any) -> None:
    if trainer.is_ddp:
        import torch

        torch.distributed.barrier()


def settle_cases(trainer: Any, job: Job) -> FoldCases:
    """Fix the cases of this training from its start to its last validation, also when it is resumed.

    nnU-Net reads the split again for the final validation; by then another run may have renewed it.

    Raises:
        StageFailure: some of them are not preprocessed, or the split has no such fold any more.
    """
    if job.spec.traits.trains and trainer.local_rank == 0 and trained_cases(job.fold) is None:
        write_model(job.fold.cases_file, _begin(trainer, job))
    _wait_for_all_ranks(trainer)
    cases = trained_cases(job.fold) or _begin(trainer, job)
    folder = Path(trainer.preprocessed_dataset_folder)
    if missing := sorted(cases.every - set(preprocessed_cases(folder))):
        raise StageFailure(
            f"{len(missing)} cases of this fold are not preprocessed",
            f"missing in {folder.name}: {some(missing)}",
            "Put them back and start the request again, which preprocesses them; or train the fold anew with "
            f"{argument(overwrite=True)}.",
        )
    _refuse_other_split(job, cases)
    return cases


def _begin(trainer: Any, job: Job) -> TrainedCases:
    train, val = trainer.do_split()
    split = read_split(job.files.splits_file)
    if split and job.spec.fold != "all" and int(str(job.spec.fold)) >= len(split):  # 2.8.1, nnUNetTrainer.py:638
        raise StageFailure(
            f"the split has {len(split)} folds, so there is no fold {job.spec.fold}",
            f"{job.files.splits_file} was changed since this run was planned; nnU-Net would train on a random split",
            "Start the request again with a fold that the split has.",
        )
    note = read_model(data_note_file(Path(trainer.preprocessed_dataset_folder)), DataNote)
    return TrainedCases(
        train=tuple(map(str, train)), val=tuple(map(str, val)), raw_identity=note.raw_identity if note else ""
    )


def _refuse_other_split(job: Job, cases: FoldCases) -> None:
    """Check the other folds' cases: folds of one cross-validation may wait days for a GPU, and the split may change
    meanwhile."""
    for spec in job.record.model_stages if job.record.fold == "all" else ():
        files = FoldFiles(job.files.fold_of(job.record, spec))
        other = trained_cases(files) if spec.reused or files.owner() == job.record.run_id else None
        if spec.fold != job.spec.fold and other and (both := sorted(set(other.val) & set(cases.val))):
            raise StageFailure(
                f"fold {job.spec.fold} would hold out cases that fold {spec.fold} of this run holds out, too",
                f"{some(both)}: the split was renewed since fold {spec.fold} began",
                f"Train all folds on one split: start the request again with {argument(overwrite=True)}.",
            )


class EpochLogger:
    """Receives what nnU-Net logs; the last value of an epoch makes it write the line in epochs.jsonl."""

    def __init__(self, trainer: Any, job: Job, steps: Steps) -> None:
        self.trainer, self.job, self.steps = trainer, job, steps

    def update_config(self, config: dict[str, Any]) -> None:
        """Part of nnU-Net's logger interface; unused, because run.json has the configuration."""

    def log(self, key: str, value: Any, step: int) -> None:
        """Called for every value of every epoch."""
        if key == "epoch_end_timestamps":
            values = self.trainer.logger.local_logger.my_fantastic_logging
            own = {"wait_s": round(self.steps.wait_s, 3), "compile_s": round(self.steps.compile_s, 3) or None}
            append_line(self.job.stage.epochs_file, epoch_line(values, step).model_copy(update=own))

    def log_summary(self, key: str, value: Any) -> None:
        """Part of nnU-Net's logger interface; unused, because the final metrics are read from summary.json."""


def epoch_line(values: dict[str, list[Any]], epoch: int, *, restored: bool = False) -> Epoch:
    """One epoch of nnU-Net's log as a line; values that are not numbers become null."""

    def number(key: str) -> float | None:
        return finite(float(values[key][epoch]))

    return Epoch(
        epoch=epoch,
        train_loss=number("train_losses"),
        val_loss=number("val_losses"),
        learning_rate=number("lrs"),
        pseudo_dice=number("mean_fg_dice"),
        ema_pseudo_dice=number("ema_fg_dice"),
        pseudo_dice_per_class=tuple(finite(float(v)) for v in values["dice_per_class_or_region"][epoch]),
        seconds=finite(float(values["epoch_end_timestamps"][epoch] - values["epoch_start_timestamps"][epoch])),
        restored=restored,
    )


def _write_history(trainer: Any, job: Job) -> None:
    """Begin epochs.jsonl with the epochs in the checkpoint."""
    values = trainer.logger.local_logger.my_fantastic_logging
    for epoch in range(min(trainer.current_epoch, *(len(v) for v in values.values()))):
        append_line(job.stage.epochs_file, epoch_line(values, epoch, restored=True))


def _end_data_loaders(trainer: Any) -> None:
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()
