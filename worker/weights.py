"""Transfer learning from a checkpoint that need not be trusted.

A checkpoint is a pickle, and unpickling can run code. So the file is read with `weights_only=True`, reduced to tensors,
and given to nnU-Net as a new file that holds only tensors.
"""

import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ..calls import argument
from ..files import open_plain
from ..texts import SAID_LENGTH, clean, some
from . import nnunet_seam
from .data_only import NotData, plain, refuse_odd_archive, stand_ins
from .stage import StageFailure

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")

# nnU-Net does not transfer these layers: they produce the labels (load_pretrained_weights.py:27).
NOT_TRANSFERRED = ".seg_layers."
SHOWN_LAYERS = 5


def read_checkpoint(path: Path, *, inside: Sequence[Path] = ()) -> dict[str, Any]:
    """Read a checkpoint of nnU-Net onto the CPU: tensors, numbers and texts. Nothing in the file is run.

    `inside`: as for `open_plain`.

    Raises:
        StageFailure: the file is not a checkpoint of nnU-Net, or holds more than data.
    """
    try:
        with open_plain(path, inside=inside) as stream:
            return checkpoint_in(stream, path)
    except OSError as error:
        raise _unsafe(path, _why(error)) from error


def checkpoint_in(stream: IO[bytes], path: Path) -> dict[str, Any]:
    """As `read_checkpoint`, for an open file; `path` is only for messages."""
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(stand_ins()):
            refuse_odd_archive(stream)
            content = plain(torch.load(stream, map_location="cpu", weights_only=True))
    except zipfile.BadZipFile as error:
        raise _damaged(path, stream) from error
    except (pickle.UnpicklingError, NotData) as error:
        raise _unsafe(path, _why(error)) from error
    except (RuntimeError, EOFError, OSError, ValueError, TypeError, AttributeError, LookupError, MemoryError) as error:
        raise _unsafe(path, _why(error)) from error
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), dict):
        raise StageFailure(
            "the file is not an nnU-Net checkpoint", f"{path.name} has no network_weights", "Use a checkpoint_*.pth."
        )
    return content


def _unsafe(path: Path, why: str) -> StageFailure:
    return StageFailure(
        "the checkpoint cannot be read safely",
        f"{clean(path.name)}: {why}",
        "Use a checkpoint_final.pth or checkpoint_best.pth that nnU-Net wrote. Files that would run code when they "
        f"are loaded are refused; a model that was trained here predicts with its {argument(run_id=None)}.",
    )


def _damaged(path: Path, stream: IO[bytes]) -> StageFailure:
    """A file that is no whole zip, as every checkpoint of nnU-Net is, and the checkpoints beside it that are."""
    size = stream.seek(0, 2)
    folds = path.parent.parent.glob(f"fold_*/{path.name}")
    others = sorted({f"{other.stat().st_size:,}" for other in folds if other != path and other.is_file()})
    beside = sorted(one.name for one in path.parent.glob("checkpoint_*.pth") if zipfile.is_zipfile(one))
    return StageFailure(
        "the checkpoint is damaged, or no checkpoint",
        f"{clean(path.name)} of {clean(path.parent.name)} has {size:,} bytes and is no whole file of PyTorch"
        + (f"; those of other folds have {', '.join(others)}" if others else ""),
        f"{', '.join(beside)} beside it can be read: put it in its place under this name."
        if beside
        else "Copy it again from where it came, or train the fold again.",
    )


def _why(error: Exception) -> str:
    """What PyTorch refused, without its advice to load the file anyway."""
    refused = re.search(r"(?:Unsupported global: GLOBAL|function) (\S+)", str(error))
    if refused:
        return clean(f"it would call {refused[1]}", SAID_LENGTH)
    lines = [line for line in str(error).splitlines() if "weights_only" not in line]
    return clean(next(filter(str.strip, lines), type(error).__name__), SAID_LENGTH)


@contextmanager
def nothing_but_data_is_loaded(model: Path, *, unless: bool) -> Iterator[None]:
    """While this is active, `torch.load` reads checkpoints in the folder `model` as `read_checkpoint` does; nnU-Net's
    predictor would unpickle them. With `unless`, nothing changes.

    Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:81.
    """
    if unless:
        yield
        return

    def data_only(original: Callable[..., Any]) -> Callable[..., Any]:
        def load(path: Any, *args: Any, **named: Any) -> Any:
            if named.get("weights_only"):  # our own call, in `read_checkpoint`
                return original(path, *args, **named)
            return refuse_odd_names(read_checkpoint(Path(path), inside=[model]), path)

        return load

    with nnunet_seam.replaced("torch:load", data_only):
        yield


