"""The tools' answers. Each is complete in itself: some hosts show the model nothing else."""

from typing import Literal

from pydantic import Field, SerializeAsAny

from .runs import Failure, Record, Status

# Whole lengths are told without a point.
Number = int | float
HealthVerdict = Literal["starting", "ok", "slow", "starved", "stalled", "plateau", "overfitting", "diverging", "nan"]


class StageLine(Record):
    """A stage of a run."""

    name: str
    status: Status
    detail: str = ""


class TrainingStarted(Record):
    """The answer of nnunet_training: the run goes on by itself."""

    run_id: str
    status: Status
    dataset_id: int
    dataset_name: str
    configuration: str
    fold: str
    device: str
    device_reason: str = Field(default="", description="Why it trains there.")
    stages: tuple[StageLine, ...]
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class Health(Record):
    """What the run's own numbers say about it."""

    verdict: HealthVerdict
    detail: str


class ProgressAnswer(Record):
    """How a run is doing; at most 1,200 characters of JSON."""

    run_id: str
    status: Status
    stage: str | None
    phase: str | None
    percent: float
    elapsed_s: int
    eta_s: int | None = Field(description="Seconds of training left at the present speed; null while unknown.")
    epoch: int | None = Field(description="Epochs finished in this stage.")
    epochs: int | None
    epoch_s: float | None
    wait: float | None = Field(description="Share of the last epoch spent waiting for data, 0-1.")
    train_loss: float | None
    val_loss: float | None
    pseudo_dice: float | None = Field(description="nnU-Net's estimate on random patches; not the Dice.")
    learning_rate: float | None
    health: Health
    failure: Failure | None = None
    retry_after_s: int
    next_step: str


class LogError(Record):
    """A distinct error in a log."""

    line: int
    text: str
    times: int


class LogsAnswer(Record):
    """A bounded part of a log."""

    run_id: str
    stage: str
    lines: tuple[str, ...]
    first_line: int = Field(description="Number of the first line shown; negative: counted from the end.")
    last_line: int
    total_lines: int | None = Field(description="Null for a log too large to be counted.")
    errors: tuple[LogError, ...] = ()
    size_bytes: int
    path: str
    note: str = ""
    retry_after_s: int
    next_step: str


class RunLine(Record):
    """One run in a list."""

    run_id: str
    status: Status
    external: bool = Field(default=False, description="Started by hand with nnUNetv2_train; read-only here.")
    dataset: str
    configuration: str
    fold: str
    started: str = Field(description="UTC, ISO 8601.")
    stage: str | None
    epoch: str | None = Field(description='Finished and planned epochs of the present stage, e.g. "12/1000".')
    dice: float | None
    detail: str = ""


class RunsAnswer(Record):
    """Runs, newest first."""

    runs: tuple[RunLine, ...]
    shown: int
    total: int = Field(description="Runs that match the filters, including those not shown.")
    retry_after_s: int
    next_step: str


class CancelAnswer(Record):
    """The run's status after the request to stop."""

    run_id: str
    status: Status
    detail: str
    retry_after_s: int
    next_step: str


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
    problems: tuple[str, ...] = ()


class Spread(Record):
    """Lengths along z, y, x over all cases."""

    median: tuple[Number, ...]
    smallest: tuple[Number, ...]
    largest: tuple[Number, ...]


class ChannelStatistics(Record):
    """Values of a channel's voxels; the percentiles are medians over the cases."""

    channel: str
    lowest: float
    percentile_00_5: float
    median: float
    percentile_99_5: float
    highest: float


class LabelStatistics(Record):
    """How much of a label there is."""

    share: float = Field(description="Of all voxels of the cases looked at.")
    cases: int = Field(description="In which it occurs.")


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
    fingerprint: Fingerprint | None = None
    plans: dict[str, PlannedConfiguration] = Field(default_factory=dict)


