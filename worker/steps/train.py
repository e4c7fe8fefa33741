"""The training and validation stages: nnU-Net's own trainer, with our hooks on it.

nnU-Net's `run_training` does everything; the functions it calls for the trainer, the checkpoint and DDP
are replaced by ones that add progress, atomic checkpoints and a resume that finds the newest checkpoint.
"""

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import read_json, read_model, write_model
from ...liveness import host_name
from ...locks import Lock, lock_name, waiting_for
from ...nnunet import old_models
from ...nnunet.preprocessed import DataNote, data_folder, data_needed_by, data_note_file, planned
from ...nnunet.splits import trained_cases
from ...nnunet.summary import Summary, voxel_mm3
from ...runs.machine.processor import CPUINFO, computes_bfloat16
from ...schemas.outcomes import ModelOutcome
from ...schemas.records import Epoch
from .. import nnunet_seam
from ..nnunet_seam import RUN
from ..pool_watch import end_when_a_pool_process_is_killed
from ..resources import fit_this_process, gpu_peak_gb
from ..stage import Job, StageFailure
from ..training.ddp import run_ddp, stop_of_ranks
from ..training.hooks import install
from ..training.lost_weights import nan_failure
from ..weights import count_parameters
from .preprocess import data_lock, refuse_small_batch

# A shared file system frees the locks of a failed host after about 90 s (NFSv4's lease).
EARLIER_ATTEMPT_S = 180.0


def carry_out(job: Job) -> ModelOutcome:
    """Train (or only validate) one fold and read what nnU-Net measured."""
    _check_processor(job)
    refuse_small_batch(job, job.spec.configuration)
    end_when_a_pool_process_is_killed(job.stage)
    lock = _own_fold(job)
    again = _was_here(job)
    if job.asked("overwrite") and not again:
        old_models.keep(job.fold, job.record.run_id)
    seen_before = _take_over(job)
    started = time.time()
    resume = job.spec.resume or (again and _has_saved(job))
    if job.spec.traits.trains and not resume:
        job.fold.cases_file.unlink(missing_ok=True)
    with _hold_data(job):
        _run_nnunet(job, resume=resume)
    outcome = _outcome(job, started, seen_before)
    write_model(job.fold.outcome_file, outcome)
    if job.spec.traits.trains:
        old_models.remove(job.fold)
    _link_documented_folder(job)
    lock.release()
    return outcome


def _own_fold(job: Job) -> Lock:
    """Take the lock of this fold folder; nobody else writes it while the lock is held."""
    lock = Lock(job.locks_dir / lock_name("fold", *job.fold.path.parts[-3:]))
    deadline = time.monotonic() + EARLIER_ATTEMPT_S
    while not lock.try_acquire(job.holder):
        other = lock.holder().get("run_id", "another run")
        if other != job.record.run_id or time.monotonic() > deadline:
            raise StageFailure(
                f"run {other} writes the same fold folder",
                str(job.fold.path),
                "Wait for it, or cancel one of the two.",
            )
        job.reporter.tick(phase="waiting", waits_for="the stage's earlier attempt, whose host still holds its lock")
        job.reporter.stop_here()
        time.sleep(1.0)
    return lock


def _was_here(job: Job) -> bool:
    """Whether an earlier attempt of this stage wrote the fold folder (a Slurm job that was requeued)."""
    return job.spec.traits.trains and job.fold.owner() == job.record.run_id


def _has_saved(job: Job) -> bool:
    """Whether an earlier attempt left a checkpoint to resume from. If not, forget its epochs."""
    if not job.fold.checkpoints():
        job.stage.epochs_file.unlink(missing_ok=True)
        return False
    return True


def _take_over(job: Job) -> int:
    """Write our run's id into the fold folder; returns how many epochs the previous run trained in it."""
    earlier = 0
    if job.spec.resume and (owner := job.fold.owner()) is not None:
        run = job.state.run(owner)
        earlier = max((epoch.epoch + 1 for epoch in run.stage(job.stage.name).recent_epochs(1)), default=0)
    job.fold.path.mkdir(parents=True, exist_ok=True)
    job.fold.owner_file.write_text(job.record.run_id, encoding="utf-8")
    return earlier


def _hold_data(job: Job) -> ExitStack:
    """Keep the preprocessed data from being replaced while they are read."""
    plans = job.files.plans(job.record.plans_identifier) or {}
    configurations = [c for c in data_needed_by(job.spec.configuration) if planned(plans, c)]
    folders = sorted({data_folder(job.files, plans, c).name for c in configurations})

    def say(holder: dict[str, Any]) -> None:
        job.reporter.tick(phase="waiting", waits_for=f"run {holder.get('run_id', '?')} preprocesses the data")
        job.reporter.stop_here()

    locks = job.locks_dir
    stack = ExitStack()
    for folder in folders:
        lock = data_lock(locks, job.files, folder)
        stack.enter_context(waiting_for(lock, say, holder=job.holder, shared=True))
    return stack


def _run_nnunet(job: Job, *, resume: bool) -> None:
    import torch
    from nnunetv2.run import run_training

    fit_this_process(job.record.device)
    install(job)
    nnunet_seam.replace(f"{RUN}:run_ddp", lambda original: run_ddp)
    job.reporter.say("loading")
    with stop_of_ranks():
        run_training.run_training(
            dataset_name_or_id=job.record.dataset_name,
            configuration=job.spec.configuration,
            fold=str(job.spec.fold),
            trainer_class_name=job.record.trainer,
            plans_identifier=job.record.plans_identifier,
            # A fold that goes on has weights of its own, also in a run whose other folds begin with these.
            pretrained_weights=str(job.weights) if job.weights and not resume else None,
            num_gpus=job.record.num_gpus,
            export_validation_probabilities=job.asked("npz"),
            continue_training=resume,
            only_run_validation=job.spec.traits.only_validates,
            disable_checkpointing=job.asked("disable_checkpointing"),
            val_with_best=job.asked("val_best"),
            device=torch.device(job.record.device),
        )


