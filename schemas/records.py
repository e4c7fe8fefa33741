"""What a run leaves on disk: one model per file of the run directory (see `runs/layout.py`).

Times are seconds since the epoch (UTC); unknown numbers are null, never invented.
"""

from typing import Literal

from pydantic import Field, field_validator

from .base import Record, unknown
from .jobs import AnyJob, TrainingJob
from .slurm import EngineName
from .stage_kinds import STAGE_KINDS, StageKind

Status = Literal["queued", "running", "success", "error", "cancelled", "interrupted"]


Liveness = Literal["alive", "dead", "unknown"]


# What people can do with a run that waits.
QueueAction = Literal["front", "hold", "release"]


ACTIVE: frozenset[Status] = frozenset({"queued", "running"})


# nnunetv2 2.8.1, nnUNetTrainer.py:153. The highest rate of nnU-Net's own trainers is 0.1 (nnUNetTrainerAdan.py:46).
USUAL_RATE, HIGHEST_RATE = 0.01, 0.1
# nnunetv2 2.8.1, nnUNetTrainer.py:159.
USUAL_EPOCHS = 1000
# After so many epochs in a row without a finite loss the training cannot recover: the weights are lost.
NAN_EPOCHS = 3

# Of a training's work the epochs; the rest is the final validation. Of a whole training with nnU-Net's 1,000 epochs it
# is far less, of one with few epochs far more: a rough share, which every run has, so that percentages mean the same.
TRAINED_PART = 0.95


# The phases that alternate within each epoch.
TRAINING = "training"


ESTIMATING = "estimating pseudo Dice"


# The first step on a GPU, until torch.compile has built its kernels: half a minute to minutes in silence.
COMPILING = "compiling"


VALIDATING = "validating"


# The validation waits for processes that resample and write, which can report nothing for a long time.
EXPORTING = "validating: writing"


VALIDATED = "validated"


PREDICTING = "predicting"


# A prediction waits for its processes that prepare and write cases.
HANDING_OVER = "predicting: reading and writing"


# In these phases every step and every patch is reported: if nothing is reported on a GPU, nothing moves, even if CPU
# time is used.
TICKING = frozenset({TRAINING, ESTIMATING, VALIDATING, PREDICTING})


class Failure(Record):
    """Why a stage failed, the evidence, and what to do."""

    cause: str
    evidence: str
    remedy: str
    resume: bool = Field(
        default=False,
        description="Whether the run goes on from where it was, once that is done.",
        exclude_if=lambda resumes: not resumes,
    )


class ProcessMark(Record):
    """Identifies a process for good; a pid alone is reused."""

    pid: int
    start_time: float = Field(description="By the kernel: on Linux ticks since the boot, elsewhere a time of day.")
    boot_id: str
    host: str
    pid_namespace: str = ""


class StageSpec(Record):
    """One process of a run: what it does and what must have succeeded before it."""

    name: str
    kind: str = Field(description="A row of STAGE_KINDS.")
    configuration: str
    fold: str | None = Field(default=None, description='A number, or "all" in nnU-Net\'s sense (one model).')
    needs: tuple[str, ...] = ()
    reused: bool = Field(default=False, description="Already done by an earlier run: nothing is started.")
    resume: bool = Field(default=False, description="Go on from the fold's latest checkpoint.")
    detail: str = ""

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in STAGE_KINDS:
            raise ValueError(f"{kind!r} is no kind of stage; there are {', '.join(STAGE_KINDS)}")
        return kind

    @property
    def traits(self) -> StageKind:
        """What is true of every stage of its kind."""
        return STAGE_KINDS[self.kind]


class Folders(Record):
    """The three nnU-Net folders the run works in, as absolute paths."""

    raw: str
    preprocessed: str
    results: str


