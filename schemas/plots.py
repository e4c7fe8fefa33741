"""Pictures: the request, and the job of the process that draws."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Record, Request, RunId
from .training import DatasetId

Theme = Literal["light", "dark"]


Numbers = tuple[float | None, ...]


class Curve(Record):
    """The epochs of one training; null where a value is not a finite number."""

    label: str
    epochs: tuple[int, ...] = Field(description="From 1.")
    train_loss: Numbers
    val_loss: Numbers
    pseudo_dice: Numbers
    moving_average: Numbers = Field(description="nnU-Net's own exponential moving average of the pseudo Dice.")
    learning_rate: Numbers
    resumed_at: tuple[int, ...] = Field(default=(), description="First epochs after a resume.")


class CurvesPicture(Record):
    """Losses, pseudo Dice and learning rate over the epochs."""

    kind: Literal["curves"] = "curves"
    title: str
    theme: Theme = "light"
    curves: tuple[Curve, ...]


class FoldsPicture(Record):
    """Dice of every validation case, per class and fold."""

    kind: Literal["folds"] = "folds"
    title: str
    theme: Theme = "light"
    labels: tuple[str, ...]
    folds: dict[str, tuple[Numbers, ...]] = Field(description="Per fold and class the Dice of its cases.")


class CasePicture(Record):
    """One case's files."""

    name: str
    image: str
    truth: str
    prediction: str | None = None


class CasesPicture(Record):
    """Slices of cases with their labels and, for one case, what was predicted."""

    kind: Literal["cases"] = "cases"
    title: str
    theme: Theme = "light"
    cases: tuple[CasePicture, ...]
    names: dict[int, str] = Field(description="Name of each label value.")
    ignored: int | None = Field(default=None, description="Value of nnU-Net's ignore label.")


Picture = Annotated[CurvesPicture | FoldsPicture | CasesPicture, Field(discriminator="kind")]


class PictureJob(Record):
    """One picture to draw."""

    picture: Picture


class Plot(Record):
    """A picture as PNG, and one line that says what it shows."""

    text: str
    png: bytes


class PlotRequest(Request):
    """Draw a picture."""

    kind: Literal["curves", "folds", "overlay", "dataset"] = Field(
        default="curves",
        description="curves: losses, pseudo Dice, learning rate. folds: Dice of each case. overlay: a case's truth and "
        "prediction. dataset: cases with labels, odd first.",
    )
    run_id: RunId | None = Field(default=None, description="Needed but for dataset. Omitted: none.")
    with_run_ids: tuple[RunId, ...] = Field(default=(), max_length=5, description="curves: up to 5 more runs.")
    dataset_id: DatasetId | None = Field(default=None, description="dataset: which. Omitted: the run's.")
    case: str | None = Field(
        default=None,
        max_length=200,
        description="worst, median, best or a name; dataset: a name. Omitted: worst.",
    )
    theme: Theme = Field(default="light", description="Omitted: light.")

    @model_validator(mode="after")
    def _has_what_it_shows(self) -> "PlotRequest":
        if self.run_id is None and (self.kind != "dataset" or self.dataset_id is None):
            wanted = "dataset_id" if self.kind == "dataset" else "run_id"
            raise ValueError(f"kind={self.kind!r} needs {wanted}: nnunet_runs lists runs, nnunet_datasets datasets.")
        if self.with_run_ids and self.kind != "curves":
            raise ValueError(f"with_run_ids is for kind='curves'; kind={self.kind!r} shows one run.")
        if self.case and self.kind not in ("overlay", "dataset"):
            raise ValueError(f"case is for kind='overlay' and 'dataset'; kind={self.kind!r} shows no single case.")
        return self
