"""Trainers that are nnU-Net's own with fewer iterations, so that real trainings fit into a test.

nnU-Net finds them through the environment variable nnUNet_extTrainer.
"""

import random
import time
from typing import Any

import numpy
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class _Short(nnUNetTrainer):
    epochs, iterations, val_iterations = 2, 4, 2

    # nnU-Net records the arguments by their names here, so *args will not do.
    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.epochs
        self.num_iterations_per_epoch = self.iterations
        self.num_val_iterations_per_epoch = self.val_iterations


class ShortTrainer(_Short):
    """2 epochs of 4 iterations."""


class OneStepTrainer(_Short):
    """One epoch of one iteration."""

    epochs, iterations, val_iterations = 1, 1, 1


class OtherTrainer(_Short):
    """The same, for a model folder of its own."""


class ThirdTrainer(_Short):
    """And another one, with a single short epoch."""

    epochs, iterations, val_iterations = 1, 2, 1


class PredictedTrainer(_Short):
    """For a model that only its own test trains."""


class ForetoldTrainer(_Short):
    """For a training that only its own test has done before."""

    epochs = 30


class SeededTrainer(_Short):
    """The same weights and patches in every process that draws no other random numbers; nnUNet_n_proc_DA=0."""

    def initialize(self) -> None:
        _seed(1)
        super().initialize()

    def on_train_start(self) -> None:
        super().on_train_start()
        _seed(2)


def _seed(seed: int) -> None:
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)


class MiddleTrainer(_Short):
    """Long enough to cancel, also where epochs are quick; short enough to finish."""

    epochs = 80


class LongTrainer(_Short):
    """More epochs than any test waits for: it ends by being interrupted."""

    epochs = 100_000


class LearningTrainer(_Short):
    """Enough iterations to learn something: 3 epochs of 20."""

    epochs, iterations, val_iterations = 3, 20, 4


class UnhurriedTrainer(_Short):
    """60 epochs of more than a second, until it is resumed: then it hurries."""

    epochs = 60
    resumed = False

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        super().load_checkpoint(filename_or_checkpoint)
        self.resumed = True

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        time.sleep(0 if self.resumed else 1)


class NanTrainer(_Short):
    """A training whose weights are gone in its second epoch."""

    epochs = 50

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.current_epoch > 0:
            next(self.network.parameters()).data.fill_(float("nan"))
        result: dict[str, Any] = super().train_step(batch)
        return result


class TellingTrainer(_Short):
    """Prints in which precision its network computes."""

    def initialize(self) -> None:
        super().initialize()
        first = next(module for module in self.network.modules() if isinstance(module, torch.nn.Conv3d))
        first.register_forward_hook(lambda _module, _inputs, output: print("computed in", output.dtype))


class PictureTrainer(_Short):
    """40 epochs of 6: curves worth looking at."""

    epochs, iterations = 40, 6


class EpochsTrainer(_Short):
    """For benchmarks: 10 epochs of 80, enough to find both parts of the hippocampus."""

    epochs, iterations, val_iterations = 10, 80, 2


class QuarterEpochsTrainer(EpochsTrainer):
    """Epochs of a quarter of the length."""

    iterations = 20
