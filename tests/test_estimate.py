"""What measuring a network leaves out and tells, with a trainer of our own instead of nnU-Net's."""

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_mcp.worker import estimate


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