def _check_processor(job: Job) -> None:
    """Check for bfloat16 again: on a cluster this machine need not be the one that was checked at the request."""
    if job.record.bf16 and not computes_bfloat16():
        raise StageFailure(
            "bf16 was asked for, but this machine's CPU has no bfloat16 instructions",
            f"{CPUINFO} on {host_name()}",
            f"Leave bf16 out, or choose nodes that have them ({argument(slurm=['constraint=…'])}).",
        )


def _outcome(job: Job, started: float, seen_before: int) -> ModelOutcome:
    summary_file = job.fold.summary
    if not summary_file.is_file() or summary_file.stat().st_mtime < started - 2:
        raise StageFailure(
            "nnU-Net ended without a validation result",
            str(summary_file),
            "Read the end of the log, and correct what it names.",
        )
    epochs = job.stage.epochs()
    earlier = job.fold.outcome() if job.spec.traits.only_validates else None
    loss = epochs[-1].val_loss if epochs else (earlier.metrics.validation_loss if earlier and earlier.metrics else None)
    _refuse_nan(epochs)
    summary = Summary(summary_file, _labels(job))
    return ModelOutcome(
        ok=True,
        model_path=str(job.fold.path),
        metrics=summary.metrics(loss),
        per_class=summary.per_class(),
        cases=summary.cases(),
        voxel_mm3=voxel_mm3(job.files),
        ema_pseudo_dice=epochs[-1].ema_pseudo_dice if epochs else (earlier.ema_pseudo_dice if earlier else None),
        epochs_trained=len(epochs) or (earlier.epochs_trained if earlier else None),
        train_hours=_hours(epochs) if epochs else (earlier.train_hours if earlier else None),
        parameters=parameters_of(job.fold.final),
        checkpoint=_checkpoint(job),
        gpu_gb=gpu_peak_gb(job.record.device),  # of several GPUs it uses none itself
        notes=tuple(_notes(job, epochs, seen_before)),
    )


def parameters_of(checkpoint: Path) -> int | None:
    """How many weights the network has; null if the checkpoint cannot be read safely.

    The user's own trainer may put anything into its checkpoints, and that must not make the training fail.
    """
    if not checkpoint.is_file():
        return None
    with suppress(StageFailure):
        return count_parameters(checkpoint)
    return None


def _hours(epochs: list[Epoch]) -> float | None:
    seconds = [epoch.seconds for epoch in epochs]
    known = [value for value in seconds if value is not None]
    return round(sum(known) / 3600, 4) if len(known) == len(seconds) else None


def _refuse_nan(epochs: list[Epoch]) -> None:
    """Fail if the loss was not a number up to the end: nnU-Net then exits with 0 and reports a Dice of 0."""
    sound = [epoch.epoch for epoch in epochs if epoch.train_loss is not None or epoch.val_loss is not None]
    if epochs and epochs[-1].epoch not in sound[-1:]:
        raise nan_failure(sound[-1] + 1 if sound else epochs[0].epoch, epochs[-1].learning_rate)


def _labels(job: Job) -> dict[str, Any]:
    content = read_json(job.files.preprocessed / "dataset.json") or {}
    return dict(content.get("labels", {}))


def _checkpoint(job: Job) -> str:
    if job.asked("val_best"):
        return "checkpoint_best.pth"
    return "none (weights in memory)" if job.asked("disable_checkpointing") else "checkpoint_final.pth"


def _notes(job: Job, epochs: list[Epoch], seen_before: int) -> list[str]:
    notes = [f"Validated with {_checkpoint(job)}."] if job.asked("val_best") else []
    if job.spec.fold == "all":
        notes.append("fold full: trained on every case, so these metrics are measured on training data (optimistic).")
    if job.record.bf16:
        notes.append("bf16: trained in mixed precision; the validation computed in float32.")
    if job.asked("disable_checkpointing"):
        notes.append(
            f"{argument(disable_checkpointing=None)}: no checkpoint was written; nothing can be resumed or predicted "
            "with."
        )
    if restored := sum(epoch.restored for epoch in epochs):
        lost = max(0, seen_before - restored)
        notes.append(f"Resumed at epoch {restored + 1}; {lost} epochs behind the checkpoint were trained again.")
    if _has_other_data(job):
        notes.append("The raw data have changed and were preprocessed again since this training began.")
    return notes + job.stage.notes()


def _has_other_data(job: Job) -> bool:
    """Whether the images or labels differ from those that the training began with."""
    begun = trained_cases(job.fold)
    plans = job.files.plans(job.record.plans_identifier) or {}
    note = read_model(data_note_file(data_folder(job.files, plans, job.spec.configuration)), DataNote)
    return bool(begun and note and begun.raw_identity not in ("", note.raw_identity))


def _link_documented_folder(job: Job) -> None:
    """Make the link nnUNetv2_<configuration>, the path in the documentation, lead to the model trained last."""
    model = job.fold.path.parent
    link = model.with_name(f"nnUNetv2_{job.spec.configuration}")
    if link.exists() and not link.is_symlink():
        return
    temporary = link.with_name(f".{link.name}.{job.record.run_id}")
    try:
        temporary.symlink_to(model.name)
        temporary.replace(link)
    except OSError as error:
        print(f"{link} could not be made: {error}")
