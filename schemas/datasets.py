"""Datasets: requests, answers, and what a look into their images finds."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from .base import Number, Record, Request, unknown
from .training import DatasetId

USUAL_FOLDS, SEED = 5, 12345  # nnU-Net's (2.8.1, utilities/crossval_split.py)
Reader = Literal["simpleitk", "nibabel", "natural", "tiff"]


# A list of texts; models often give a single one without the list.
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda given: (given,) if isinstance(given, str) else given)]


class TrainedModel(Record):
    """A model folder of a dataset and its folds that are finished."""

    trainer: str
    plans: str
    configuration: str
    folds: tuple[str, ...]
    dice: dict[str, float | None] = Field(default_factory=dict)


class DatasetLine(Record):
    """One dataset in a list."""

    dataset_id: int
    name: str
    cases: int
    channels: tuple[str, ...]
    labels: tuple[str, ...]
    preprocessed: tuple[str, ...]
    trained: tuple[TrainedModel, ...]
    split: str = Field(default="", description="How many folds there are, and whose choice they are.")
    problems: tuple[str, ...] = ()


class Spread(Record):
    """Lengths along z, y, x over all cases."""

    median: tuple[Number, ...]
    smallest: tuple[Number, ...]
    largest: tuple[Number, ...]


class ChannelStatistics(Record):
    """Values of a channel's voxels; the percentiles are those of each case, and of these the median."""

    channel: str
    lowest: float
    percentile_00_5: float
    median: float
    percentile_99_5: float
    highest: float
    highest_in: str = Field(default="", description="The case that has it.")
    normalization: str = Field(default="", description="What nnU-Net makes of them, by the channel's name.")


class LabelStatistics(Record):
    """How much of a label there is."""

    share: float = Field(description="Of all voxels of the cases looked at.")
    cases: int = Field(description="In which it occurs.")
    volume: str = Field(default="", description="Median in a case that has it, smallest to largest.")


class Fingerprint(Record):
    """What nnU-Net measured before it planned: images cropped to what is not zero."""

    cases: int
    median_shape: tuple[Number, ...]
    median_spacing: tuple[Number, ...]
    foreground: tuple[str, ...] = Field(description="Mean and standard deviation of each channel within the labels.")


class PlannedConfiguration(Record):
    """A configuration of a plans file."""

    patch_size: tuple[int, ...]
    batch_size: int
    spacing: tuple[Number, ...]
    median_shape: tuple[Number, ...]
    stages: int | None
    network: str
    preprocessed_cases: int


class DatasetDetails(DatasetLine):
    """One dataset in depth; its images and labels were opened."""

    inspected: int = Field(description="Cases whose images were looked at, of `cases`.")
    partial: bool = Field(default=False, description="The time was up; the next call goes on.")
    warnings: tuple[str, ...] = ()
    shapes: Spread | None = None
    spacings: Spread | None = None
    voxel_types: tuple[str, ...] = ()
    intensities: tuple[ChannelStatistics, ...] = ()
    label_statistics: dict[str, LabelStatistics] = Field(default_factory=dict)
    outliers: dict[str, str] = Field(default_factory=dict, description="Cases unlike the others, and in what.")
    mixed: tuple[str, ...] = Field(default=(), description="Groups of cases, as of several scanners.")
    fingerprint: Fingerprint | None = None
    plans: dict[str, PlannedConfiguration] = Field(default_factory=dict)
    plans_ahead: dict[str, str] = Field(
        default_factory=dict, description="Per preset what nnU-Net will plan: patch, batch, GPU memory."
    )


class DatasetsAnswer(Record):
    """The datasets in nnUNet_raw and nnUNet_preprocessed, and those that have only models."""

    datasets: tuple[SerializeAsAny[DatasetLine], ...]
    others: tuple[str, ...] = ()
    raw_folder: str
    next_step: str


class Layout(Record):
    """One way to read a folder as images and labels."""

    call: str = Field(description="The complete call that imports it.")
    cases: int
    pairs: tuple[str, ...]
    left_over: tuple[str, ...] = Field(default=(), description="Files in no pair.")


