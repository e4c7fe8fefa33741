"""What measuring a network leaves out and tells, with a trainer of our own instead of nnU-Net's."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_mcp.schemas.preflight import EstimateJob
from nnunet_mcp.worker.asks import estimate


class Trainer:
    """Steps of a second, but each mode's first one compiles for thirty."""

    device = torch.device("cpu")

    def __init__(self, clock: list[float]) -> None:
        self.network, self.clock, self.met = torch.nn.Linear(1, 1), clock, set[str]()

    def _step(self, mode: str) -> None:
        self.clock[0] += 1.0 if mode in self.met else 30.0
        self.met.add(mode)

    def train_step(self, batch: Any) -> None:
        self._step("train")

    def validation_step(self, batch: Any) -> None:
        self._step("validation")


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(estimate, "made_up_batch", lambda trainer: None)
    return Trainer(clock)


def test_neither_mode_counts_the_time_in_which_it_was_compiled(trainer: Trainer) -> None:
    found = SimpleNamespace(**estimate.measure(trainer, 30.0, bf16=False))

    assert set(found.train_s) == set(found.validation_s) == {1.0}
    assert len(found.train_s) > 3


def test_a_network_that_does_not_fit_is_told_with_what_pytorch_says(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(batch: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(trainer, "train_step", full)

    assert estimate.measure(trainer, 30.0, bf16=False) == {
        "out_of_memory": "CUDA out of memory. Tried to allocate 2.00 GiB."
    }


def test_what_cannot_be_compiled_is_measured_without_and_says_so(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.exc import InductorError

    monkeypatch.setenv("nnUNet_compile", "t")
    plain, step = trainer.network, trainer.train_step
    trainer.network = torch.compile(plain)  # type: ignore[assignment]

    def compiling(batch: Any) -> None:
        if trainer.network is not plain:
            raise InductorError(RuntimeError("Failed to find C compiler."), None)
        step(batch)

    monkeypatch.setattr(trainer, "train_step", compiling)

    found = estimate.measure(trainer, 30.0, bf16=False)

    assert found["train_s"] and "Failed to find C compiler" in found["note"]


def test_a_gpu_that_is_full_before_the_first_step_is_told_with_the_networks_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        """A network that fits the CPU only."""

        num_epochs, num_iterations_per_epoch, num_val_iterations_per_epoch = 1000, 250, 50
        configuration_manager = SimpleNamespace(patch_size=(8, 8), batch_size=2)

        def __init__(self, device: str) -> None:
            self.device = torch.device(device)
            self.network = torch.nn.Linear(1, 1)

        def initialize(self) -> None:
            if self.device.type != "cpu":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(estimate, "build_trainer", lambda job: Full(job.device))
    monkeypatch.setattr(estimate, "_prepare", lambda device: None)
    monkeypatch.setattr(estimate, "planned_gb", lambda *_: 8.0)
    job = EstimateJob(
        plans_file="", dataset_json="", configuration="2d", trainer="nnUNetTrainer", device="cuda", measure_s=30.0
    )

    found = estimate.estimate(job)

    assert found.out_of_memory == "CUDA out of memory. Tried to allocate 2.00 GiB."
    assert (found.parameters, found.gpu_memory_gb) == (2, 8.0)
