"""Pictures: the request, and the job of the process that draws."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import Record, Request, RunId
from .training import DatasetId

Theme = Literal["light", "dark"]
# What a chat takes without harm to its context, and what is enough for a closer look.
USUAL_BYTES, LARGE_BYTES = 70_000, 250_000
USUAL_DPI, LARGE_DPI = 100, 160
USUAL_MM = 203.2  # 8 inches
# A narrower picture is drawn so wide and then made smaller, or its words would not fit.
LEAST_MM = 132.0


Numbers = tuple[float | None, ...]


class Drawn(Record):
    """What every picture has."""

    title: str
    theme: Theme = "light"
    width_mm: float = USUAL_MM


class Curve(Record):
    """The epochs of one training; null where a value is not a finite number."""

    label: str
    epochs: tuple[int, ...] = Field(description="From 1.")
    train_loss: Numbers
    val_loss: Numbers
    pseudo_dice: Numbers
    moving_average: Numbers = Field(description="nnU-Net's own exponential moving average of the pseudo Dice.")
    learning_rate: Numbers
    classes: dict[str, Numbers] = Field(default_factory=dict, description="The same average for each class.")
    resumed_at: tuple[int, ...] = Field(default=(), description="First epochs after a resume.")


class CurvesPicture(Drawn):
    """Losses, pseudo Dice and learning rate over the epochs."""

    kind: Literal["curves"] = "curves"
    curves: tuple[Curve, ...]


class FoldsPicture(Drawn):
    """Dice of every validation case, per class and fold."""

    kind: Literal["folds"] = "folds"
    labels: tuple[str, ...]
    folds: dict[str, tuple[Numbers, ...]] = Field(description="Per fold and class the Dice of its cases.")


class ClassScore(Record):
    """One class of a case with a prediction."""

    label: str
    dice: float | None
    voxels: tuple[int, int] | None = Field(default=None, description="Predicted, true.")


class CasePicture(Record):
    """One case's files, and what is known of its prediction."""

    name: str
    image: str
    truth: str
    prediction: str | None = None
    scores: tuple[ClassScore, ...] = ()


class CasesPicture(Drawn):
    """Slices of cases with their labels and, for one case, what was predicted.

    One case is shown in its three planes, and in up to `more_slices` others for classes that these hardly show.
    """

    kind: Literal["cases"] = "cases"
    cases: tuple[CasePicture, ...]
    names: dict[int, str] = Field(description="Name of each label value.")
    ignored: int | None = Field(default=None, description="Value of nnU-Net's ignore label.")
    filled: bool = Field(default=False, description="Areas under the contours.")
    more_slices: int = 2


Picture = Annotated[CurvesPicture | FoldsPicture | CasesPicture, Field(discriminator="kind")]


class Paper(Record):
    """How a picture is written; a PNG gets fewer colours and then fewer pixels until it has at most `most_bytes`."""

    format: Literal["png", "svg"] = "png"
    width_mm: float = USUAL_MM
    dpi: int = USUAL_DPI
    most_bytes: int | None = USUAL_BYTES


class PictureJob(Record):
    """One picture to draw."""

    picture: Picture
    paper: Paper = Paper()


class Plot(Record):
    """A picture as PNG, and one line that says what it shows."""

    text: str
    png: bytes


class PlotRequest(Request):
    """Draw a picture."""

    kind: Literal["curves", "folds", "overlay", "dataset"] = Field(
        default="curves",
        description="folds: Dice of each case. overlay: a case's truth and prediction. dataset: cases with labels, odd "
        "first.",
    )
    run_id: RunId | None = Field(default=None, description="Needed but for dataset. Omitted: none.")
    with_run_ids: tuple[RunId, ...] = Field(default=(), max_length=5, description="curves: up to 5 more.")
    dataset_id: DatasetId | None = Field(default=None, description="dataset: which. Omitted: the run's.")
    case: str | None = Field(
        default=None,
        max_length=200,
        description="worst, median, best or a name; dataset: a name. Omitted: worst.",
    )
    theme: Theme = Field(default="light", description="Omitted: light.")
    filled: bool = Field(default=False, description="Areas under contours.")
    large: bool = Field(default=False, description="More pixels and slices.")

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


class FigureRequest(PlotRequest):
    """Draw a picture into a file."""

    output: str = Field(
        default="", description="The file: .png, or .svg for a paper. Omitted: one here, named after run and kind."
    )
    overwrite: bool = Field(default=False, description="Replace a file that is there.")
    width_mm: float = Field(
        default=USUAL_MM, ge=80, le=400, description="Width, 80-400; journals' columns have 85 and 175."
    )
    dpi: int | None = Field(default=None, ge=72, le=600, description="Of a PNG, 72-600; printers want 300.")


class Figure(Record):
    """A picture in a file, and one line that says what it shows."""

    text: str
    output: str