class RunRecord(Record):
    """run.json: written once, before anything starts."""

    run_id: str
    created_at: float
    job: AnyJob
    dataset_name: str
    device: Literal["cuda", "cpu", "mps"]
    device_reason: str = Field(default="", description="Why that device.")
    num_gpus: int = 1
    folders: Folders
    stages: tuple[StageSpec, ...]
    engine: EngineName = "local"
    slurm: dict[str, str] = Field(default_factory=dict, description="Options of the run's Slurm jobs.")
    host: str
    versions: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def training(self) -> TrainingJob | None:
        """The job, if it is a training."""
        return self.job if self.job.kind == "train" else None

    @property
    def fold(self) -> str | None:
        """The fold in the request of a training; null for every other run."""
        return self.training.request.fold if self.training else None

    @property
    def note(self) -> str | None:
        """Why it was started, in the person's words; null where nobody said it."""
        return (self.training.request.note or None) if self.training else None

    @property
    def after(self) -> str | None:
        """The run that must have succeeded before it starts; null for a run that waits for none."""
        return self.training.request.after if self.training else None

    @property
    def fold_or_kind(self) -> str:
        """The `fold` in answers: for runs without one, the kind of the run."""
        return self.fold or self.job.kind

    @property
    def trainer(self) -> str:
        """The trainer of the model that is trained or used; of several models, of the first."""
        return self.job.model.trainer

    @property
    def plans_identifier(self) -> str:
        """The plans of that model."""
        return self.job.model.plans

    @property
    def bf16(self) -> bool:
        """Whether models are trained in mixed precision on the CPU; also the 3d_lowres models of a cascade."""
        return self.training is not None and self.training.request.bf16

    @property
    def model_stages(self) -> tuple[StageSpec, ...]:
        """The stages that measure the requested configuration (not the 3d_lowres models of a cascade)."""
        wanted = self.job.configuration
        return tuple(s for s in self.stages if s.traits.of_fold and s.configuration == wanted)


class EngineRecord(Record):
    """engine.json on this machine: the supervisor, which writes it as its first act."""

    supervisor: ProcessMark


class JobsRecord(Record):
    """engine.json on Slurm, written by the server that holds submit.lock."""

    jobs: dict[str, str] = Field(default_factory=dict, description="Job id of each stage that is submitted.")
    complete: bool = Field(default=False, description="Every stage is submitted.")
    refused: str | None = Field(default=None, description="What sbatch said when it refused the rest.")


class CancelRecord(Record):
    """cancel.json: a request to stop the run."""

    requested_at: float
    grace_s: float


class QueueRecord(Record):
    """queue.json on this machine: what people want of the run's place in the queue. Slurm keeps it itself."""

    held: bool = Field(default=False, description="No further stage starts.")
    front_at: float | None = Field(default=None, description="When it was let in front of all others; the last first.")


class Untold(Record):
    """told/<target>.json: why something could not be told, in words without addresses."""

    why: str


class GpuUsed(Record):
    """A GPU that a stage ran on."""

    name: str
    uuid: str = ""
    driver: str = ""
    capability: tuple[int, int] | None = None