class Prepared(Record):
    """The answer of nnunet_prepare_dataset."""

    written: bool = Field(default=True, description="False: it only looked; this is what the first layout would make.")
    dataset_id: int
    dataset_name: str
    path: str
    cases: int
    test_cases: int
    channels: tuple[str, ...]
    labels: dict[str, int | list[int]]
    changes: tuple[str, ...] = Field(description="What differs from the source.")
    layouts: tuple[Layout, ...] = Field(default=(), description="Layouts that fit, the best first.")
    doubts: tuple[str, ...] = ()
    next_step: str


class SplitFold(Record):
    """A fold of a split."""

    fold: str
    training: int
    validation: int
    patients: int | None = Field(default=None, exclude_if=unknown, description="In validation, where they are known.")
    labels: dict[str, int] = Field(default_factory=dict, description="Rare label: cases with it in validation.")
    cases: str = Field(description="The first in validation.")


class SplitAnswer(Record):
    """The answer of nnunet_split_dataset."""

    written: bool
    dataset_id: int
    dataset_name: str
    cases: int
    patients: int | None = Field(default=None, exclude_if=unknown)
    made: str = Field(description="How the split was made.")
    count: int = Field(description="Folds.")
    folds: tuple[SplitFold, ...]
    grouped: tuple[str, ...] = Field(default=(), description="Patients with several cases.")
    notes: tuple[str, ...] = ()
    path: str
    next_step: str


class DatasetsRequest(Request):
    """List datasets, or look at one."""

    dataset_id: DatasetId | None = Field(default=None, description="Look into its images. Omitted: list all.")
    full: bool = Field(default=False, description="Leave nothing out.")


class PrepareRequest(Request):
    """Import a dataset."""

    source: str = Field(
        max_length=4096,
        description="Folder; it is only read. Without dataset.json and images: only a look.",
    )
    dataset_id: DatasetId = Field(description="A free id (1-999).")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        max_length=80,
        description="It becomes DatasetXXX_<name>.",
    )
    images: Texts = Field(
        default=(),
        max_length=64,
        description="Pattern of the images' paths: {case}, {channel} (or a pattern per channel), {group} above it, "
        "* any text.",
    )
    labels: str = Field(
        default="",
        max_length=4096,
        description="Pattern of the masks, with {case}; {label} where each label has its own.",
    )
    channels: Texts = Field(
        default=(), max_length=64, description='Channel names in order: "T1", or "t1=T1" where t1 is the {channel}.'
    )
    label_names: Texts = Field(
        default=(),
        max_length=1000,
        description='"1=liver", "255=cell"; "7=background" drops 7. Of {label}: in order, the later wins overlaps.',
    )
    leave_out: Texts = Field(default=(), max_length=100_000, description="Cases to leave out.")


class SplitRequest(Request):
    """Choose the folds of a dataset."""

    dataset_id: DatasetId = Field(description="From nnunet_datasets.")
    folds: int = Field(default=USUAL_FOLDS, ge=2, le=40, description="2 to 40.")
    patients: str = Field(
        default="",
        max_length=4096,
        description="Pattern of case names, e.g. {patient}_*, or a CSV file of case,patient.",
    )
    validation: Texts = Field(
        default=(), max_length=100_000, description="Instead of folds: the cases or patients to validate."
    )
    stratify: bool = Field(default=True, description="Spread rare labels.")
    seed: int = Field(default=SEED, ge=0, le=99999, description="Random seed.")
    write: bool = Field(default=False, description="Keep it for trainings.")

    @model_validator(mode="after")
    def _one_kind(self) -> "SplitRequest":
        if self.validation and self.folds != USUAL_FOLDS:
            raise ValueError("validation is one fixed fold, and folds makes several: leave one out")
        return self


class CasePaths(Record):
    """A case's files as absolute paths."""

    case: str
    images: tuple[str, ...]
    label: str | None = None


