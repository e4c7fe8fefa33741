"""Transfer learning from a checkpoint that nobody has to trust.

A checkpoint is a pickle, and unpickling runs code. The file is read with `weights_only=True`, reduced to
tensors, and handed to nnU-Net as a new file of plain tensors.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .stage import StageFailure

# nnU-Net does not transfer these: they map to the labels (load_pretrained_weights.py:27).
NOT_TRANSFERRED = ".seg_layers."
SHOWN_LAYERS = 5


def read_checkpoint(path: Path) -> dict[str, Any]:
    """An nnU-Net checkpoint, on the CPU, without running anything from the file.

    Raises:
        StageFailure: the file is not a checkpoint of nnU-Net, or holds more than data.
    """
    import pickle

    import torch

    try:
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise StageFailure(
            "the checkpoint cannot be read safely",
            f"{path.name}: {_why(error)}",
            "Use a checkpoint_final.pth or checkpoint_best.pth that nnU-Net wrote. Files that would run code when "
            "they are loaded are refused; a model that was trained here predicts with its run_id.",
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("network_weights"), dict):
        raise StageFailure(
            "the file is not an nnU-Net checkpoint", f"{path.name} has no network_weights", "Use a checkpoint_*.pth."
        )
    return content


def _why(error: Exception) -> str:
    """What PyTorch refused, without its advice to load the file anyway."""
    refused = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    return f"it would call {refused[1]}" if refused else (str(error).splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def nothing_but_data_is_loaded(*, unless: bool) -> Iterator[None]:
    """nnU-Net's predictor unpickles checkpoints whole; in here `torch.load` reads them as `read_checkpoint` does.

    Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:81. `unless` leaves it as it is.

    Raises:
        StageFailure: as `read_checkpoint`.
    """
    import torch

    library: Any = torch
    original = library.load

    def data_only(path: str, *_: Any, **__: Any) -> dict[str, Any]:
        library.load = original
        try:
            return read_checkpoint(Path(path))
        finally:
            library.load = data_only

    if not unless:
        library.load = data_only
    try:
        yield
    finally:
        library.load = original


def read_tensors(path: Path) -> dict[str, Any]:
    """The network's tensors by name.

    Raises:
        StageFailure: as `read_checkpoint`.
    """
    import torch

    weights = read_checkpoint(path)["network_weights"]
    return {name.removeprefix("module."): t for name, t in weights.items() if isinstance(t, torch.Tensor)}


def count_parameters(path: Path) -> int:
    """How many weights the checkpoint's network has; layers that the decoder and encoder share count once.

    Raises:
        StageFailure: as `read_checkpoint`.
    """
    sizes = {(t.untyped_storage().data_ptr(), t.storage_offset()): t.numel() for t in read_tensors(path).values()}
    return sum(sizes.values())


def _harmless() -> list[Any]:
    """The numpy types in nnU-Net's own checkpoints (its logged numbers), also under their names before numpy 2."""
    import numpy
    from numpy._core import multiarray

    dtypes = [getattr(numpy.dtypes, name) for name in numpy.dtypes.__all__]
    functions = [multiarray.scalar, multiarray._reconstruct]
    before = [(function, f"numpy.core.multiarray.{function.__name__}") for function in functions]
    return [numpy.dtype, numpy.ndarray, *functions, *before, *dtypes]


def load_weights(trainer: Any, path: Path) -> None:
    """Start the trainer's network from the file's weights; the segmentation layers stay random.

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


def bare(network: Any) -> Any:
    """The network without DDP and torch.compile around it."""
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
            "Use a checkpoint of the same configuration, or a plans_identifier with the same architecture.",
        )
