"""How many processes and threads fit this machine. nnU-Net's own defaults suit eight cores and more.

The user's own variables win. Must run before nnU-Net is imported: it reads them at import.
"""

import ctypes
import os

from ..runs.machine.capacity import usable_cores as usable_cores, usable_memory as usable_memory
from ..runs.processes import LANES_VARIABLE as LANES_VARIABLE
from ..schemas.stage_kinds import STAGE_KINDS

GIB = 1024**3
# What CUDA takes beside PyTorch's own figures; measured on an H200.
CONTEXT_GB = 0.54
# Measured on Hippocampus: a preprocessing process peaks at 0.4-0.8 GB, plus its share of large cases.
GIB_PER_PROCESS = 2.0
NNUNET_DEFAULT_PROCESSES = 8
# nnunetv2 2.8.1, predict_from_raw_data.py:949-952: the same number for preprocessing and for export.
NNUNET_DEFAULT_PREDICTION_PROCESSES = 3
# nnU-Net's authors use 12 to 48 per GPU, depending on its speed (utilities/default_n_proc_DA.py).
MOST_AUGMENTERS = 24
GIB_PER_AUGMENTER = 1.0
# malloc.h; -1 means "never".
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, NEVER = -1, -3, -1


def fit_this_process(device: str) -> None:
    """Set threads and memory of a process that computes with PyTorch, before it begins to."""
    _set_threads(device)
    _keep_freed_memory(device)


def _set_threads(device: str) -> None:
    """As nnUNetv2_train does (run_training.py:247), but with the cores that this process may really use."""
    import torch

    torch.set_num_threads(usable_cores() if device == "cpu" else 1)
    if "OMP_NUM_THREADS" not in os.environ and device != "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"


def _keep_freed_memory(device: str) -> None:
    """Let glibc keep what a step on the CPU frees for the next step.

    By default it gives every large block back to the system, and each step pays for getting the same pages again.
    The user's own settings of malloc win; another C library has no such setting and stays as it is.
    """
    own = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if device == "cpu" and mallopt and not own:
        mallopt(M_MMAP_THRESHOLD, GIB)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def fit_to_machine(kind: str, device: str, environment: dict[str, str], *, ranks: int = 1) -> dict[str, str]:
    """The variables to set for a stage, except those that the user has set."""
    cores = usable_cores()
    memory = usable_memory().available / GIB
    processes = max(1, min(NNUNET_DEFAULT_PROCESSES, cores, int(memory / GIB_PER_PROCESS)))
    # With several GPUs, each process has its own pools.
    chosen = {"nnUNet_def_n_proc": str(max(1, processes // ranks))}
    if device == "cpu":
        # OpenMP's threads wait for each other many times per step, by default spinning. If the process that prepares
        # the next batch uses the other core, a step with spinning takes two to three times as long as with sleeping.
        chosen["OMP_WAIT_POLICY"] = "PASSIVE"
    pools = STAGE_KINDS[kind].pools
    if pools == "augment":
        lanes = int(environment.get(LANES_VARIABLE, "1"))
        chosen["nnUNet_n_proc_DA"] = str(augmenters(cores // lanes, memory / lanes, device))
    if pools == "predict":
        lanes = int(environment.get(LANES_VARIABLE, "1"))
        both = max(1, min(NNUNET_DEFAULT_PREDICTION_PROCESSES, processes // (2 * lanes)))
        each = environment.get("nnUNet_def_n_proc", str(both))
        chosen |= {"nnUNet_npp": each, "nnUNet_nps": each}
    return {name: value for name, value in chosen.items() if name not in environment}


def augmenters(cores: int, memory: float, device: str) -> int:
    """Data-augmentation processes for a training that has this many cores and GiB of memory.

    On a CPU the training itself uses every core, so one process that prepares the next batch is enough.
    """
    if device == "cpu":
        return 1
    return max(1, min(MOST_AUGMENTERS, cores - 1, int(memory / GIB_PER_AUGMENTER)))


def gpu_peak_gb(device: str) -> float | None:
    """The GB of its GPU that this process took at most, with CUDA's own; None where it has used none."""
    import torch

    reserved = torch.cuda.max_memory_reserved() if device == "cuda" else 0
    return round(reserved / 1e9 + CONTEXT_GB, 2) if reserved else None
