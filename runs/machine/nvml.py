"""Report all that NVIDIA's library knows about this machine's GPUs, as one line of JSON.

It is run by its path in a process of its own (`python -P nvml.py`), because a driver that hangs blocks the process that
asks it. It imports nothing of ours, so that the answer takes only a twentieth of a second.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

GB = 1e9
# nvml.h: nvmlClocksEventReasonHwSlowdown, HwThermalSlowdown and HwPowerBrakeSlowdown.
SLOWED_DOWN = {
    0x08: "slowed down by its hardware",
    0x40: "slowed down by heat",
    0x80: "slowed down by its power supply",
}
EXCLUSIVE_PROCESS = 3


def found() -> dict[str, Any]:
    """The GPUs that answer; a lost one must not hide the others."""
    pynvml.nvmlInit()
    gpus, lost = [], []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            gpus += list(_card(index, pynvml.nvmlDeviceGetHandleByIndex(index)))
        except pynvml.NVMLError as error:
            lost.append(f"GPU {index}: {error}")
    driver = _maybe(pynvml.nvmlSystemGetDriverVersion) or ""
    return {"gpus": [{**gpu, "driver": driver} for gpu in gpus], "problem": "; ".join(lost)}


def _card(index: int, handle: Any) -> Iterator[dict[str, Any]]:
    """The card, or the MIG instances of a divided one: CUDA shows only them."""
    whole = {**_described(index, handle), "capability": _maybe(pynvml.nvmlDeviceGetCudaComputeCapability, handle)}
    if not (_maybe(pynvml.nvmlDeviceGetMigMode, handle) or [0])[0]:
        yield {**whole, "faults": list(_faults(handle))}
        return
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        part = _maybe(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, number)
        if part is not None:
            yield {**whole, **_described(index, part), "card": whole["uuid"]}


def _described(index: int, handle: Any) -> dict[str, Any]:
    memory = _maybe(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return {
        "index": str(index),
        "uuid": pynvml.nvmlDeviceGetUUID(handle),
        "name": _maybe(pynvml.nvmlDeviceGetName, handle) or "",
        "total_gb": memory and memory.total / GB,
        "free_gb": memory and memory.free / GB,
        "exclusive": _maybe(pynvml.nvmlDeviceGetComputeMode, handle) == EXCLUSIVE_PROCESS,
        "processes": [_process(one) for one in _maybe(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()],
    }


def _process(one: Any) -> dict[str, Any]:
    name = _maybe(pynvml.nvmlSystemGetProcessName, one.pid) or ""
    return {"pid": one.pid, "name": name, "memory_gb": one.usedGpuMemory and one.usedGpuMemory / GB}


def _faults(handle: Any) -> Iterator[str]:
    uncorrected, since_boot = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    if errors := _maybe(pynvml.nvmlDeviceGetTotalEccErrors, handle, uncorrected, since_boot):
        yield f"{errors} uncorrected memory errors"
    reasons = _maybe(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
    yield from (text for bit, text in SLOWED_DOWN.items() if reasons & bit)


def _maybe(ask: Callable[..., Any], *arguments: Any) -> Any:
    """None if this card or driver does not support the query."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


if __name__ == "__main__":
    try:
        print(json.dumps(found()))
    except pynvml.NVMLError as error:
        raise SystemExit(str(error)) from None
