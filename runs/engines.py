"""The engines, and which of them a run is on. Nothing else compares an engine's name.

An engine is a folder beside this file and a line in ENGINES; it is imported when a run first needs it.
"""

from collections.abc import Callable, Mapping

from ..schemas.records import RunRecord
from ..schemas.slurm import EngineName
from ..settings import Settings
from .engine import Engine
from .layout import RunDir
from .status import Verdict, derive_status


def _local() -> Engine:
    from .local.engine import LocalEngine

    return LocalEngine()


def _slurm() -> Engine:
    from .slurm.engine import SlurmEngine

    return SlurmEngine()


ENGINES: Mapping[EngineName, Callable[[], Engine]] = {"local": _local, "slurm": _slurm}


def engine_named(name: EngineName) -> Engine:
    """The engine of that name."""
    return ENGINES[name]()


def engine_of(record: RunRecord) -> Engine:
    """The engine that a run was given when it was recorded."""
    return engine_named(record.engine)


def is_on(record: RunRecord, engine: Engine) -> bool:
    """Whether the run is on this engine."""
    return record.engine == engine.name


def engine_with_options(settings: Settings, *, model_of: RunRecord | None = None) -> tuple[Engine, dict[str, str]]:
    """The engine and its options for a run whose request names no engine: those of its model's training, or the
    server's.

    Raises:
        Refused: the server's options are wrong.
    """
    if model_of is not None and (engine := engine_of(model_of)).keeps_models:
        return engine, model_of.slurm
    engine = engine_named(settings.engine)
    return engine, engine.options((), settings)


def verdict(run: RunDir, record: RunRecord) -> Verdict:
    """The run's status now."""
    return derive_status(engine_of(record).evidence(run, record))
