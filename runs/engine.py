"""What an engine is: the place where a run's stages are carried out. `engines.py` chooses it.

An engine decides what follows from the place alone. It records no run, judges no status (`status.py` does, from the
evidence that the engine gathers) and writes no wish to cancel. Each keeps what it knows of a run in engine.json.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ..schemas.records import RunRecord
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
    """Where stages run. It keeps no state: every call reads what is on disk, or asks the scheduler."""

    name: ClassVar[EngineName]
    # Whether what uses a model goes where the model was trained, with the same options, wherever new trainings go.
    keeps_models: ClassVar[bool] = False

    # Before there is a run

    @abstractmethod
    def checks(self, settings: Settings) -> Iterator[Check]:
        """What every run there needs, each thing with its fix."""

    @abstractmethod
    def options(self, asked: Iterable[str], settings: Settings) -> dict[str, str]:
        """The options of a run: what a request asks for, over the server's own.

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
        """Whether the CPU that would train has bfloat16; None where that is not known."""

    @abstractmethod
    def problems(self, device: Device | None) -> list[str]:
        """What a training on this device would probably fail of."""

    @abstractmethod
    def notes(self, device: Device | None, options: dict[str, str], settings: Settings) -> list[str]:
        """What would slow a training down with these options."""

    @abstractmethod
    def lanes(self, record: RunRecord, trainings: int, settings: Settings) -> int:
        """How many of so many trainings of a run go on side by side, at most."""

    @abstractmethod
    def preview(self, record: RunRecord, settings: Settings) -> Preview:
        """What starting the run would do now. Nothing is submitted or written.

        Raises:
            Refused: the server's own settings cannot be used.
        """

    @abstractmethod
    def hold_device(self, record: RunRecord, settings: Settings) -> Grant | str:
        """The device that the run would get, held until it is released so that it can be measured, or why not."""

    @abstractmethod
    def gpu_memory_gb(self, record: RunRecord, settings: Settings) -> float | None:
        """What is free on the GPU that the run would get, or all of it where it has to wait; None if not known."""

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
        """Finish a start that a kill cut off; whoever looks at a run calls it, and most often nothing is to do."""

    @abstractmethod
    def evidence(self, run: RunDir, record: RunRecord) -> Evidence:
        """Everything that `derive_status` needs. From silence nothing is concluded."""

    @abstractmethod
    def cancel(self, run: RunDir, record: RunRecord, *, gracefully: bool) -> None:
        """cancel.json is written: see to what would not obey it by itself."""

    @abstractmethod
    def end(self, run: RunDir, record: RunRecord) -> None:
        """End everything at once, also whoever would have obeyed a cancel.json that cannot be written.

        Raises:
            Unavailable: it cannot be ended from here.
        """

    @abstractmethod
    def sweep(self, run: RunDir, record: RunRecord) -> None:
        """End what a run that is over has left behind, for example data loaders that lost their parent."""
