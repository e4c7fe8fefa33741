"""Checkpoints: always written completely, and resumed from the newest one that can be read."""

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
from ...nnunet.datasets import FoldFiles
from ...nnunet.preprocessed import planned
from ...nnunet.splits import known_cases, trained_cases
from ...schemas.records import Epoch
from ...texts import some
from ..self_supervised import adapts, leave_loading_to_us, load_adapted, refuse_without_weights
from ..stage import Job, StageFailure
from ..weights import load_weights, nothing_but_data_is_loaded

# One case more or less changes this key, but nothing in the network depends on it.
ONLY_TOLD = "median_image_size_in_voxels"
# The text of `Module.load_state_dict` for weights of another network (torch/nn/modules/module.py).
OTHER_NETWORK = "loading state_dict"
# The key that is left out of a checkpoint that is only to predict.
OPTIMIZER = "optimizer_state"
# PyTorch's reader seeks to a negative offset if the file is truncated.
BEYOND = errno.EINVAL
# The checkpoints that a running training is resumed from; the best one serves only if neither exists.
MUST_LAST = ("checkpoint_latest.pth", "checkpoint_final.pth")

Choice = tuple[Path | None, list[str]]


def load_checkpoint(trainer: Any, job: Job, *, resume: bool, validate: bool, weights: str | None) -> None:
    """Load the newest readable checkpoint for a resume, the final one for a validation, or the weights."""
    leave_loading_to_us(trainer)
    if validate:
        trainer.load_checkpoint(str(job.fold.final))
    elif resume:
        _load_newest(trainer, job)
    elif weights is not None:
        told = (load_adapted if adapts(trainer) else load_weights)(trainer, Path(weights))
        if trainer.local_rank == 0:
            job.stage.write_notes("transfer", [told, *shared_cases(job.fold, Path(weights))])
            trainer.print_to_log_file(told)
    else:
        refuse_without_weights(trainer)


def shared_cases(fold: FoldFiles, weights: Path) -> list[str]:
    """A note where the pretrained model was trained on cases that this fold validates with."""
    own = trained_cases(fold)
    return known_cases(weights, own.val) if own else []


def _load_newest(trainer: Any, job: Job) -> None:
    """Load the newest checkpoint that can be read. Errors of the GPU (occupied, lost, too old) are passed on to the
    diagnosis: they say nothing about a file."""
    now = _plans(trainer)
    if not trainer.was_initialized:
        trainer.initialize()
    checkpoint, damaged = _agreed(trainer, lambda: _newest_readable(job))
    if checkpoint is None:
        raise _nothing_to_go_on_from(job, damaged)
    try:
        trainer.load_checkpoint(str(checkpoint))
    except KeyError as error:
        if error.args == (OPTIMIZER,):
            raise _without_optimizer(checkpoint) from error
        raise
    except RuntimeError as error:
        if OTHER_NETWORK in str(error) and (changed := _changed(trainer, job, now)):
            raise _of_another_network(job, changed) from error
        raise
    if trainer.local_rank == 0:
        _go_on(trainer, job, [*_fallback(damaged, checkpoint), *_other_plans(_changed(trainer, job, now))])


def _agreed(trainer: Any, choose: Callable[[], Choice]) -> Choice:
    """Use the choice of rank 0: ranks that chose for themselves could resume from different weights."""
    if not trainer.is_ddp:
        return choose()
    import torch

    choice = [choose() if trainer.local_rank == 0 else None]
    torch.distributed.broadcast_object_list(choice, src=0, device=trainer.device)
    return cast(Choice, choice[0])


def _newest_readable(job: Job) -> Choice:
    """The newest complete checkpoint, and notes on newer ones that are damaged."""
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
    """While this is active, a checkpoint of the fold is unpickled whole only if it was trained here, else as data
    alone.

    The user's own trainer may put anything into its checkpoints; unpickling a stranger's checkpoint could run its code.

    Raises:
        StageFailure: it holds more than data.
    """
    with nothing_but_data_is_loaded(job.fold.path, unless=job.goes_on_with_our_own):
        yield


def _plans(trainer: Any) -> dict[str, Any]:
    """The plans that the trainer was made with; after it has loaded a checkpoint, those in the checkpoint."""
    found = getattr(trainer, "my_init_kwargs", {}).get("plans")
    return found if isinstance(found, dict) else {}


def _changed(trainer: Any, job: Job, now: dict[str, Any]) -> list[str]:
    """Which values of the configuration have changed since the training began."""
    begun, wanted = (planned(plans, job.spec.configuration) or {} for plans in (_plans(trainer), now))
    names = (begun.keys() | wanted.keys()) - {ONLY_TOLD}
    return sorted(name for name in names if begun.get(name) != wanted.get(name))


def _go_on(trainer: Any, job: Job, notes: list[str]) -> None:
    if job.stage.epochs_file.exists():
        _forget_epochs(job.stage.epochs_file, since=trainer.current_epoch)
    job.stage.write_notes("resumed", notes)


def _fallback(damaged: list[str], checkpoint: Path) -> list[str]:
    return [f"{'; '.join(damaged)}: went on from {checkpoint.name}."] if damaged else []


def _other_plans(changed: list[str]) -> list[str]:
    if not changed:
        return []
    return [f"The plans have changed since this training began ({some(changed)}); it went on with the present ones."]


def _of_another_network(job: Job, changed: list[str]) -> StageFailure:
    return StageFailure(
        "the plans have changed since this training began, and its checkpoint does not fit the present network",
        f"{job.record.plans_identifier}.json, {job.spec.configuration}: {some(changed)} differ",
        "Put the old plans back and start the request again; with the present plans, train another fold or under "
        f"another {argument(plans_identifier=None)}.",
    )


def _without_optimizer(checkpoint: Path) -> StageFailure:
    return StageFailure(
        "the checkpoint has no state of the optimizer, so its training cannot go on",
        f"{checkpoint} has no {OPTIMIZER}",
        f"{argument(pretrained_weights=str(checkpoint))} starts another training from its weights.",
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
    """Forget the epochs that an earlier attempt trained after its checkpoint; they are trained again."""
    kept = [epoch.model_dump_json() for epoch in read_lines(history, Epoch) if epoch.epoch < since]
    write_text(history, "".join(f"{line}\n" for line in kept))


def save_whole(
    method: Callable[[str], None], filename: str, note: Callable[[Path], None] = lambda written: None
) -> None:
    """Save beside the target and rename, so that a kill or a full disk leaves the previous checkpoint intact. `note` is
    told of the written file before it is renamed.

    Only checkpoints that a training resumes from are flushed to the disk: in the beginning every epoch writes a new
    best one.
    """
    temporary = f"{filename}.saving"
    try:
        method(temporary)
        if Path(temporary).exists():  # with disable_checkpointing nothing is written
            if Path(filename).name in MUST_LAST:
                with Path(temporary).open("rb") as stream:
                    os.fsync(stream.fileno())
            note(Path(temporary))
            Path(temporary).replace(filename)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
