"""Which device this machine would train on, and what it lacks for that."""

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ...calls import argument
from ...errors import Unavailable
from ...schemas.gpus import Gpu
from ...schemas.system import Check
from ...schemas.training import Device
from ...settings import Settings
from ..machine.gpus import MACHINE, are_hidden, signs_of_a_gpu, visible

IS_APPLE = sys.platform == "darwin" and platform.machine() == "arm64"
GB = 1e9
SMALL_SHM_GB = 0.5
SHM = Path("/dev/shm")


def choose_device(asked: Device | None, settings: Settings, *, num_gpus: int | None = None) -> tuple[Device, str]:
    """The device asked for, or the best one here, and why.

    Raises:
        Unavailable: the machine has no such device, or not as many GPUs, or none that nnU-Net's PyTorch can use; or it
            shows signs of a GPU that cannot be used, and nobody has said that the CPU will do.
    """
    wanted = num_gpus or 1
    if asked in ("cpu", "mps"):
        _check_other(asked, wanted)
        return asked, "asked for"
    found = MACHINE.find(settings.nnunet_python)
    gpus, why_none = visible(found, settings.gpus)
    if gpus:
        _check_count(gpus, wanted)
        if found.gpus and not found.hangs:  # a driver that hangs would block PyTorch, too
            _check_pytorch(gpus, settings)
        return "cuda", "asked for" if asked else f"there is {gpus[0].model}"
    if asked == "cuda":
        raise Unavailable(
            f"{argument(device='cuda')} with {argument(num_gpus=wanted)} needs {wanted} GPU(s); {why_none}. "
            f"{_ways_on()}",
            about="machine",
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
    """Check that PyTorch can use the GPU. Preprocessing needs none, so a training would fail only hours later."""
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
    """Refuse the CPU where there are signs of a GPU: it takes days instead of hours, and nobody should notice that
    late."""
    said = settings.gpus == 0 or are_hidden()
    if not said and (signs := signs_of_a_gpu()):
        raise Unavailable(
            f"There are signs of a GPU ({', '.join(signs)}), but none can be used: {why_none}. It would train on the "
            f"CPU, for days. {_ways_on()}",
            about="machine",
        )


def _ways_on() -> str:
    return (
        f"Use {argument(device='cpu')}. NNUNET_MCP_GPUS=1 in the server's environment makes it use a GPU that no "
        "NVIDIA driver tells of (ROCm, some containers)."
    )


def shm_check(folder: Path) -> Check:
    """Check the size of /dev/shm, through which data loaders pass batches."""
    size = shutil.disk_usage(folder).total
    if size < SMALL_SHM_GB * GB:
        detail, fix = f"{folder} is smaller than 0.5 GB.", "Start the container with a larger --shm-size."
        return Check(name="shared memory", level="problem", detail=detail, fix=fix)
    return Check(name="shared memory", level="ok", detail=f"{folder} has {size / GB:.1f} GB")


def shm_problems(device: Device | None) -> list[str]:
    """What a training on a GPU of this machine would lack in /dev/shm."""
    if device != "cuda" or not SHM.is_dir() or (found := shm_check(SHM)).level == "ok":
        return []
    return [f"{found.detail} {found.fix}"]


def gpu_checks(settings: Settings) -> Iterator[Check]:
    """Check for GPUs that cannot be used, and for faults of those that can."""
    found = MACHINE.find(settings.nnunet_python)
    gpus, why_none = visible(found, settings.gpus)
    if not gpus and settings.gpus != 0 and not are_hidden() and (signs := signs_of_a_gpu()):
        detail = f"There are signs of a GPU ({', '.join(signs)}), but none can be used: {why_none}."
        fix = "docs/troubleshooting.md names the causes; NNUNET_MCP_GPUS=1 makes the server believe in one."
        yield Check(name="GPU", level="problem", detail=detail, fix=fix)
    elif gpus and (found.hangs or (found.problem and found.source in ("NVML", "nvidia-smi"))):
        fix = "dmesg says more (Xid); often the machine must be restarted. Runs use the others."
        yield Check(name="GPU", level="warning", detail=f"Not every GPU answers: {found.problem}.", fix=fix)
    for gpu in gpus:
        if gpu.faults:
            fix = "Have it looked at if trainings fail or are slow on it."
            yield Check(name=f"GPU {gpu.index}", level="warning", detail=gpu.model, fix=fix)
