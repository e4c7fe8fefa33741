"""What a training costs: nnU-Net's own estimate for the network, and hours from this machine's own measurements."""

import hashlib
import os
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from ...ask import Failed, NotStarted, TookTooLong
from ...calls import argument
from ...errors import Refused, RunError, Unavailable
from ...liveness import host_name
from ...nnunet.installed import installed
from ...nnunet.trainers import own_trainer_folders, own_trainers
from ...runs.engines import engine_of
from ...runs.failures.diagnosis import raised
from ...runs.layout import StateDir
from ...runs.pace import scheduled
from ...runs.speed import Work, earlier_preprocessing, earlier_training, scaled_training, usual_work
from ...runs.stage_process import Grant
from ...schemas.preflight import Estimate, EstimateJob, Hours
from ...schemas.records import RunRecord, StageSpec
from ...settings import Settings
from .kept_asks import forget_answer, is_at_work, kept_answer, kept_ask

ESTIMATOR = "nnunet_mcp.worker.asks.estimate"
# Hosts give up a call after 60 s; what takes longer goes on by itself.
WAIT_S = 35.0
# For a trainer alone: an idle machine loads PyTorch and nnU-Net in less.
CHECK_S = 15.0
# Errors that say the code is wrong, whatever the plans are.
NEEDS_NO_PLANS = re.compile(r"built\. (?:\w+\.)*(?:Syntax|Indentation|Tab|Name|Import|ModuleNotFound|Type)Error\b")
# Errors that say nothing of the code.
OF_THE_MACHINE = re.compile(r"MemoryError|[Oo]ut of memory|allocate memory|CUDA|No space left")
# A measured time is of the machine as it was then.
MEASURED_COUNTS_S = 3600.0
HOUR = 3600.0
# A made-up batch needs no loading and augmenting; on two cores these were seen to take as long again.
SLOWEST_LOADING = 2.0
# Other trainers and networks differ from nnU-Net's usual one by about this factor per voxel.
SCALED = 2.0
# Before it begins to measure, an idle machine has a load near 0: so much is another program at work.
BUSY = 1.0


class StillMeasuring(Unavailable):
    """It goes on by itself; the same call has the answer later."""


def estimate_network(
    job: EstimateJob, settings: Settings, held: Grant | None = None, *, wait_s: float | None = None
) -> Estimate:
    """Ask nnU-Net's Python about the planned network; the answer is kept, and a process that takes long goes on.

    `held` says on which GPU it measures.

    Raises:
        StillMeasuring: not yet.
        Unavailable: it is not known.
        Refused: the trainer cannot be built.
    """
    python = settings.nnunet_python
    try:
        patience = WAIT_S if wait_s is None else wait_s
        return _ask(job, python, _digest(job, python), held or Grant([], []), StateDir.of(settings), patience)
    except TookTooLong:
        did = "measuring" if job.measure_s else "building"
        raise (StillMeasuring if job.measure_s else Unavailable)(
            f"nnU-Net's Python is still {did} the network after {WAIT_S:.0f} s: it is large, or the machine is busy. "
            "It goes on; the same call has the answer in a minute or two."
        ) from None
    except NotStarted as error:
        raise Unavailable(f"{python} could not be started to build the network: {error}.") from None
    except OSError as error:
        raise Unavailable(
            f"The state folder keeps no answer of nnU-Net's Python ({error.strerror or error}): {settings.state_dir} "
            "needs free space, and this server needs to write to it."
        ) from None
    except Failed as error:
        raise _failure(job, error) from None


def _failure(job: EstimateJob, error: Failed) -> RunError:
    """The trainer is refused where its code is wrong: the person's own, or code that cannot even be loaded."""
    said = raised(error.words) or ""
    refusal = Refused(f"The trainer {job.trainer} cannot be built. {said}")
    own = job.trainer in own_trainers() and not OF_THE_MACHINE.search(said.partition(" | ")[0])
    if said and (own or NEEDS_NO_PLANS.search(refusal.text)):
        return refusal
    return Unavailable(f"nnU-Net could not build the network: {said or error.last_line or 'it says nothing'}")


def check_own_trainer(job: EstimateJob, settings: Settings) -> Estimate | None:
    """Before there are plans: make a trainer of the person's own. What it needs of real plans shows later.

    Raises:
        Refused: its code cannot be loaded or called.
    """
    if job.trainer not in own_trainers():
        return None
    try:
        return estimate_network(job, settings, wait_s=CHECK_S)
    except Unavailable:
        return None
    except Refused as error:
        if NEEDS_NO_PLANS.search(error.text):
            raise
        return None


def _ask(job: EstimateJob, python: str, digest: str, held: Grant, state: StateDir, wait_s: float) -> Estimate:
    found = kept_ask(
        state,
        digest,
        (python, ESTIMATOR),
        job,
        Estimate,
        wait_s=wait_s,
        newer_than=_oldest(job),
        variables=held.variables(),
        holding=held.file_descriptors(),
    )
    _tell_once(found, state, digest)
    return found


def kept_estimate(job: EstimateJob, settings: Settings) -> Estimate | None:
    """The answer if it was found out before and still counts; nothing is started."""
    state, digest = StateDir.of(settings), _digest(job, settings.nnunet_python)
    found = kept_answer(state, digest, Estimate, newer_than=_oldest(job))
    _tell_once(found, state, digest)
    return found


