"""Settings: every environment variable the project reads, with its default."""

import os
import sys
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import Unavailable
from .files import make_folder, make_folders
from .schemas.records import Folders
from .schemas.slurm import EngineName


class Settings(BaseSettings):
    """Read once from the environment; folders are absolute."""

    model_config = SettingsConfigDict(
        env_prefix="NNUNET_MCP_", populate_by_name=True, frozen=True, env_ignore_empty=True
    )

    data: Path = Field(
        default=Path("~/nnunet"), description="Base folder for the three nnU-Net folders that are not set."
    )
    raw: Path | None = Field(
        default=None,
        validation_alias="nnUNet_raw",
        description="Raw datasets. Default: nnUNet_raw in the base folder.",
    )
    preprocessed: Path | None = Field(
        default=None,
        validation_alias="nnUNet_preprocessed",
        description="Preprocessed data. Default: nnUNet_preprocessed in the base folder.",
    )
    results: Path | None = Field(
        default=None,
        validation_alias="nnUNet_results",
        description="Trained models. Default: nnUNet_results in the base folder.",
    )
    home: Path | None = Field(
        default=None, description="State folder (runs, locks). Default: .nnunet_mcp in nnUNet_results."
    )
    allowed_dirs: str = Field(
        default="",
        description="More folders that tools may read from, separated by the system's path separator.",
    )
    trust_plans: bool = Field(
        default=False,
        description="1: plans and dataset.json in the three nnU-Net folders are the user's own and may name any class "
        "(a network of one's own, for example); those of imported and named models are judged all the same.",
    )
    worker_python: str | None = Field(default=None, description="Python that runs nnU-Net. Default: the server's own.")
    gpus: int | None = Field(
        default=None,
        ge=0,
        description="Use this many GPUs of those that CUDA_VISIBLE_DEVICES shows; where no NVIDIA driver can be asked "
        "(ROCm, some containers), believe that they are there. Default: all.",
    )
    host_locks: Path = Field(
        default=Path("/tmp"),
        description="Folder of the locks on GPUs that all users of this host share, and containers that mount it.",
    )
    share_gpus: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Stages that may run on a GPU at once. Above 1, other people's programs count only where their "
        "memory leaves too little.",
    )
    hand_on: str = Field(
        default="",
        description="Secrets of the environment that trainings get, separated by commas, e.g. WANDB_API_KEY. Others "
        "(tokens, keys, passwords) stay with the server.",
    )
    nice: int = Field(
        default=10,
        ge=0,
        le=19,
        description="Niceness of what computes on this machine's CPU (preprocessing, training without a GPU), so that "
        "servers start and answer beside it. Stages on a GPU and Slurm's jobs keep their priority.",
    )
    grace_s: float = Field(
        default=60,
        ge=0,
        description="Seconds a cancelled training may take to finish its epoch and save. Where it is not set, two "
        "epochs and 30 s if that is longer.",
    )
    stall_timeout_s: float = Field(
        default=900,
        gt=0,
        description="Seconds without any progress (while every step is told, 10 epochs if that is longer), else "
        "without progress, output and CPU time, after which a stage ends.",
    )
    checkpoint_every_s: float = Field(
        default=600, ge=0, description="Seconds of training after which checkpoint_latest is saved again."
    )
    http_token: SecretStr | None = Field(
        default=None, description="Bearer token for serve --http. Default: a new one, shown once at the start."
    )
    http_hosts: str = Field(
        default="", description="More host names under which serve --http may be reached, separated by commas."
    )
    notify: SecretStr | None = Field(
        default=None,
        description="Addresses that hear of runs that end, fail, stall, diverge or wait for hours: of the apprise "
        "library, separated by blanks, e.g. ntfys://ntfy.sh/topic, or a file with one a line. Nobody by default.",
    )
    track: SecretStr | None = Field(
        default=None,
        description="Trackers that get every training, separated by commas: tensorboard or tensorboard:FOLDER, mlflow, "
        "mlflow:FOLDER or mlflow:http://SERVER. The default folders are in the state folder. None by default.",
    )
    repeat_window_s: float = Field(
        default=60, ge=0, description="An identical request within this time returns the run it started."
    )

    engine: EngineName = Field(
        default="local", description="Where runs go that do not say it: local (this machine) or slurm (its cluster)."
    )
    slurm_options: str = Field(
        default="", description="Options of Slurm jobs, separated by spaces, e.g. partition=gpu time=24:00:00."
    )
    slurm_sbatch: str = Field(
        default="", description="More options of sbatch, as on its command line, e.g. --mail-type=FAIL."
    )
    slurm_setup: str = Field(
        default="", description="Shell lines at the beginning of each Slurm job, e.g. module load cuda."
    )

    @property
    def nnunet_python(self) -> str:
        """The Python that runs nnU-Net."""
        return self.worker_python or sys.executable

    def folder(self, which: str) -> Path:
        """The absolute path of "raw", "preprocessed" or "results"."""
        own: Path | None = getattr(self, which)
        return absolute(own) if own else absolute(self.data) / f"nnUNet_{which}"

    @property
    def folders(self) -> Folders:
        """The three nnU-Net folders."""
        names = ("raw", "preprocessed", "results")
        return Folders(**{name: str(self.folder(name)) for name in names})

    @property
    def state_dir(self) -> Path:
        """Where runs and locks live."""
        return absolute(self.home) if self.home else self.folder("results") / ".nnunet_mcp"

    @property
    def allowed_roots(self) -> list[Path]:
        """Folders that tools may read: the three nnU-Net folders and `allowed_dirs`."""
        extra = [absolute(Path(part)) for part in self.allowed_dirs.split(os.pathsep) if part.strip()]
        return [self.folder("raw"), self.folder("preprocessed"), self.folder("results"), *extra]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that nnU-Net and our own processes read, as absolute paths."""
        return {
            "nnUNet_raw": str(self.folder("raw")),
            "nnUNet_preprocessed": str(self.folder("preprocessed")),
            "nnUNet_results": str(self.folder("results")),
            "NNUNET_MCP_HOME": str(self.state_dir),
        }

    def create_folders(self) -> None:
        """Make the nnU-Net folders and the state folder where they are missing."""
        for which in ("raw", "preprocessed", "results"):
            make_folders(self.folder(which))
        make_folder(self.state_dir)


def absolute(path: Path) -> Path:
    """The path with ~ expanded, absolute, without following links.

    Raises:
        Unavailable: ~ is nobody's home here.
    """
    try:
        return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() would follow links
    except RuntimeError:
        raise Unavailable(
            f"{path} cannot be found, because this user has no home folder. Set NNUNET_MCP_DATA to an absolute path."
        ) from None


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting."""
    return str(field.validation_alias or f"NNUNET_MCP_{name.upper()}")
