"""GPUs for a machine that has none: what nvidia-smi would print, and a library of the NVML's name."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nnunet_mcp.runs.machine import gpus
from nnunet_mcp.runs.machine.gpus import Machine
from nnunet_mcp.schemas.gpus import TorchDevice, TorchGpus
from tests.kit.lab import stand_in_nvidia_smi, until

GIB = 1024


@dataclass(frozen=True)
class Card:
    """One line of nvidia-smi; memory in MiB."""

    uuid: str
    name: str = "NVIDIA RTX 4090"
    total: int = 24 * GIB
    used: int = 400
    capability: str = "8.9"
    mig: str = "Disabled"

    def line(self, index: int) -> str:
        memory = f"{self.total}, {self.total - self.used}"
        return f"{index}, {self.uuid}, {self.name}, {memory}, 580.159.04, {self.mig}, {self.capability}"


def nvidia_smi_shows(folder: Path, *cards: Card, apps: str = "", first: str = "", listing: str = "") -> None:
    """An nvidia-smi with these cards; `apps` are lines of compute processes, `first` runs before each answer."""
    lines = "\n".join(card.line(index) for index, card in enumerate(cards))
    stand_in_nvidia_smi(
        folder,
        f'{first}\ncase "$*" in\n'
        f"*query-gpu=index*) cat <<'E'\n{lines}\nE\n;;\n"
        f"*compute-apps*) cat <<'E'\n{apps}\nE\n;;\n"
        f"-L) cat <<'E'\n{listing}\nE\n;;\nesac",
    )


def python_with_cuda(folder: Path, *archs: str, cuda: str | None = "13.0") -> str:
    """This Python, whose PyTorch has kernels for these GPUs."""
    torch = TorchGpus(cuda=cuda, archs=archs, devices=(TorchDevice(name="a GPU"),) if cuda else ())
    program = folder / f"python-{'-'.join(archs) or cuda}"
    program.write_text(
        f"#!/bin/sh\ncase \"$*\" in\n*worker.asks.cuda*) cat <<'E'\n{torch.model_dump_json()}\nE\n;;\n"
        f'*) exec {sys.executable} "$@";;\nesac\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return str(program)


@contextmanager
def nvidia_smi_hangs(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine that has learnt nothing yet, and an nvidia-smi that does not come back before the end."""
    patch.setattr(gpus, "ASK_S", 1.0)
    machine, pids = Machine(), folder / "pids"
    stand_in_nvidia_smi(folder, f"echo $$ >> {pids}; exec sleep 600")
    yield machine
    stand_in_nvidia_smi(folder, "exit 9")
    for pid in pids.read_text(encoding="utf-8").split() if pids.exists() else ():
        os.kill(int(pid), signal.SIGKILL)
    assert until(lambda: not machine.find("no python", max_age_s=0).hangs)


# Two cards: a plain one that a training and the MPS server use, and one that is divided into two instances, of which
# CUDA may use the first. A third is lost. The functions and structures are those of nvml.h.
NVML = r"""
#include <stdio.h>
#include <string.h>
typedef unsigned long long u64;
typedef struct { u64 total, free, used; } memory_t;
typedef struct { unsigned pid; u64 used; unsigned gi, ci; } process_t;
enum { PLAIN = 1, DIVIDED, PART_A, PART_B };
enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
int nvmlInitWithFlags(unsigned f) { return OK; }
int nvmlInit_v2(void) { return OK; }
const char *nvmlErrorString(int r) { return r == GPU_IS_LOST ? "GPU is lost" : "error"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 3; return OK; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { strncpy(s, "580.159.04", n); return OK; }
int nvmlSystemGetProcessName(unsigned pid, char *s, unsigned n) {
    strncpy(s, pid == 7 ? "nvidia-cuda-mps-server" : "/usr/bin/python3", n); return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {
    if (i == 2) return GPU_IS_LOST;
    *h = (void *)(u64)(i + 1); return OK; }
int nvmlDeviceGetUUID(void *h, char *s, unsigned n) {
    const char *all[] = {"", "GPU-plain", "GPU-divided", "MIG-part-a", "MIG-part-b"};
    strncpy(s, all[(u64)h], n); return OK; }
int nvmlDeviceGetName(void *h, char *s, unsigned n) {
    strncpy(s, (u64)h < PART_A ? "NVIDIA H100" : "NVIDIA H100 MIG 1g.10gb", n); return OK; }
int nvmlDeviceGetMemoryInfo(void *h, memory_t *m) {
    m->total = (u64)h < PART_A ? 80000000000ull : 10000000000ull;
    m->used = (u64)h == PLAIN ? 20000000000ull : 100000000ull;
    m->free = m->total - m->used; return OK; }
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 9; *b = 0; return OK; }
int nvmlDeviceGetMigMode(void *h, unsigned *now, unsigned *next) { *now = *next = (u64)h == DIVIDED; return OK; }
int nvmlDeviceGetMaxMigDeviceCount(void *h, unsigned *n) { *n = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *h, unsigned i, void **part) {
    if (i > 1) return NOT_FOUND;
    *part = (void *)(u64)(PART_A + i); return OK; }
int nvmlDeviceGetComputeMode(void *h, unsigned *mode) { *mode = 0; return OK; }
int nvmlDeviceGetTotalEccErrors(void *h, int t, int c, u64 *n) { *n = (u64)h == PLAIN ? 2 : 0; return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, u64 *r) { *r = (u64)h == PLAIN ? 0x40 : 0; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *h, unsigned *n, process_t *p) {
    if ((u64)h != PLAIN) { *n = 0; return OK; }
    if (*n < 2) { *n = 2; return INSUFFICIENT_SIZE; }
    *n = 2;
    p[0] = (process_t){4242, 19500000000ull, ~0u, ~0u};
    p[1] = (process_t){7, ~0ull, ~0u, ~0u};
    return OK; }
"""


def build_nvml(folder: Path, compiler: str) -> None:
    """Compile the stand-in library into a folder for LD_LIBRARY_PATH."""
    source = folder / "nvml.c"
    source.write_text(NVML, encoding="utf-8")
    library = str(folder / "libnvidia-ml.so.1")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, str(source)], check=True)