class StageState(Record):
    """state.json of a stage, written by its parent (the supervisor)."""

    status: Status
    attempt: int = 1
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    signal: str | None = None
    process: ProcessMark | None = None
    failure: Failure | None = None
    waits_for: str | None = None
    devices: tuple[GpuUsed, ...] = Field(default=(), description="The GPUs that it was given.")

    @property
    def seconds(self) -> float | None:
        """How long it ran; null until it has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at


class Progress(Record):
    """progress.json of a stage, written by the worker at most once a second."""

    phase: str
    heartbeat: float
    epoch: int | None = None
    epochs: int | None = None
    iteration: int | None = None
    iterations: int | None = None
    done: int | None = None
    total: int | None = None
    waits_for: str | None = None
    part: float = Field(default=0.0, description="Share of the stage that is done, 0-1; it never falls.")
    since: float | None = Field(default=None, description="When the present section of the stage began.")


class Epoch(Record):
    """One line of epochs.jsonl; the last line of an epoch counts. `epoch` counts from 0, as in nnU-Net's log; answers
    count from 1.

    pseudo_dice is nnU-Net's estimate on random patches of the validation cases, not the Dice.
    """

    epoch: int
    train_loss: float | None
    val_loss: float | None
    learning_rate: float | None
    pseudo_dice: float | None
    ema_pseudo_dice: float | None
    pseudo_dice_per_class: tuple[float | None, ...] = ()
    seconds: float | None
    wait_s: float | None = Field(default=None, description="Of these seconds, those in which steps waited for data.")
    compile_s: float | None = Field(default=None, description="Those of steps that torch.compile compiled for.")
    restored: bool = Field(default=False, description="Read back from the checkpoint a resume started from.")


class ClassMetrics(Record):
    """Mean over the validation cases of one class or region; null where the class never occurs."""

    label: str
    dice: float | None
    iou: float | None
    counts: dict[Literal["tp", "fp", "fn"], float] = Field(
        default_factory=dict, description="Voxels per case.", exclude_if=lambda found: not found
    )
    recall: float | None = Field(default=None, exclude_if=unknown)
    precision: float | None = Field(default=None, exclude_if=unknown)
    predicted_ml: float | None = Field(default=None, exclude_if=unknown)
    true_ml: float | None = Field(default=None, exclude_if=unknown)


class CaseSurface(Record):
    """One class of one case. Where only one of truth and prediction has it, hd95_mm is null and nsd 0."""

    hd95_mm: float | None
    nsd: float | None


class ClassSurface(CaseSurface):
    """The means over the cases in which truth or prediction has the class."""

    label: str
    cases: int
    without_hd95: int = Field(description="Of these cases, those in which only one of both has it.")


class Surfaces(Record):
    """Distances of surfaces, which nnU-Net does not measure."""

    tolerance_mm: float = Field(description="Of nsd.")
    per_class: tuple[ClassSurface, ...]


class CaseMetrics(Record):
    """One validation case: Dice per class (null where neither image has the class) and their mean."""

    case: str
    dice: float | None
    per_class: dict[str, float | None] = Field(default_factory=dict)
    voxels: dict[str, tuple[int, int]] = Field(
        default_factory=dict,
        description="Per class: voxels predicted, voxels true.",
        exclude_if=lambda found: not found,
    )
    ml: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="The same in ml.", exclude_if=lambda found: not found
    )
    surface: dict[str, CaseSurface] = Field(default_factory=dict, exclude_if=lambda found: not found)


class CaseUncertainty(Record):
    """How sure the model is of a case, 0 (sure) to 1; how good it is only a label can tell."""

    case: str
    entropy: float = Field(description="Mean over the voxels predicted as a structure.")
    disagreement: float | None = Field(
        default=None, exclude_if=unknown, description="1 - the mean Dice between the folds' own segmentations."
    )
    nothing_predicted: bool = Field(default=False, exclude_if=lambda nothing: not nothing)


class Metrics(Record):
    """nnU-Net's own numbers from validation/summary.json, and the last epoch's validation loss."""

    dice: float | None
    iou: float | None
    validation_loss: float | None


class Candidate(Record):
    """A model, or an ensemble of two, in the search for the best configuration; under nnU-Net's name."""

    name: str
    dice: float | None = Field(description="nnU-Net's foreground_mean over all cases, before postprocessing.")


class BestConfiguration(Record):
    """What nnU-Net's search for the best configuration found."""

    name: str
    models: tuple[str, ...] = Field(description="Model folders; two are an ensemble.")
    dice: float | None = Field(description="Before postprocessing.")
    dice_postprocessed: float | None
    candidates: tuple[Candidate, ...] = Field(description="Best first, at most 20.")
    postprocessing: tuple[str, ...] = Field(description="In words; empty where none improves the result.")
    instructions: str = Field(description="nnU-Net's own commands.")
    instructions_file: str


class Outcome(Record):
    """outcome.json: success, or a failure that the worker understood; the worker writes it last. `outcomes.py` has the
    kinds."""

    kind: str = "stage"
    ok: bool
    failure: Failure | None = None
    stopped: bool = Field(default=False, description="Ended early because somebody asked for it.")
    model_path: str | None = None
    notes: tuple[str, ...] = ()


class Machine(Record):
    """The machine of a run."""

    host: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    gpus: tuple[str, ...]
    device: str


class StageTimes(Record):
    """When a stage ran, in seconds since the epoch (UTC), and how often it was started."""

    name: str
    status: Status
    started_at: float | None
    ended_at: float | None
    attempts: int
    devices: tuple[GpuUsed, ...] = ()


class Provenance(Record):
    """provenance.json: written once, at the end, by whoever saw the last stage through."""

    run_id: str
    job: AnyJob
    dataset_name: str
    versions: dict[str, str]
    sha256: dict[str, str] = Field(description="Of the plans, dataset.json, fingerprint and split that were used.")
    raw_identity: str | None = Field(description="Digest of the raw files' names, sizes and times.")
    seeds: str
    machine: Machine
    created_at: float
    stages: tuple[StageTimes, ...]
