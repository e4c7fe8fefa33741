"""Where a run computes: this machine or a cluster, and on which device."""

import platform
import sys

from ...calls import argument, call
from ...errors import Refused, Unavailable
from ...runs.machine.gpus import MACHINE, are_hidden, signs_of_a_gpu, visible
from ...runs.machine.processor import computes_bfloat16
from ...runs.slurm.options import options_of
from ...schemas.gpus import Gpu
from ...schemas.slurm import Engine
from ...schemas.training import Device, TrainingRequest
from ...settings import Settings

IS_APPLE = sys.platform == "darwin" and platform.machine() == "arm64"


def choose_engine(request: TrainingRequest, settings: Settings) -> tuple[Engine, dict[str, str]]:
    """Where the run goes, and the options of its jobs there.

    Raises:
        Refused: options of Slurm jobs for a run that goes elsewhere, or wrong ones in the server's settings.
    """
    engine = request.engine or settings.engine
    if engine == "slurm":
        return engine, options_of(settings, request.slurm)
    if request.slurm:
        raise Refused(
            f"slurm has options, but this server starts runs on its own machine. Add {argument(engine='slurm')}."
        )
    return engine, {}


def choose_device(
    asked: Device | None, settings: Settings, *, num_gpus: int | None = None, engine: Engine = "local"
) -> tuple[Device, str]:
    """The device asked for, or the best one here, and why; on Slurm a GPU, which is the scheduler's to find.

    Raises:
        Unavailable: the machine has no such device, or not as many GPUs, or none that nnU-Net's PyTorch can use; or it
            shows signs of a GPU that cannot be used, and nobody has said that the CPU will do.
    """
    if engine == "slurm":
        return asked or "cuda", "asked for" if asked else "Slurm finds the GPU"
    wanted = num_gpus or 1
    if asked in ("cpu", "mps"):
        _check_other(asked, wanted)
        return asked, "asked for"
    found = MACHINE.look(settings.nnunet_python)
    gpus, why_none = visible(found, settings.gpus)
    if gpus:
        _check_count(gpus, wanted)
        if found.gpus and not found.hangs:  # a driver that hangs would hold PyTorch, too
            _check_pytorch(gpus, settings)
        return "cuda", "asked for" if asked else f"there is {gpus[0].model}"
    if asked == "cuda":
        raise Unavailable(
            f"{argument(device='cuda')} with {argument(num_gpus=wanted)} needs {wanted} GPU(s); {why_none}. "
            f"{_ways_on()}"
        )
    if IS_APPLE:
        _check_other("mps", wanted)
        return "mps", "this is an Apple silicon Mac"
    _refuse_cpu_beside_a_gpu(settings, why_none)
    _check_other("cpu", wanted)
    return "cpu", f"no GPU: {why_none}"


def _check_other(device: Device, wanted: int) -> None:
    if device == "mps" and not IS_APPLE:
        raise Unavailable(f"{argument(device='mps')} needs an Apple silicon Mac. Use {argument(device='cpu')}.")
    if wanted > 1:
        raise Unavailable(
            f"{argument(num_gpus=wanted)} needs NVIDIA GPUs; this machine would train on {device}. Use "
            f"{argument(num_gpus=1)}."
        )


def _check_count(gpus: list[Gpu], wanted: int) -> None:
    whole = [gpu for gpu in gpus if not gpu.is_instance]
    if wanted > 1 and len(whole) < wanted:
        divided = ", and instances of a divided GPU (MIG) cannot train together" if len(whole) < len(gpus) else ""
        raise Unavailable(
            f"{argument(device='cuda')} with {argument(num_gpus=wanted)} needs {wanted} GPU(s); {len(whole)} are "
            f"here{divided}. Use {argument(num_gpus=max(1, len(whole)))}."
        )


def _check_pytorch(gpus: list[Gpu], settings: Settings) -> None:
    """Preprocessing needs no GPU: without this look a training would die hours after it was asked for."""
    torch, python, model = MACHINE.torch(settings.nnunet_python), settings.nnunet_python, gpus[0].model
    if torch is None or any(torch.can_use(gpu.capability) for gpu in gpus):
        return
    major, minor = gpus[0].capability or (0, 0)
    lacks = (
        f"has no kernels for its capability {major}.{minor} (it has {', '.join(torch.archs)})"
        if torch.is_for_gpus
        else "is built for the CPU only"
    )
    raise Unavailable(
        f"There is {model}, but the PyTorch in {python} {lacks}. Install one that can use it there "
        f"(https://pytorch.org/get-started/previous-versions), or use {argument(device='cpu')}."
    )


def _refuse_cpu_beside_a_gpu(settings: Settings, why_none: str) -> None:
    """A training on the CPU takes days where a GPU takes hours: nobody should find out afterwards."""
    said = settings.gpus == 0 or are_hidden()
    if not said and (signs := signs_of_a_gpu()):
        raise Unavailable(
            f"There are signs of a GPU ({', '.join(signs)}), but none can be used: {why_none}. It would train on the "
            f"CPU, for days. {_ways_on()}"
        )


def _ways_on() -> str:
    return (
        f"Use {argument(device='cpu')}. If there is a GPU, {call('nnunet_system')} says what is wrong; "
        "NNUNET_MCP_GPUS=1 in the server's environment makes it use one that no NVIDIA driver tells of (ROCm, some "
        "containers)."
    )


def check_bf16(request: TrainingRequest, device: Device, engine: Engine) -> None:
    """Refuse mixed precision where it would be no gain.

    Raises:
        Refused: the training would not run on a CPU.
        Unavailable: this machine's CPU has no bfloat16.
    """
    if not request.bf16:
        return
    if device != "cpu":
        raise Refused(
            f"bf16 is for trainings on the CPU; this one runs on {device}. Use {argument(device='cpu')}, or "
            f"{argument(bf16=False)}."
        )
    if engine == "local" and not computes_bfloat16():
        raise Unavailable(
            "bf16 needs a CPU with bfloat16 instructions (on Linux: avx512_bf16, amx_bf16 or bf16 in /proc/cpuinfo); "
            "this one has none and would take longer with it. Leave bf16 out."
        )


def bf16_notes(request: TrainingRequest, device: Device | None, engine: Engine) -> list[str]:
    """What a training on this machine's CPU could gain; measured, docs/benchmarks.md."""
    if device != "cpu" or request.bf16 or engine == "slurm" or not computes_bfloat16():
        return []
    return [
        f"This CPU has bfloat16: with {argument(bf16=True)} an epoch takes about half the time, in mixed precision."
    ]


def slurm_notes(engine: Engine, device: Device | None, options: dict[str, str], settings: Settings) -> list[str]:
    """What a job lacks that sites give little of: often one core, and then the GPU waits for its data."""
    own = settings.slurm_sbatch
    lacking = [
        name
        for name, flags in (("cpus", ("--cpus-per", "-c")), ("memory", ("--mem",)))
        if name not in options and not any(word.startswith(flags) for word in own.split())
    ]
    if engine != "slurm" or device != "cuda" or not lacking:
        return []
    return [
        f"Neither this request nor the server names {' and '.join(lacking)} of a job, and many sites give "
        "little: with one core the GPU waits for its data. "
        f"E.g. {argument(slurm=['cpus=12', 'memory=64G'])} for each GPU."
    ]
