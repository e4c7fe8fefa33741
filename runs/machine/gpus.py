"""The GPUs of this machine. All drivers and tools are asked in processes that may hang while the caller goes on.

NVIDIA's own library is asked first (`nvml.py`): one process reports everything, including the memory of MIG instances
and the cards beside a lost one, without any text to parse. If the library cannot be loaded, nvidia-smi is asked. If
neither answers, /proc/driver/nvidia still lists UUIDs and names. If there is nothing from NVIDIA but other signs of a
GPU (ROCm, Jetson), nnU-Net's PyTorch is asked.
"""

import glob
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from pydantic import ValidationError

from ...launch import python_command
from ...schemas.gpus import FoundGpus, Gpu, TorchDevice, TorchGpus
from ...texts import short
from . import nvidia_smi
from .asking import NoAnswer, Question, StillHangs

ASK_S = 10.0
# Eight cards without persistence mode can take longer than ASK_S; their late answer is still used.
GIVE_UP_S = 60.0
TORCH_S = 30.0
TORCH_AGAIN_S = 60.0
FRESH_S = 5.0
WHY_CHARACTERS = 160
NVML = Path(__file__).with_name("nvml.py")
NO_LIBRARY = "NVML Shared Library Not Found"
DRIVER = Path("/proc/driver/nvidia")
# Device files of NVIDIA, AMD, WSL and Jetson.
SIGNS = ("/dev/nvidia[0-9]*", "/dev/kfd", "/usr/lib/wsl/lib/libcuda.so*", "/dev/nvmap")
# With these values of CUDA_VISIBLE_DEVICES no GPU is to be used.
HIDDEN = ("", "-1", "NoDevFiles")


class Machine:
    """One report on the GPUs, shared by everybody who asks within some seconds."""

    def __init__(self) -> None:
        self._nvml = Question("NVIDIA's library", wait_s=ASK_S, end_s=GIVE_UP_S)
        self._smi = Question("nvidia-smi", wait_s=ASK_S, end_s=GIVE_UP_S)
        self._torch = Question("PyTorch", wait_s=TORCH_S, end_s=4 * TORCH_S)
        self._turn = threading.Lock()
        self._found: FoundGpus | None = None
        self._seen_at = 0.0
        self._of_torch: dict[str, tuple[TorchGpus, float]] = {}

    def find(self, python: str, *, max_age_s: float = FRESH_S) -> FoundGpus:
        """The GPUs as they were at most `max_age_s` ago; `python` is the Python that runs nnU-Net."""
        with self._turn:
            if self._found is None or time.monotonic() - self._seen_at > max_age_s:
                found = self._find(python)
                self._found = found.model_copy(update={"gpus": tuple(self._judged(found.gpus, python))})
                self._seen_at = time.monotonic()
            return self._found

    def forget(self) -> None:
        """Make the next call ask anew."""
        self._found = None

    def torch(self, python: str) -> TorchGpus | None:
        """What PyTorch of that Python reports; None if it does not answer. Only a report without GPUs is ever asked for
        again."""
        found, seen_at = self._of_torch.get(python, (None, 0.0))
        if found and (found.devices or time.monotonic() - seen_at < TORCH_AGAIN_S):
            return found
        try:
            said = self._torch.ask(python_command(python, "nnunet_mcp.worker.asks.cuda")).out
            found = TorchGpus.model_validate_json(_last_line(said))
        except (NoAnswer, ValidationError):
            return None
        self._of_torch[python] = found, time.monotonic()
        return found

    def _find(self, python: str) -> FoundGpus:
        try:
            return self._by_nvml()
        except NoAnswer as error:
            why, hangs = str(error), isinstance(error, StillHangs)
        if not hangs:  # what blocks the library blocks nvidia-smi, too
            try:
                return nvidia_smi.found_by(self._smi.ask)
            except NoAnswer as error:
                library = "" if NO_LIBRARY in why else f"; NVIDIA's library: {why}"
                why, hangs = f"nvidia-smi lists no GPU ({error}){library}", isinstance(error, StillHangs)
        if listed := tuple(nvidia_smi.found_in(DRIVER)):
            torch = None if hangs else self.torch(python)
            if torch is None or torch.devices:
                return FoundGpus(gpus=listed, source="/proc", problem=why, hangs=hangs)
            return FoundGpus(problem=f"{why}; PyTorch can use none")
        if not hangs and signs_of_a_gpu() and (listed := tuple(self._by_torch(python))):
            return FoundGpus(gpus=listed, source="torch", problem=why)
        return FoundGpus(problem=why, hangs=hangs)

    def _judged(self, gpus: Sequence[Gpu], python: str) -> Iterator[Gpu]:
        """Mark cards that are too old for nnU-Net's PyTorch and lie beside newer ones, so that no run gets them."""
        mixed = len({gpu.capability for gpu in gpus}) > 1
        torch = self.torch(python) if mixed else None
        for gpu in gpus:
            usable = torch is None or torch.has_kernels_for(gpu.capability)
            faults = gpu.faults if usable else (*gpu.faults, "too old for this PyTorch")
            yield gpu.model_copy(update={"usable": usable, "faults": faults})

    def _by_nvml(self) -> FoundGpus:
        answer = self._nvml.ask([sys.executable, "-P", str(NVML)])
        try:
            found = FoundGpus.model_validate_json(answer.out)
        except ValidationError:
            raise NoAnswer(short(_last_line(answer.err), WHY_CHARACTERS)) from None
        if not found.gpus:
            raise NoAnswer(short(found.problem, WHY_CHARACTERS) or "it finds none")
        return found.model_copy(update={"source": "NVML"})

    def _by_torch(self, python: str) -> Iterator[Gpu]:
        """The GPUs as PyTorch reports them, under their names in CUDA_VISIBLE_DEVICES: PyTorch sees no others."""
        if (found := self.torch(python)) is None:
            return
        names = _shown() or [str(number) for number in range(len(found.devices))]
        for index, one in zip(names, found.devices, strict=False):
            uuid, card = _names_of(index, one)
            yield Gpu(
                index=index, uuid=uuid, card=card, name=one.name, total_gb=one.total_gb, capability=one.capability
            )


