"""What a training costs: nnU-Net's own estimate for the network, and hours from this machine's own measurements."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...ask import Failed, NotStarted, TookTooLong, ask
from ...calls import argument
from ...errors import Refused, Unavailable
from ...runs.engines import engine_of
from ...runs.layout import StateDir
from ...runs.pace import scheduled
from ...runs.speed import earlier_preprocessing, earlier_training
from ...schemas.preflight import Estimate, EstimateJob, Hours
from ...schemas.records import RunRecord, StageSpec
from ...settings import Settings

ESTIMATOR = "nnunet_mcp.worker.asks.estimate"
ESTIMATE_S = 100
# Both modes of the network are compiled first, which takes minutes for a large one.
MEASURE_ON_GPU_S = 400
HOUR = 3600.0
# A made-up batch needs no loading and augmenting; on two cores these were seen to take as long again.
SLOWEST_LOADING = 2.0


def estimate_network(job: EstimateJob, settings: Settings, variables: Mapping[str, str] | None = None) -> Estimate:
    """Ask nnU-Net's Python about the planned network; without measuring, the answer is remembered.

    `variables` say on which GPU it measures.

    Raises:
        Unavailable: it could not be built.
    """
    python = settings.nnunet_python
    if job.measure_s:
        return _ask(job, python, variables)
    return _remembered(job, python, Path(job.plans_file).stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _remembered(job: EstimateJob, python: str, changed_ns: int) -> Estimate:
    return _ask(job, python)


def _ask(job: EstimateJob, python: str, variables: Mapping[str, str] | None = None) -> Estimate:
    limit = MEASURE_ON_GPU_S if job.measure_s and job.device == "cuda" else ESTIMATE_S
    try:
        return ask(python, ESTIMATOR, Estimate, job, timeout_s=limit, variables=variables)
    except TookTooLong:
        did, way_on = (
            ("Building and measuring", "Ask without measure.") if job.measure_s else ("Building", "Ask again.")
        )
        raise Unavailable(
            f"{did} the network took longer than {limit} s: it is large, or the machine is busy. {way_on}"
        ) from None
    except NotStarted as error:
        raise Unavailable(f"{python} could not be started to build the network: {error}.") from None
    except (Failed, Refused) as error:
        words = error.words[-400:] if isinstance(error, Failed) else str(error)
        raise Unavailable(f"nnU-Net could not build the network: {words or 'it says nothing'}") from None


@dataclass(frozen=True)
class Times:
    """Seconds of one stage, and where they come from."""

    expected: float
    low: float
    high: float
    basis: str


def expect_hours(record: RunRecord, network: Estimate | None, settings: Settings) -> tuple[Hours | None, list[str]]:
    """The hours of all stages that would run, and what of them is not known."""
    state = StateDir.of(settings)
    todo = [spec for spec in record.stages if not spec.reused and spec.traits.slot]
    known = {spec.name: _stage_times(state, record, spec, network) for spec in todo}
    missing = [name for name, times in known.items() if times is None]
    unknown = [f"Not included in the hours, because nothing was measured for: {', '.join(missing)}."] if missing else []
    found = [times for times in known.values() if times is not None]
    trained = [spec.name for spec in todo if spec.traits.trains and known[spec.name] is not None]
    if not trained:
        hint = f"{argument(measure=True)} measures them" if network else "the first run will show"
        return None, [f"Hours are not known: nothing like it was trained here yet; {hint}."] if todo else []
    expected, low, high = (_hours(todo, known, record, settings, name) for name in ("expected", "low", "high"))
    basis = "; ".join(dict.fromkeys(times.basis for times in found))
    return Hours(expected=expected, low=low, high=high, basis=basis), unknown


def _hours(
    todo: list[StageSpec], known: dict[str, Times | None], record: RunRecord, settings: Settings, name: str
) -> float:
    """Hours until the last stage ends: the folds of a run train side by side, everything else is one after another."""
    seconds = [
        (spec.traits.of_fold, float(getattr(times, name))) for spec in todo if (times := known[spec.name]) is not None
    ]
    folds = [value for of_fold, value in seconds if of_fold]
    alone = sum(value for of_fold, value in seconds if not of_fold)
    return round((alone + scheduled([], folds, engine_of(record).lanes(record, len(folds), settings))) / HOUR, 3)


def _stage_times(state: StateDir, record: RunRecord, spec: StageSpec, network: Estimate | None) -> Times | None:
    if spec.traits.preprocesses:
        seconds = earlier_preprocessing(state, record, spec.configuration)
        return Times(seconds, seconds, seconds, "preprocessing as it took before") if seconds else None
    earlier = earlier_training(state, record, spec)
    if earlier is not None:
        around = earlier.around_s or 0.0
        if spec.traits.only_validates:
            return Times(around, around, around, f"validation as in {earlier.run_id}") if around else None
        times = [earlier.epochs * value + around for value in (earlier.epoch_s, earlier.low_s, earlier.high_s)]
        return Times(
            times[0], times[1], times[2], f"{earlier.epochs} epochs of {earlier.epoch_s:.1f} s as in {earlier.run_id}"
        )
    same = spec.configuration == record.job.configuration
    return _measured(network) if network and network.train_s and same and spec.traits.trains else None


def _measured(network: Estimate) -> Times:
    def run(train: float, validation: float) -> float:
        return network.epochs * (network.iterations * train + network.validation_iterations * validation)

    expected = run(statistics.median(network.train_s), statistics.median(network.validation_s))
    basis = (
        f"{network.epochs} epochs of {expected / network.epochs:.1f} s, measured on a made-up batch: loading and "
        "augmenting (up to as long again on few cores) and the final validation come on top"
    )
    return Times(expected, run(min(network.train_s), min(network.validation_s)), SLOWEST_LOADING * expected, basis)
