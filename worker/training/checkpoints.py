"""Checkpoints: written whole, and gone on with from the newest that can be read."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast
from zipfile import BadZipFile

from ...calls import argument
from ...files import read_lines, write_text
from ...nnunet.preprocessed import planned
from ...schemas.records import Epoch
from ...texts import some
from ..notes import RESUMED, write_notes
from ..stage import Job, StageFailure
from ..weights import load_weights, nothing_but_data_is_loaded

# A case more or less changes it, and nothing is built from it.
ONLY_TOLD = "median_image_size_in_voxels"
# What `Module.load_state_dict` says of weights of another network (torch/nn/modules/module.py).
OTHER_NETWORK = "loading state_dict"
# PyTorch's reader seeks before the beginning of a file that was cut off.
BEYOND = errno.EINVAL
# Of what a training goes on from while it trains: the best one is gone on from only where neither is there.
MUST_LAST = ("checkpoint_latest.pth", "checkpoint_final.pth")

Choice = tuple[Path | None, list[str]]


def load_checkpoint(trainer: Any, job: Job, *, resume: bool, validate: bool, weights: str | None) -> None:
    """Load the newest readable checkpoint for a resume, the final one for a validation, or the weights."""
    if weights is not None:
        load_weights(trainer, Path(weights))
    elif validate:
        trainer.load_checkpoint(str(job.fold.final))
    elif resume:
        _load_newest(trainer, job)


def _load_newest(trainer: Any, job: Job) -> None:
    """What a GPU says (occupied, lost, too old) goes on to the diagnosis: it says nothing about a file."""
    now = _plans(trainer)
    if not trainer.was_initialized:
        trainer.initialize()
    checkpoint, damaged = _agreed(trainer, lambda: _newest_readable(job))
    if checkpoint is None:
        raise _nothing_to_go_on_from(job, damaged)
    try:
        trainer.load_checkpoint(str(checkpoint))
    except RuntimeError as error:
        if OTHER_NETWORK in str(error) and (changed := _changed(trainer, job, now)):
            raise _of_another_network(job, changed) from error
        raise
    if trainer.local_rank == 0:
        _go_on(trainer, job, [*_fallback(damaged, checkpoint), *_other_plans(_changed(trainer, job, now))])


def _agreed(trainer: Any, choose: Callable[[], Choice]) -> Choice:
    """The choice of rank 0: ranks that chose for themselves could go on from different weights."""
    if not trainer.is_ddp:
        return choose()
    import torch

    choice = [choose() if trainer.local_rank == 0 else None]
    torch.distributed.broadcast_object_list(choice, src=0, device=trainer.device)
    return cast(Choice, choice[0])


def _newest_readable(job: Job) -> Choice:
    """The newest checkpoint that is whole, and what is said of newer ones that are not."""
    damaged: list[str] = []
    for checkpoint in job.fold.checkpoints():
        if (damage := _damage(job, checkpoint)) is None:
            return checkpoint, damaged
        damaged.append(f"{checkpoint.name} could not be read ({damage})")
    return None, damaged


def _damage(job: Job, checkpoint: Path) -> str | None:
    """What is wrong with the file itself; read on the CPU, where a RuntimeError is about the file or the memory."""
    import torch

    try:
        with only_data_of_others(job):
            content = torch.load(str(checkpoint), map_location="cpu", weights_only=False)
        content["network_weights"]
    except StageFailure as failure:
        return failure.failure.evidence
    except (EOFError, BadZipFile, UnpicklingError, LookupError, TypeError) as error:
        return type(error).__name__
    except (RuntimeError, OSError) as error:
        of_the_machine = "allocate memory" in str(error) if isinstance(error, RuntimeError) else error.errno != BEYOND
        if of_the_machine:
            raise
        return type(error).__name__
    return None


@contextmanager
def only_data_of_others(job: Job) -> Iterator[None]:
    """In here a checkpoint of the fold is loaded whole where it was trained here, and as data where it was not.

    A trainer of one's own may keep anything in its checkpoints; those of strangers would run it.

    Raises:
        StageFailure: it holds more than data.
    """
    with nothing_but_data_is_loaded(job.fold.path, unless=job.goes_on_with_our_own):
        yield


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
    write_notes(job.stage, RESUMED, notes)


def _fallback(damaged: list[str], checkpoint: Path) -> list[str]:
    return [f"{'; '.join(damaged)}: went on from {checkpoint.name}."] if damaged else []


def _other_plans(changed: list[str]) -> list[str]:
    if not changed:
        return []
    return [f"The plans have changed since this training began ({some(changed)}); it went on with those of now."]


def _of_another_network(job: Job, changed: list[str]) -> StageFailure:
    return StageFailure(
        "the plans have changed since this training began, and its checkpoint is not of the network of now",
        f"{job.record.plans_identifier}.json, {job.spec.configuration}: {some(changed)} differ",
        "Put the old plans back and start the request again; with the plans of now, train another fold or under "
        f"another {argument(plans_identifier=None)}.",
    )


def _nothing_to_go_on_from(job: Job, damaged: list[str]) -> StageFailure:
    remedy = (
        "Put a whole copy of a checkpoint back and start the request again. Where there is none, rename the damaged "
        f"files and start the request without {argument(continue_training=None)}."
        if damaged
        else f"Start the request without {argument(continue_training=None)}."
    )
    evidence = "; ".join(damaged) or f"no checkpoint in {job.fold.path}"
    return StageFailure("there is no readable checkpoint to continue from", evidence, remedy)


def _forget_epochs(history: Path, *, since: int) -> None:
    """What an earlier attempt trained behind its checkpoint is trained again."""
    kept = [epoch.model_dump_json() for epoch in read_lines(history, Epoch) if epoch.epoch < since]
    write_text(history, "".join(f"{line}\n" for line in kept))


def save_whole(method: Callable[[str], None], filename: str) -> None:
    """Save beside and rename: a kill or a full disk leaves the checkpoint before it intact.

    Only what a training goes on from waits for the disk: early on every epoch has a new best one.
    """
    temporary = f"{filename}.saving"
    try:
        method(temporary)
        if Path(temporary).exists():  # nothing is written with disable_checkpointing
            if Path(filename).name in MUST_LAST:
                with Path(temporary).open("rb") as stream:
                    os.fsync(stream.fileno())
            Path(temporary).replace(filename)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