MACHINE = Machine()


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it says nothing"])[-1]


def _names_of(shown: str, device: TorchDevice) -> tuple[str, str]:
    """The UUID of a GPU, and of the card if it is a MIG instance, as far as PyTorch knows them.

    PyTorch reports the card's UUID for each of its instances; only CUDA_VISIBLE_DEVICES tells which instance it is.
    """
    if shown.startswith("MIG-"):
        return shown, device.uuid or shown
    return ("", device.uuid) if " MIG " in device.name else (device.uuid, "")


def signs_of_a_gpu() -> list[str]:
    """Files that exist only on machines with a GPU, whether or not it can be used."""
    found = [path for sign in SIGNS for path in sorted(glob.glob(sign))[:1]]  # noqa: PTH207 - whole patterns
    return found + [str(path) for path in (*DRIVER.glob("gpus"), *filter(None, [nvidia_smi.program()]))]


def nvidia_is_here() -> bool:
    """Whether there is an NVIDIA driver, so that each GPU has a UUID as soon as the driver answers."""
    return DRIVER.exists() or nvidia_smi.program() is not None


def are_hidden() -> bool:
    """Whether CUDA_VISIBLE_DEVICES says that no GPU is to be used."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in HIDDEN


def visible(found: FoundGpus, wanted: int | None) -> tuple[list[Gpu], str]:
    """The GPUs that runs may use; if there are none, also why.

    They are those in CUDA_VISIBLE_DEVICES, and at most `wanted` of them. Without an NVIDIA driver, `wanted` GPUs are
    believed to exist.
    """
    if wanted == 0:
        return [], "NNUNET_MCP_GPUS is 0"
    shown, gpus = _shown(), list(found.gpus)
    if not gpus and wanted and not nvidia_is_here():
        names = map(str, range(wanted)) if shown is None else takewhile(lambda name: name not in HIDDEN, shown)
        gpus = [Gpu(index=name) for name in names]
    if not gpus:
        return [], found.problem
    if shown is not None:
        # CUDA reads the list up to the first invalid name, so -1 or nothing at its start means no GPU.
        named = list(takewhile(bool, (_named(name, gpus) for name in shown)))
        gpus = list({gpu.cuda_name: gpu for some in named for gpu in some}.values())
    if not gpus:
        return [], f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} shows no GPU"
    gpus = [gpu for gpu in gpus if gpu.usable]
    largest = sorted(gpus, key=lambda gpu: -(gpu.total_gb or 0.0))[:wanted]
    return [gpu for gpu in gpus if gpu in largest], "" if gpus else "no GPU is new enough for this PyTorch"


def _shown() -> list[str] | None:
    """The names in CUDA_VISIBLE_DEVICES; None where it is not set."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if shown is None else [name.strip() for name in shown.split(",")]


def _named(name: str, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPU of that name, or the instances of the card of that name; empty if there is none."""
    if exact := [gpu for gpu in gpus if gpu.index == name]:  # an index of nvidia-smi, which people read
        return exact
    if not name.startswith(("GPU-", "MIG-")):
        return []
    alike = [gpu for gpu in gpus if gpu.uuid.startswith(name) or (gpu.card and gpu.card.startswith(name))]
    # Drivers before 470 name an instance by its card and two numbers, and nvidia-smi may not list it.
    return alike or ([Gpu(index=name, uuid=name, card=name)] if name.startswith("MIG-") else [])