def read_tensors(path: Path) -> dict[str, Any]:
    """The network's tensors by name.

    Raises:
        StageFailure: as `read_checkpoint`.
    """
    return tensors_in(read_checkpoint(path))


def tensors_in(content: dict[str, Any]) -> dict[str, Any]:
    """As `read_tensors`, of a checkpoint that was read."""
    import torch

    weights = content["network_weights"]
    return {str(name).removeprefix("module."): t for name, t in weights.items() if isinstance(t, torch.Tensor)}


def count_parameters(path: Path) -> int:
    """How many weights the checkpoint's network has. Layers that decoder and encoder share count once.

    Raises:
        StageFailure: as `read_checkpoint`.
    """
    sizes = {(t.untyped_storage().data_ptr(), t.storage_offset()): t.numel() for t in read_tensors(path).values()}
    return sum(sizes.values())


def refuse_odd_names(content: dict[str, Any], path: str) -> dict[str, Any]:
    """What nnU-Net's predictor looks up by name is a name.

    Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:83-87.

    Raises:
        StageFailure: it is not.
    """
    given = content.get("init_args")
    names = content.get("trainer_name"), given.get("configuration") if isinstance(given, dict) else None
    axes = content.get("inference_allowed_mirroring_axes") or ()
    if not all(isinstance(name, str) and NAME.fullmatch(name) for name in names):
        raise _unsafe(Path(path), "trainer_name or configuration is no name")
    if not isinstance(axes, list | tuple) or not set(axes) <= {0, 1, 2}:
        raise _unsafe(Path(path), "inference_allowed_mirroring_axes are no axes")
    return content


def load_weights(trainer: Any, path: Path) -> str:
    """Initialise the trainer's network with the file's weights; the segmentation layers stay random. Returns what was
    transferred, counted in the network itself.

    Raises:
        StageFailure: the architectures differ; the message names the layers.
    """
    import torch
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    if not trainer.was_initialized:
        trainer.initialize()
    tensors = read_tensors(path)
    refuse_other_architecture(bare(trainer.network).state_dict(), tensors)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "weights.pth"
        torch.save({"network_weights": tensors}, plain)
        load_pretrained_weights(trainer.network, str(plain), verbose=False)
    return _told(bare(trainer.network).state_dict(), tensors, path)


def _told(own: dict[str, Any], given: dict[str, Any], path: Path) -> str:
    import torch

    wanted = {name: t for name, t in own.items() if NOT_TRANSFERRED not in name and name in given}
    same = {name for name, t in wanted.items() if torch.equal(t.detach().cpu(), given[name].cpu())}
    left = sorted(set(own) - same)
    out = f"; left out: {some(left, SHOWN_LAYERS)} (segmentation layers begin at random)" if left else ""
    return f"Transfer: {len(same)} of {len(own)} tensors of the network were loaded from {path}{out}."


def bare(network: Any) -> Any:
    """The network inside DDP and torch.compile."""
    inner = getattr(network, "module", network)
    return getattr(inner, "_orig_mod", inner)


def refuse_other_architecture(own: dict[str, Any], given: dict[str, Any]) -> None:
    """Compare names and shapes of all layers that would be transferred.

    Raises:
        StageFailure: they differ.
    """
    wanted = {name: tuple(t.shape) for name, t in own.items() if NOT_TRANSFERRED not in name}
    offered = {name: tuple(t.shape) for name, t in given.items()}
    wrong = [
        f"{name}: {shape} here, {offered.get(name, 'missing')} there"
        for name, shape in wanted.items()
        if offered.get(name) != shape
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN_LAYERS} more" if len(wrong) > SHOWN_LAYERS else ""
        raise StageFailure(
            f"the pretrained weights are of another architecture ({len(wrong)} of {len(wanted)} layers differ)",
            "; ".join(wrong[:SHOWN_LAYERS]) + more,
            f"Use a checkpoint of the same configuration, or a {argument(plans_identifier=None)} with the same "
            "architecture.",
        )