class LookJob(Record):
    """What to look at. The reader is nnU-Net's choice for the dataset; None: chosen by the first readable file."""

    cases: tuple[CasePaths, ...]
    reader: Reader | None = None


class ValueRange(Record):
    """The values of an image or of one of its colours."""

    lowest: float | None = None
    highest: float | None = None
    quantiles: tuple[float, float, float] | None = None  # 0.5, 50 and 99.5 %


class FileLook(ValueRange):
    """An image file as nnU-Net would read it. Shape and spacing run along z, y, x."""

    error: str = ""
    passing: bool = False  # the error may be temporary: not enough memory, or no access
    channels: int = 1
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()
    dtype: str = ""
    digest: str = ""
    note: str = ""
    unplaced: bool = False  # a NIfTI header that says nothing of position and direction (sform_code, qform_code)
    twice: str = ""  # what its header says in two ways that differ
    not_numbers: int = 0
    infinite: int = 0
    colours: tuple[ValueRange, ...] = ()  # of a coloured picture, each
    box: tuple[tuple[int, int], ...] = ()  # around what is not zero, along z, y, x: first, and one after the last
    # every n-th value of the file, at the same places in an image and its label; only while the case is looked at
    sample: Any = Field(default=None, exclude=True, repr=False)


class LabelLook(FileLook):
    """A label file: how many voxels have each value, and how many have a value that is not whole."""

    values: dict[int, int] = Field(default_factory=dict)
    fractional: int = 0
    uncounted: int = 0  # voxels of further values, after too many different ones


class CaseLook(Record):
    """All files of a case."""

    case: str
    images: tuple[FileLook, ...]
    label: LabelLook | None = None
    # of a sample of the voxels: the mean of each channel where the label has this value
    means: dict[int, tuple[float, ...]] = Field(default_factory=dict)
    slices: tuple[int, int] | None = None  # of that sample: how many slices hold a label, from the first to the last

    @property
    def kept(self) -> bool:
        """Whether the look stays valid as long as the files do not change."""
        return not any(file.passing for file in (*self.images, self.label) if file is not None)


class LookLine(Record):
    """A line of the looking process: a case is begun, or done. If a reader crashes, its case stays begun."""

    begun: str | None = None
    done: CaseLook | None = None


class SourceFile(Record):
    """One image or mask to import. `paths` are all its files: a DICOM series has many, .mhd brings its voxels."""

    name: str = Field(description="As the person knows it, below the source.")
    paths: tuple[str, ...]
    mask: bool = False
    series: str = Field(default="", description="Of several DICOM series: the number or description of the one meant.")


class FileFacts(LabelLook):
    """What an import has to know of a file. Shape and spacing run along z, y, x."""

    picture: str = Field(default="", description='"grey", "RGB" or "RGBA"; "" for volumes.')
    alike: bool = Field(default=False, description="Its colours are equal: it is grey.")
    opaque: bool = Field(default=False, description="Its alpha channel says nothing.")
    palette: bool = Field(default=False, description="Its values are numbers of a palette, and its colours are shown.")
    series: tuple[str, ...] = Field(default=(), description="Of which one has to be chosen, described.")


class Writing(Record):
    """How to write one file of the new dataset."""

    sources: tuple[SourceFile, ...] = Field(description="Several: masks to merge, the later over the earlier.")
    targets: tuple[str, ...] = Field(description="Several: the channels of one 4D image.")
    as_it_is: bool = False
    picture: str = Field(default="", description="The colours to write.")
    values: tuple[dict[int, int], ...] = Field(default=(), description="Per mask: old value to new; others become 0.")


class ConversionJob(Record):
    """Files to look at, or to write into `folder`. Only files inside `allowed` are opened."""

    allowed: tuple[str, ...]
    looks: tuple[SourceFile, ...] = ()
    folder: str = ""
    writings: tuple[Writing, ...] = ()


class ConversionLine(Record):
    """A line of that process: a file is begun, or done."""

    begun: str = ""
    number: int = -1
    facts: FileFacts | None = None
    overlap: int = Field(default=0, description="Voxels that several masks claimed.")
    error: str = ""
