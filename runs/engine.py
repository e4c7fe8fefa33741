"""What an engine is: the place where the stages of a run are carried out. `engines.py` chooses it.

An engine decides only what depends on that place. It records no runs, derives no status (`status.py` does, from the
evidence that the engine gathers) and never writes cancel.json. Each engine keeps what it knows of a run in engine.json.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..schemas.records import QueueAction, RunRecord
from ..schemas.slurm import EngineName
from ..schemas.system import Check
from ..schemas.training import Device
from ..settings import Settings
from .layout import RunDir
from .stage_process import Grant
from .status import Evidence


@dataclass(frozen=True)
class Preview:
    """What would be submitted, what it would wait for, and why it would be refused."""

    scripts: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Engine(ABC):
    """Where stages run. An engine has no state: every call reads what is on disk, or asks the scheduler."""

    name: ClassVar[EngineName]
    # Whether a prediction or another use of a model runs on the engine of its training, with the same options, even if
    # new trainings go elsewhere.
    keeps_models: ClassVar[bool] = False
    # Whether stages run on this machine, so that what was measured here is true of them.
    is_here: ClassVar[bool] = False
    # Whether a run there can wait for a run of any engine, or only for one of its own.
    follows_all: ClassVar[bool] = False
    # What it comes to there if a run is let in front, for people.
    in_front: ClassVar[str]

    def works_here(self, record: RunRecord) -> bool:
        """Whether the run's processes are on the machine that asks."""
        return False

    # Before there is a run

    @abstractmethod
    def checks(self, settings: Settings) -> Iterator[Check]:
        """Check what every run there needs; each problem comes with its fix."""

    @abstractmethod
    def options(self, asked: Iterable[str], settings: Settings) -> dict[str, str]:
        """The options of a run: those of the request, and the server's own for the rest.

        Raises:
            Refused: it has none, or the server's own are wrong.
        """

    @abstractmethod
    def device(self, asked: Device | None, settings: Settings, *, num_gpus: int | None = None) -> tuple[Device, str]:
        """The device asked for, or the best one there, and why.

        Raises:
            Unavailable: there is no such device.
        """

    @abstractmethod
    def cpu_has_bf16(self) -> bool | None:
        """Whether the CPU that would train has bfloat16; None where this is unknown."""

    @abstractmethod
    def problems(self, device: Device | None) -> list[str]:
        """What would probably make a training on this device fail."""

    @abstractmethod
    def notes(self, device: Device | None, options: dict[str, str], settings: Settings) -> list[str]:
        """What would slow a training down with these options."""

    @abstractmethod
    def lanes(self, record: RunRecord, trainings: int, settings: Settings) -> int:
        """How many of `trainings` trainings of a run can run at the same time."""

    @abstractmethod
    def preview(self, record: RunRecord, settings: Settings) -> Preview:
        """What starting the run would do now. Nothing is submitted or written.

        Raises:
            Refused: the server's own settings cannot be used.
        """

    @abstractmethod
    def hold_device(self, record: RunRecord, settings: Settings) -> Grant | str:
        """The device that the run would get, held until it is released so that it can be measured; or why it cannot be
        held."""

    @abstractmethod
    def gpu_memory_gb(self, record: RunRecord, settings: Settings) -> float | None:
        """The free memory of the GPU that the run would get, or its whole memory if the run has to wait; None if
        unknown."""

    # With a run that is recorded

    @abstractmethod
    def start(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Start the run and return at once, so that nothing that happens to the caller reaches it.

        Raises:
            Refused: it cannot run there like this; the run is gone again.
            Unavailable: it could not be started; where that is certain, the run is gone again.
        """

    @abstractmethod
    def go_on_starting(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Finish a start that was cut off by a kill. Every reader of a run's status calls it; usually there is nothing
        to do."""

    @abstractmethod
    def evidence(self, run: RunDir, record: RunRecord) -> Evidence:
        """Everything that `derive_status` needs. If the scheduler does not answer, nothing is concluded from that."""

    @abstractmethod
    def move(self, run: RunDir, record: RunRecord, action: QueueAction, settings: Settings) -> None:
        """Let what has not begun of the run go first, keep it back, or let it go again. What has begun goes on.

        Raises:
            Refused: the scheduler does not allow it.
            Unavailable: the scheduler does not answer.
        """

    @abstractmethod
    def cancel(self, run: RunDir, record: RunRecord, *, gracefully: bool) -> None:
        """cancel.json is written: end what does not read it."""

    @abstractmethod
    def end(self, run: RunDir, record: RunRecord) -> None:
        """End everything at once, including the processes that would have obeyed a cancel.json, which cannot be
        written.

        Raises:
            Unavailable: it cannot be ended from here.
        """

    @abstractmethod
    def sweep(self, run: RunDir, record: RunRecord) -> None:
        """End what a finished run has left behind, for example data loaders whose parent died."""
