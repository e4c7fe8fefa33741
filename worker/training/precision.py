"""Mixed precision on a CPU, as nnU-Net has it on a GPU: convolutions in bfloat16, weights and losses in float32.

nnU-Net itself computes everything in float32 on a CPU (nnunetv2 2.8.1, nnUNetTrainer.py, `train_step`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def precision_of(network: Any, *, bf16: bool) -> Iterator[None]:
    """With bf16, the network inside computes in bfloat16 what PyTorch's autocast holds to be safe; its outputs are
    float32. Without, it stays as it is."""
    if not bf16:
        yield
        return
    import torch

    plain = network.forward
    mixed = torch.autocast("cpu", dtype=torch.bfloat16)(plain)
    network.forward = lambda *args, **kwargs: _in_float32(mixed(*args, **kwargs))
    try:
        yield
    finally:
        network.forward = plain


def _in_float32(output: Any) -> Any:
    """One output, or those of deep supervision."""
    return [part.float() for part in output] if isinstance(output, list | tuple) else output.float()
