"""Trained models side by side: what is asked and what is said."""

from typing import Literal

from pydantic import Field, model_validator

from .base import Record, Request, RunId
from .training import DatasetId


class ComparedModel(Record):
    """One trained model: a configuration, its trainer and plans, and what its folds measured."""

    name: str
    folds: tuple[str, ...]
    complete: bool = Field(description="All folds of the cross-validation are there.")
    rank: int | None = Field(description="By Dice among complete cross-validations over the same cases; else null.")
    cases: int
    dice: float | None = Field(description="nnU-Net's foreground_mean over all cases of these folds.")
    iou: float | None
    dice_mean_sd: str | None = Field(description="Mean ± sample standard deviation of the folds' Dice.")
    per_class: dict[str, tuple[float | None, float | None]] = Field(description="Dice and IoU of each class.")
    epochs: int | None = Field(description="Per fold.")
    train_hours: float | None = Field(description="All folds together; null where a fold's is not known.")
    parameters: int | None
    model_path: str


class ModelDifference(Record):
    """Dice of `model` minus Dice of `against`, paired over the cases that both have validated."""

    model: str
    against: str
    cases: int
    difference: float
    low: float = Field(description="95 % bootstrap interval.")
    high: float
    clear: bool = Field(description="The interval does not contain 0.")


class CompareAnswer(Record):
    """Models side by side."""

    models: tuple[ComparedModel, ...]
    differences: tuple[ModelDifference, ...] = Field(description="Each model against the best of them.")
    table: str
    notes: tuple[str, ...] = ()
    next_step: str


class CompareRequest(Request):
    """Compare trained models."""

    run_ids: tuple[RunId, ...] = Field(
        default=(), max_length=20, description="Runs whose models to compare. Omitted: all models of dataset_id."
    )
    dataset_id: DatasetId | None = Field(
        default=None, description="Compare every trained model of this dataset. Omitted: the models of run_ids."
    )
    table: Literal["markdown", "csv", "latex"] = Field(default="markdown", description="How the table is written.")

    @model_validator(mode="after")
    def _has_something(self) -> "CompareRequest":
        if bool(self.run_ids) == (self.dataset_id is not None):
            raise ValueError("Give either run_ids or dataset_id: nnunet_runs lists runs, nnunet_datasets datasets.")
        return self
