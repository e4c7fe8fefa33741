"""What a picture shows: the request of the process that draws it, as one JSON object on its standard input."""

from typing import Annotated, Literal

from pydantic import Field

from .runs import Record

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
    caption: str = ""
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