class DatasetsAnswer(Record):
    """The datasets in nnUNet_raw and nnUNet_preprocessed, and those that have only models."""

    datasets: tuple[SerializeAsAny[DatasetLine], ...]
    others: tuple[str, ...] = ()
    raw_folder: str
    next_step: str


class Prepared(Record):
    """The answer of nnunet_prepare_dataset."""

    dataset_id: int
    dataset_name: str
    path: str
    cases: int
    test_cases: int
    channels: tuple[str, ...]
    labels: dict[str, int | list[int]]
    changes: tuple[str, ...] = Field(description="What differs from the source.")
    next_step: str


class Slot(Record):
    """A place for one stage at a time."""

    kind: Literal["gpu", "cpu", "preprocess"]
    name: str
    holder: str | None = Field(description="Who uses it; null: free.")


class SystemAnswer(Record):
    """The machine."""

    gpus: tuple[str, ...]
    cpu_cores: int
    memory_gb: float
    memory_free_gb: float
    slots: tuple[Slot, ...]
    folders: dict[str, str]
    state_folder: str
    disk_free_gb: dict[str, float]
    versions: dict[str, str]
    problems: tuple[str, ...]
    next_step: str


class Check(Record):
    """One thing that was looked at."""

    name: str
    level: Literal["ok", "warning", "problem"]
    detail: str
    fix: str = Field(default="", description="What to do, in one sentence; empty where all is well.")


class DoctorAnswer(Record):
    """Everything that `nnunet-mcp doctor` looked at."""

    checks: tuple[Check, ...]
    problems: int
    warnings: int
    next_step: str


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


class RunStarted(Record):
    """The answer of a tool that starts a run of its own kind: the run goes on by itself."""

    run_id: str
    status: Status
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class PredictionStarted(Record):
    """The answer of nnunet_predict: the run goes on by itself."""

    run_id: str
    status: Status
    dataset_id: int
    dataset_name: str
    model_path: str
    folds: tuple[str, ...]
    cases: int
    output: str
    device: str
    notes: tuple[str, ...] = ()
    retry_after_s: int
    next_step: str


class Hours(Record):
    """How long it will take, with a range, and what that rests on."""

    expected: float
    low: float
    high: float
    basis: str


class Room(Record):
    """What a run writes to a folder, and what is free there."""

    folder: str
    needed_gb: float
    free_gb: float


class NetworkCost(Record):
    """The planned network against this device."""

    patch_size: tuple[int, ...]
    batch_size: int
    parameters: int
    gpu_memory_gb: float = Field(description="nnU-Net's planner's estimate for a GPU.")
    measured_gpu_memory_gb: float | None = Field(default=None, description="What measure=true saw it take.")
    device_memory_gb: float | None = Field(
        description="Free on the GPU that would be taken; all of it while it is used."
    )
    fits: bool | None = Field(description="Null on a CPU, where nnU-Net has no estimate.")
    fit: Literal["fits", "tight", "no"] | None = Field(
        default=None, description="tight: the estimate fits, but not with what CUDA and fragmentation take besides."
    )


class Recommendation(Record):
    """A configuration, and why, from the dataset's own figures."""

    configuration: str
    reasons: tuple[str, ...]


class PreflightAnswer(Record):
    """What would happen if this request were started now."""

    possible: bool
    problems: tuple[str, ...] = Field(description="Every reason found why it would be refused or fail.")
    dataset_name: str | None
    device: str | None
    device_reason: str = Field(default="", description="Why it would train there.")
    stages: tuple[StageLine, ...] = Field(description="queued: would run. success: would be reused.")
    disk: tuple[Room, ...]
    network: NetworkCost | None = Field(description="Null until there are plans.")
    hours: Hours | None = Field(description="Null where nothing was measured here.")
    queue: tuple[str, ...] = Field(description="Who is in front, for each slot that it needs.")
    job_scripts: tuple[str, ...] = ()
    recommended: Recommendation | None
    notes: tuple[str, ...] = ()
    next_step: str
