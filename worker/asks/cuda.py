"""Which GPUs PyTorch sees, and whether it can compute on them.

A driver may block this process for ever, so `runs/machine/asking.py` starts it, with its job as its argument.
"""

import sys
from typing import Any

from ...ask import answer
from ...schemas.gpus import CudaJob, TorchDevice, TorchGpus

GB = 1e9


def gpus_of_torch(*, step: bool = False) -> TorchGpus:
    """The devices of CUDA or ROCm that CUDA_VISIBLE_DEVICES allows.

    With `step`, a small convolution runs forward and backward on each: counting devices alone does not prove that
    kernels work.
    """
    import torch

    found = TorchGpus(cuda=torch.version.cuda, rocm=torch.version.hip, archs=tuple(torch.cuda.get_arch_list()))
    devices = tuple(_device(torch, found, index, step) for index in range(torch.cuda.device_count()))
    return found.model_copy(update={"devices": devices})


def _device(torch: Any, found: TorchGpus, index: int, step: bool) -> TorchDevice:
    try:
        properties = torch.cuda.get_device_properties(index)
        device = TorchDevice(
            uuid="" if found.rocm else f"GPU-{properties.uuid}",
            name=properties.name,
            total_gb=properties.total_memory / GB,
            capability=(properties.major, properties.minor),
        )
    except Exception as error:
        return TorchDevice(problem=_words(error))
    return device.model_copy(update={"problem": _problem(torch, found, device, index) if step else ""})


def _problem(torch: Any, found: TorchGpus, device: TorchDevice, index: int) -> str:
    if not found.has_kernels_for(device.capability):
        major, minor = device.capability or (0, 0)
        return f"this PyTorch has no kernels for its capability {major}.{minor} (it has {', '.join(found.archs)})"
    try:
        image = torch.randn(1, 1, 16, 16, 16, device=f"cuda:{index}")
        network = torch.nn.Conv3d(1, 2, 3).to(image.device)
        network(image).sum().backward()
        torch.cuda.synchronize(image.device)
    except Exception as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


if __name__ == "__main__":
    sys.exit(answer(CudaJob, lambda job, say: gpus_of_torch(step=job.step)))
