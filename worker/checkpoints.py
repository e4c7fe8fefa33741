"""Checkpoints: written whole, and gone on with from the newest that can be read."""

import os
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ..runs.files import read_lines, write_text
from ..runs.layout import StageDir
from ..runs.preprocessed import planned
from ..runs.texts import some
from ..schemas.runs import Epoch
from .stage import Job, StageFailure

# A case more or less changes it, and nothing is built from it.
ONLY_TOLD = "median_image_size_in_voxels"


def load_checkpoint(trainer: Any, job: Job, *, resume: bool, validate: bool, weights: str | None) -> None:
    """Load the newest readable checkpoint for a resume, the final one for a validation, or the weights."""
    if weights is not None:
        from .weights import load_weights

        load_weights(trainer, Path(weights))
    elif validate:
        trainer.load_checkpoint(str(job.fold.final))
    elif resume:
        _load_newest(trainer, job)


def _load_newest(trainer: Any, job: Job) -> None:
    now, damaged = _plans(trainer), []
    for checkpoint in job.fold.checkpoints():
        try:
            trainer.load_checkpoint(str(checkpoint))
        except (RuntimeError, EOFError, OSError, KeyError, UnpicklingError) as error:
            damaged.append(f"{checkpoint.name} could not be read ({type(error).__name__})")
            continue
        if trainer.local_rank == 0:
            _go_on(trainer, job, [*_fallback(damaged, checkpoint), *_other_plans(_changed(trainer, job, now))])
        return
    raise _nothing_to_go_on_from(job, damaged, _changed(trainer, job, now))


def _plans(trainer: Any) -> dict[str, Any]:
    """Those that the trainer was made with; once it has loaded a checkpoint, those that the training began with."""
    found = getattr(trainer, "my_init_kwargs", {}).get("plans")
    return found if isinstance(found, dict) else {}


def _changed(trainer: Any, job: Job, now: dict[str, Any]) -> list[str]:
    """What has another value in the configuration than when the training began."""
    begun, wanted = (planned(plans, job.spec.configuration) or {} for plans in (_plans(trainer), now))
    names = (begun.keys() | wanted.keys()) - {ONLY_TOLD}
    return sorted(name for name in names if begun.get(name) != wanted.get(name))


def _go_on(trainer: Any, job: Job, notes: list[str]) -> None:
    if job.stage.epochs_file.exists():
        _forget_epochs(job.stage.epochs_file, since=trainer.current_epoch)
    write_text(notes_file(job.stage), "".join(f"{note}\n" for note in notes))


def notes_file(stage: StageDir) -> Path:
    """What a resume has to say, a note in each line."""
    return stage.path / "resumed.txt"


def _fallback(damaged: list[str], checkpoint: Path) -> list[str]:
    return [f"{'; '.join(damaged)}: went on from {checkpoint.name}."] if damaged else []


def _other_plans(changed: list[str]) -> list[str]:
    if not changed:
        return []
    return [f"The plans have changed since this training began ({some(changed)}); it went on with those of now."]


def _nothing_to_go_on_from(job: Job, damaged: list[str], changed: list[str]) -> StageFailure:
    if changed:
        return StageFailure(
            "the plans have changed since this training began, and its checkpoint is not of the network of now",
            f"{job.record.plans_identifier}.json, {job.spec.configuration}: {some(changed)} differ",
            "Train the fold anew with overwrite=true; or put the old plans back and start the request again.",
        )
    return StageFailure(
        "there is no readable checkpoint to continue from",
        "; ".join(damaged) or f"no checkpoint in {job.fold.path}",
        "Start again with overwrite=true.",
    )


def _forget_epochs(history: Path, *, since: int) -> None:
    """What an earlier attempt trained behind its checkpoint is trained again."""
    kept = [epoch.model_dump_json() for epoch in read_lines(history, Epoch) if epoch.epoch < since]
    write_text(history, "".join(f"{line}\n" for line in kept))


def save_whole(method: Callable[[str], None], filename: str) -> None:
    """Save beside and rename: a kill or a full disk leaves the checkpoint before it intact."""
    temporary = f"{filename}.saving"
    try:
        method(temporary)
        if Path(temporary).exists():  # nothing is written with disable_checkpointing
            with Path(temporary).open("rb") as stream:
                os.fsync(stream.fileno())
            Path(temporary).replace(filename)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
