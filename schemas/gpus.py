"""GPUs: what the process that finds them prints, and what is kept of GPUs that trained a model."""

from typing import Literal

from pydantic import Field

from .base import Record

GpuSource = Literal["NVML", "nvidia-smi", "/proc", "torch", ""]


class GpuProcess(Record):
    """A program that computes on a GPU."""

    pid: int
    name: str = ""
    memory_gb: float | None = None


class Gpu(Record):
    """A card, or an instance of a divided one (MIG); null means unknown."""

    index: str = Field(description="nvidia-smi's, which follows the PCI bus; that of the card for an instance.")
    uuid: str = Field(default="", description="Empty where there is no driver of NVIDIA to tell it.")
    name: str = ""
    total_gb: float | None = None
    free_gb: float | None = None
    capability: tuple[int, int] | None = None
    driver: str = ""
    card: str = Field(default="", description="UUID of the card that this is an instance of.")
    exclusive: bool = Field(default=False, description="The driver lets one process compute on it.")
    processes: tuple[GpuProcess, ...] = ()
    faults: tuple[str, ...] = ()
    usable: bool = Field(default=True, description="nnU-Net's PyTorch has kernels for it.")

    @property
    def cuda_name(self) -> str:
        """The value for CUDA_VISIBLE_DEVICES: the UUID, because CUDA and nvidia-smi count cards differently."""
        return self.uuid or self.index

    @property
    def used_gb(self) -> float | None:
        return None if self.total_gb is None or self.free_gb is None else self.total_gb - self.free_gb

    @property
    def is_instance(self) -> bool:
        return bool(self.card)

    @property
    def product(self) -> str:
        """ "NVIDIA H200, 143.8 GB"."""
        return (self.name or "GPU") + (f", {self.total_gb:.1f} GB" if self.total_gb is not None else "")

    @property
    def model(self) -> str:
        """The product, and its present faults."""
        return self.product + (f" ({', '.join(self.faults)})" if self.faults else "")

    @property
    def title(self) -> str:
        """ "0 (NVIDIA H200)"."""
        return f"{self.index} ({self.name})" if self.name else self.index


class FoundGpus(Record):
    """One report on this machine's GPUs."""

    gpus: tuple[Gpu, ...] = ()
    source: GpuSource = ""
    problem: str = Field(default="", description="Why there are none, or which did not answer.")
    hangs: bool = Field(default=False, description="A look at them has not come back: the driver may hang.")


class CudaJob(Record):
    """What PyTorch is asked about the GPUs."""

    step: bool = Field(default=False, description="Take a small step on each.")


class TorchDevice(Record):
    """A GPU as PyTorch numbers it among those that CUDA_VISIBLE_DEVICES allows."""

    uuid: str = ""
    name: str = ""
    total_gb: float | None = None
    capability: tuple[int, int] | None = None
    problem: str = Field(default="", description="Why a small step did not work.")


class TorchGpus(Record):
    """What PyTorch in nnU-Net's Python reports on this machine's GPUs."""

    cuda: str | None = Field(default=None, description="The CUDA that PyTorch was built for.")
    rocm: str | None = None
    archs: tuple[str, ...] = Field(default=(), description="What its kernels were built for, e.g. sm_90.")
    devices: tuple[TorchDevice, ...] = ()

    @property
    def is_for_gpus(self) -> bool:
        return bool(self.cuda or self.rocm)

    def can_use(self, capability: tuple[int, int] | None) -> bool:
        """Whether this PyTorch can compute on such a card; true where it is not known."""
        return self.is_for_gpus and self.has_kernels_for(capability)

    def has_kernels_for(self, capability: tuple[int, int] | None) -> bool:
        """Whether this PyTorch can compute on such a card; true where it is not known.

        A kernel of sm_XY runs on capability X.Z with Z >= Y, and compute_XY is translated for all that are newer
        (CUDA C++ Programming Guide, 3.1.2 and 3.1.3).
        """
        if capability is None or not self.archs or self.rocm:
            return True
        return any(_runs_on(arch, capability) for arch in self.archs)


def _runs_on(arch: str, capability: tuple[int, int]) -> bool:
    kind, _, number = arch.partition("_")
    digits = "".join(sign for sign in number if sign.isdigit())  # sm_90a
    if not digits:
        return False
    built = (int(digits[:-1]), int(digits[-1]))
    return built <= capability and (kind == "compute" or built[0] == capability[0])
