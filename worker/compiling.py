"""torch.compile, which nnU-Net uses on every GPU: left out where it cannot work or fails, and always told.

Source: nnunetv2 2.8.1, nnUNetTrainer.py:303 (`_do_i_compile`).
"""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

VARIABLE = "nnUNet_compile"
# torch/_inductor/scheduler.py, `GPUTooOldForTriton`.
OLDEST_CAPABILITY = (7, 0)
# What raises where a network cannot be compiled; an error of the GPU itself is PyTorch's, RuntimeError or its kin.
COMPILERS = ("torch._dynamo", "torch._inductor", "triton")


def look_ahead() -> str | None:
    """Leave compiling out where it could only fail, in the first step; returns what is to be said of it."""
    if VARIABLE in os.environ or (why := _why_not()) is None:
        return None
    return leave_out(why)


def leave_out(why: str) -> str:
    """From now on nnU-Net does not compile in this process."""
    os.environ[VARIABLE] = "f"
    return f"Trained without torch.compile, so epochs take longer: {why}."


def _why_not() -> str | None:
    """What Triton lacks here to build its launcher (triton/runtime/build.py)."""
    import torch

    if "CC" not in os.environ and not any(map(shutil.which, ("gcc", "clang"))):
        return "there is no C compiler (gcc)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "the headers of Python are not installed (python3-dev)"
    if (capability := torch.cuda.get_device_capability()) < OLDEST_CAPABILITY:
        return f"the GPU is too old for it (compute capability {capability[0]}.{capability[1]}, 7.0 is needed)"
    return None


def is_compiled(network: Any) -> bool:
    """Whether the network compiles when it is first called; also inside of DDP."""
    from torch._dynamo import OptimizedModule

    return isinstance(getattr(network, "module", network), OptimizedModule)


def cannot_compile(error: BaseException) -> bool:
    """Whether the compiler failed, and not the network, the data or the GPU."""
    return type(error).__module__.startswith(COMPILERS)


def uncompile(trainer: Any) -> None:
    """Go on with the same weights and the plain network; the optimizer has them already."""
    if trainer.is_ddp:
        trainer.network.module = trainer.network.module._orig_mod
    else:
        trainer.network = trainer.network._orig_mod
