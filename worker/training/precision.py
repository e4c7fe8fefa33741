"""Mixed precision on a CPU, as nnU-Net has it on a GPU: convolutions in bfloat16, weights and losses in float32.

nnU-Net itself computes everything in float32 on a CPU (nnunetv2 2.8.1, nnUNetTrainer.py, `train_step`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import nnunet_seam


@contextmanager
def precision_of(network: Any, *, bf16: bool) -> Iterator[None]:
    """With bf16, the network computes in bfloat16 whatever PyTorch's autocast considers safe, and returns float32.
    Without bf16, nothing changes."""
    if not bf16:
        yield
        return
    import torch

    def mixed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = forward(*args, **kwargs)
        return _in_float32(output)

    with nnunet_seam.replaced_on(network, "torch.nn:Module.forward", mixed):
        yield


def _in_float32(output: Any) -> Any:
    """The output in float32, or the outputs of deep supervision."""
    return [part.float() for part in output] if isinstance(output, list | tuple) else output.float()
