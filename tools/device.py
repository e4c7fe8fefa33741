"""Where a run computes: this machine or a cluster, and on which device."""

import platform
import sys

from ..runs.errors import Refused, Unavailable
from ..runs.processor import computes_bfloat16
from ..runs.settings import Settings
from ..runs.slots import find_slots
from ..runs.slurm.options import options_of
from ..schemas.slurm import Engine
from ..schemas.training import Device, TrainingRequest


def choose_engine(request: TrainingRequest, settings: Settings) -> tuple[Engine, dict[str, str]]:
    """Where the run goes, and the options of its jobs there.

    Raises:
        Refused: options of Slurm jobs for a run that goes elsewhere, or wrong ones in the server's settings.
    """
    engine = request.engine or settings.engine
    if engine == "slurm":
        return engine, options_of(settings, request.slurm)
    if request.slurm:
        raise Refused("slurm has options, but this server starts runs on its own machine. Add engine='slurm'.")
    return engine, {}


def choose_device(
    asked: Device | None, settings: Settings, *, num_gpus: int | None = None, engine: Engine = "local"
) -> Device:
    """The device asked for, or the best one here; on Slurm a GPU, which is the scheduler's to find.

    Raises:
        Unavailable: the machine has no such device, or not as many GPUs.
    """
    if engine == "slurm":
        return asked or "cuda"
    names, why_none = find_slots("gpu", settings.gpus)
    gpus = len(names)
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    device: Device = asked or ("cuda" if gpus else "mps" if apple else "cpu")
    wanted = num_gpus or 1
    if device == "cuda" and gpus < wanted:
        raise Unavailable(
            f"device='cuda' with num_gpus={wanted} needs {wanted} NVIDIA GPU(s); {why_none or f'{gpus} are here'}. Use "
            f"{'device=' + repr('cpu') if gpus == 0 else f'num_gpus={gpus}'}."
        )
    if device == "mps" and not apple:
        raise Unavailable("device='mps' needs an Apple silicon Mac. Use device='cpu'.")
    if device != "cuda" and wanted > 1:
        raise Unavailable(f"num_gpus={wanted} needs NVIDIA GPUs; this machine would train on {device}. Use num_gpus=1.")
    return device


def check_bf16(request: TrainingRequest, device: Device, engine: Engine) -> None:
    """Refuse mixed precision where it would be no gain.

    Raises:
        Refused: the training would not run on a CPU.
        Unavailable: this machine's CPU has no bfloat16.
    """
    if not request.bf16:
        return
    if device != "cpu":
        raise Refused(f"bf16 is for trainings on the CPU; this one runs on {device}. Use device='cpu', or bf16=false.")
    if engine == "local" and not computes_bfloat16():
        raise Unavailable(
            "bf16 needs a CPU with bfloat16 instructions (on Linux: avx512_bf16, amx_bf16 or bf16 in /proc/cpuinfo); "
            "this one has none and would take longer with it. Leave bf16 out."
        )


def bf16_notes(request: TrainingRequest, device: Device | None, engine: Engine) -> list[str]:
    """What a training on this machine's CPU could gain; measured, docs/benchmarks.md."""
    if device != "cpu" or request.bf16 or engine == "slurm" or not computes_bfloat16():
        return []
    return ["This CPU has bfloat16: with bf16=true an epoch takes about half the time, in mixed precision."]
