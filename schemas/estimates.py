"""What a network will cost: the job and the answer of the process that loads nnU-Net to find out."""

from pydantic import Field

from .base import Record


class EstimateJob(Record):
    """Which planned network, and whether to run it for a few iterations."""

    plans_file: str
    dataset_json: str
    configuration: str
    trainer: str
    device: str
    bf16: bool = False
    measure_s: float | None = Field(default=None, description="Measure iterations for at most about this long.")


class Estimate(Record):
    """nnU-Net's own estimate of the memory, the network's size, and measured iterations if there are any."""

    patch_size: tuple[int, ...]
    batch_size: int
    parameters: int
    gpu_memory_gb: float = Field(description="nnU-Net's planner's estimate for training on a GPU, in GB.")
    epochs: int
    iterations: int = Field(description="Training iterations per epoch.")
    validation_iterations: int
    train_s: tuple[float, ...] = Field(default=(), description="Seconds of each measured training iteration.")
    validation_s: tuple[float, ...] = ()
    peak_gb: float | None = Field(default=None, description="Memory of the GPU that the measured iterations took.")
    out_of_memory: str | None = Field(default=None, description="What PyTorch said where the GPU has too little.")
    note: str | None = Field(default=None, description="What is to be said of how it was measured.")
