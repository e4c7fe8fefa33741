"""What a training costs: nnU-Net's own estimate for the network, and hours from this machine's own measurements."""

import statistics
import subprocess
from dataclasses import dataclass
from functools import lru_cache

from ..runs.datasets import DatasetFiles
from ..runs.errors import Unavailable
from ..runs.layout import StateDir
from ..runs.settings import Settings
from ..runs.slots import slot_names
from ..runs.speed import earlier_preprocessing, earlier_training
from ..schemas.answers import Hours
from ..schemas.estimates import Estimate, EstimateJob
from ..schemas.runs import RunRecord, StageSpec

ESTIMATOR = "nnunet_mcp.worker.estimate"
ESTIMATE_S = 100
HOUR = 3600.0
# A made-up batch needs no loading and augmenting; on two cores these were seen to take as long again.
SLOWEST_LOADING = 2.0


def estimate_network(
    files: DatasetFiles,
    plans_identifier: str,
    configuration: str,
    trainer: str,
    device: str,
    measure_s: float | None,
    settings: Settings,
    *,
    bf16: bool = False,
) -> Estimate:
    """Ask nnU-Net's Python about the planned network; without measuring, the answer is remembered.

    Raises:
        Unavailable: it could not be built.
    """
    plans = files.plans_file(plans_identifier)
    job = EstimateJob(
        plans_file=str(plans),
        dataset_json=str(files.preprocessed / "dataset.json"),
        configuration=configuration,
        trainer=trainer,
        device=device if measure_s else "cpu",
        measure_s=measure_s,
        bf16=bf16,
    )
    python = settings.nnunet_python
    return _ask(job, python) if measure_s else _remembered(job, python, plans.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _remembered(job: EstimateJob, python: str, changed_ns: int) -> Estimate:
    return _ask(job, python)


def _ask(job: EstimateJob, python: str) -> Estimate:
    command, text = [python, "-m", ESTIMATOR], job.model_dump_json()
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=ESTIMATE_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"Building and measuring the network took longer than {ESTIMATE_S} s: it is large, or the machine is busy. "
            "Ask without measure."
        ) from None
    if done.returncode != 0:
        raise Unavailable(f"nnU-Net could not build the network: {done.stderr.strip()[-400:]}")
    return Estimate.model_validate_json(done.stdout.strip().splitlines()[-1])


@dataclass(frozen=True)
class Times:
    """Seconds of one stage, and where they come from."""

    expected: float
    low: float
    high: float
    basis: str


def expect_hours(record: RunRecord, network: Estimate | None, settings: Settings) -> tuple[Hours | None, list[str]]:
    """The hours of all stages that would run, and what of them is not known."""
    state = StateDir(settings.state_dir)
    todo = [spec for spec in record.stages if not spec.reused and spec.kind != "cross_validation"]
    known = {spec.name: _stage_times(state, record, spec, network) for spec in todo}
    missing = [name for name, times in known.items() if times is None]
    unknown = [f"Not in the hours, for want of a measurement: {', '.join(missing)}."] if missing else []
    found = [times for times in known.values() if times is not None]
    trained = [spec.name for spec in todo if spec.kind == "train" and known[spec.name] is not None]
    if not trained:
        hint = "measure=true measures them" if network else "the first run tells"
        return None, [f"Hours are not known: nothing like it was trained here yet; {hint}."] if todo else []
    lanes = _lanes(record, settings, len(trained))
    sums = (sum(getattr(times, name) for times in found) / HOUR / lanes for name in ("expected", "low", "high"))
    expected, low, high = (round(value, 3) for value in sums)
    basis = "; ".join(dict.fromkeys(times.basis for times in found))
    return Hours(expected=expected, low=low, high=high, basis=basis), unknown


def _lanes(record: RunRecord, settings: Settings, trainings: int) -> int:
    """How many folds train side by side."""
    if record.engine == "slurm":
        return max(1, min(trainings, int(record.slurm.get("parallel", trainings))))
    if record.device != "cuda":
        return 1
    return max(1, min(trainings, len(slot_names("gpu", settings.gpus)) // record.num_gpus))


def _stage_times(state: StateDir, record: RunRecord, spec: StageSpec, network: Estimate | None) -> Times | None:
    if spec.kind == "preprocess":
        seconds = earlier_preprocessing(state, record, spec.configuration)
        return Times(seconds, seconds, seconds, "preprocessing as it took before") if seconds else None
    earlier = earlier_training(state, record, spec)
    if earlier is not None:
        around = earlier.around_s or 0.0
        if spec.kind == "validate":
            return Times(around, around, around, f"validation as in {earlier.run_id}") if around else None
        times = [earlier.epochs * value + around for value in (earlier.epoch_s, earlier.low_s, earlier.high_s)]
        return Times(
            times[0], times[1], times[2], f"{earlier.epochs} epochs of {earlier.epoch_s:.1f} s as in {earlier.run_id}"
        )
    same = spec.configuration == record.request.get("configuration")
    return _measured(network) if network and network.train_s and same and spec.kind == "train" else None


def _measured(network: Estimate) -> Times:
    def run(train: float, validation: float) -> float:
        return network.epochs * (network.iterations * train + network.validation_iterations * validation)

    expected = run(statistics.median(network.train_s), statistics.median(network.validation_s))
    basis = (
        f"{network.epochs} epochs of {expected / network.epochs:.1f} s, measured on a made-up batch: loading and "
        "augmenting (up to as long again on few cores) and the final validation come on top"
    )
    return Times(expected, run(min(network.train_s), min(network.validation_s)), SLOWEST_LOADING * expected, basis)