def _tell_once(found: Estimate | None, state: StateDir, digest: str) -> None:
    """What a GPU had no memory for is measured again: it may be free by then."""
    if found is not None and found.out_of_memory:
        forget_answer(state, digest)


def is_asked_now(job: EstimateJob, settings: Settings) -> bool:
    """Whether an earlier call's process looks for the answer."""
    return is_at_work(StateDir.of(settings), _digest(job, settings.nnunet_python))


def _oldest(job: EstimateJob) -> float:
    return time.time() - MEASURED_COUNTS_S if job.measure_s else 0.0


def _digest(job: EstimateJob, python: str) -> str:
    """Of all that the answer depends on: the question, the plans, nnU-Net, and the person's own trainers."""
    own = [path for folder in own_trainer_folders() for path in sorted(folder.rglob("*.py"))]
    ahead = [Path(job.plan_ahead.fingerprint)] if job.plan_ahead else []
    files = [Path(job.plans_file), Path(job.dataset_json), *ahead, *own]
    times = [path.stat().st_mtime_ns for path in files if path.is_file()]
    where = host_name() if job.measure_s else ""
    text = f"{job.model_dump_json()} {python} {times} {installed(python).versions} {where}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


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
    longest = [spec for spec in todo if not spec.traits.preprocesses] or todo
    if all(known[spec.name] is None for spec in longest):
        hint = f"{argument(measure=True)} measures them" if network else "the first run will show"
        return None, [f"Hours are not known: nothing like it was trained here yet; {hint}."] if todo else []
    expected, low, high = (_hours(todo, known, record, settings, name) for name in ("expected", "low", "high"))
    each = f"{len(trained)} trainings, each " if len(trained) > 1 else ""
    basis = each + "; ".join(dict.fromkeys(times.basis for times in found))
    return Hours(expected=expected, low=low, high=high, basis=basis), unknown


def in_other_precision(record: RunRecord, network: Estimate | None, settings: Settings) -> Hours | None:
    """The hours with bf16 the other way round, where something was measured for it."""
    assert record.training is not None
    request = record.training.request.model_copy(update={"bf16": not record.bf16})
    other = record.model_copy(update={"job": record.training.model_copy(update={"request": request})})
    measured = network and network.model_copy(
        update={"train_s": network.other_train_s, "validation_s": network.other_validation_s}
    )
    hours = expect_hours(other, measured, settings)[0]
    precision = "float32" if record.bf16 else "bf16"
    return hours and hours.model_copy(update={"basis": f"{precision}: {hours.basis}"})


def _hours(
    todo: list[StageSpec], known: dict[str, Times | None], record: RunRecord, settings: Settings, name: str
) -> float:
    """Hours until the last stage ends: the folds of a run train side by side, everything else is one after another."""
    seconds = [
        (spec.traits.of_fold, float(getattr(times, name))) for spec in todo if (times := known[spec.name]) is not None
    ]
    folds = [value for of_fold, value in seconds if of_fold]
    alone = sum(value for of_fold, value in seconds if not of_fold)
    whole = alone + scheduled([], folds, engine_of(record).lanes(record, len(folds), settings))
    return float(f"{whole / HOUR:.2g}")


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
    if spec.configuration != record.job.configuration or not spec.traits.trains:
        return None
    if network is not None and network.train_s:
        return _measured(network)
    work = _work_of(network) if network else usual_work(record, spec)
    return _scaled(state, record, work) if work else None


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def _measured(network: Estimate) -> Times:
    def run(train: float, validation: float) -> float:
        return network.epochs * (network.iterations * train + network.validation_iterations * validation)

    expected = run(statistics.median(network.train_s), statistics.median(network.validation_s))
    busy = f" while the machine was busy (load {network.load:.0f})" if network.load and network.load >= BUSY else ""
    basis = (
        f"{network.epochs} epochs of {_seconds(expected / network.epochs)}, measured on a made-up batch{busy}: loading "
        "and augmenting (up to as long again on few cores) and the final validation come on top"
    )
    # Of C cores that `load` others want too, a process that wants all of them gets C / (C + load).
    share = 1 + (network.load or 0.0) / (os.cpu_count() or 1) if busy else 1.0
    fastest = run(min(network.train_s), min(network.validation_s)) / share
    return Times(expected, fastest, SLOWEST_LOADING * expected, basis)


def _work_of(network: Estimate) -> Work:
    return Work(
        network.epochs,
        network.iterations,
        network.validation_iterations,
        tuple(network.patch_size),
        network.batch_size,
    )


def _scaled(state: StateDir, record: RunRecord, work: Work) -> Times | None:
    found = scaled_training(state, record, work)
    if found is None:
        return None
    around = found.around_s or 0.0
    expected = found.epochs * found.epoch_s
    basis = (
        f"{found.epochs} epochs of {_seconds(found.epoch_s)}, scaled from {found.run_id} by iterations and patch volume"
        f"{'' if found.around_s is not None else ', without the final validation'}"
    )
    return Times(expected + around, expected / SCALED + around, expected * SCALED + around, basis)
