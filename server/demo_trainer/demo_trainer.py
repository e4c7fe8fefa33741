"""The demonstration's trainer: nnU-Net's own with few iterations."""

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class DemoTrainer(nnUNetTrainer):
    """5 epochs of 10 iterations: about a minute on two cores, and enough for the phantom."""

    def __init__(
        self, plans: dict[str, Any], configuration: str, fold: int, dataset_json: dict[str, Any], device: torch.device
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 5
        self.num_iterations_per_epoch = 10
        self.num_val_iterations_per_epoch = 3
