"""torch.compile, which nnU-Net uses on every GPU: left out where it cannot work or fails, always with a note.

Source: nnunetv2 2.8.1, nnUNetTrainer.py:303 (`_do_i_compile`).
"""

import os
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from .. import nnunet_seam
from ..nnunet_seam import TRAINER
from ..stage import Job

VARIABLE = "nnUNet_compile"
# torch/_inductor/scheduler.py, `GPUTooOldForTriton`.
OLDEST_CAPABILITY = (7, 0)
# Exceptions of the compiler. Errors of the GPU itself are RuntimeError or its subclasses.
COMPILERS = ("torch._dynamo", "torch._inductor", "triton")
WITHOUT = "It runs without torch.compile, so epochs take longer"


def look_ahead() -> str | None:
    """Switch compiling off if it could only fail in the first step; returns the note about it."""
    if VARIABLE in os.environ or (why := _why_not()) is None:
        return None
    return leave_out(why)


def leave_out(why: str) -> str:
    """From now on nnU-Net does not compile in this process."""
    os.environ[VARIABLE] = "f"
    return f"{WITHOUT}: {why}."


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
    """Whether the network is to be compiled at its first call; also inside DDP."""
    from torch._dynamo import OptimizedModule

    return isinstance(getattr(network, "module", network), OptimizedModule)


def cannot_compile(error: BaseException) -> bool:
    """Whether the error is the compiler's, not one of the network, the data or the GPU."""
    return type(error).__module__.startswith(COMPILERS)


def told(error: BaseException) -> str:
    """The compiler's error in one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"


def leave_out_and_tell(trainer: Any, job: Job, error: BaseException) -> None:
    """Switch compiling off after the compiler's error, with a note. The log does not repeat the error, because the
    diagnosis could take it for the cause of a later death."""
    job.stage.write_notes("compile", [leave_out(told(error))])
    trainer.print_to_log_file(f"{WITHOUT}; the notes of the result say why.")


def uncompile(trainer: Any) -> None:
    """Continue with the same weights in uncompiled modules; the optimizer keeps its references to them.

    nnU-Net compiles a part of the loss, too (nnUNetTrainer.py:448).
    """
    nnunet_seam.write(trainer, f"{TRAINER}.network", plain(trainer.network))
    nnunet_seam.write(trainer, f"{TRAINER}.loss", plain(getattr(trainer, "loss", None)))


def plain(module: Any) -> Any:
    """The module under a compiled one; anything else as it is."""
    from torch import nn
    from torch._dynamo import OptimizedModule

    if isinstance(module, OptimizedModule):
        return module._orig_mod
    for parent in list(module.modules()) if isinstance(module, nn.Module) else ():
        for name, child in list(parent.named_children()):
            if isinstance(child, OptimizedModule):
                parent.register_module(name, child._orig_mod)
    return module
