"""Is a run well? Judged from its own numbers, and never against its status."""

import statistics
import time
from collections.abc import Callable, Sequence

from ...calls import call
from ...nnunet.datasets import DatasetFiles
from ...runs.machine.capacity import waits_for_memory
from ...runs.pace import RECENT, pace, warm
from ...runs.result import compose_result
from ...runs.status import STARTING
from ...schemas.progress import Health, HealthVerdict
from ...schemas.records import COMPILING, TICKING, Epoch, Progress
from ...schemas.results import Result
from ...texts import some
from .learning import Course, class_missing, collapsed, diverging, known, not_a_number, not_yet
from .snapshot import RunSnapshot

FREE_MEMORY = "End other processes, or let later runs have fewer (nnUNet_def_n_proc, nnUNet_n_proc_DA)."
# What further epochs do not mend.
NOTHING_TO_SAVE: frozenset[HealthVerdict] = frozenset({"nan", "diverging"})
HOPELESS: frozenset[HealthVerdict] = NOTHING_TO_SAVE | {"collapsed", "class_missing"}
# Epochs looked back on; nnU-Net's pseudo Dice of one epoch is noisy.
WINDOW = 20
PLATEAU_WINDOW = 100
# What `judge` looks at; more makes no difference.
PLATEAU_GAIN = 0.001
SLOW_FACTOR = 2.0
OVERFITTING_GAP = 0.1
STARVED_SHARE = 0.4
# No movement for this many epoch times, and at least this long, is a stall.
STALL_EPOCHS = 5.0
STALL_AT_LEAST_S = 120.0
# From this on systemd-oomd kills by default (DefaultMemoryPressureLimit in oomd.conf(5)).
MOST_PRESSURE = 0.6


def health(view: RunSnapshot) -> Health:
    """Of a live training by its numbers, of a finished one by its result; of everything else where it stands."""
    return _beside_memory(_at_work(view), view) if view.judged.status == "running" else _at_rest(view)


def _beside_memory(found: Health, view: RunSnapshot) -> Health:
    """The same, if it may be slow or silent because the machine has no memory left: then this comes first."""
    if found.verdict not in ("ok", "starting", "slow", "starved", "stalled") or not view.is_here:
        return found
    if (share := waits_for_memory()) < MOST_PRESSURE:
        return found
    why = f"Too little memory: in the last minute this machine's processes only waited for it {share:.0%} of the time."
    verdict: HealthVerdict = "slow" if found.verdict in ("ok", "starting") else found.verdict
    return Health(verdict=verdict, detail=f"{why} {FREE_MEMORY} {found.detail}")


def _at_work(view: RunSnapshot) -> Health:
    progress, on_gpu = view.moment.progress, view.record.device == "cuda"
    # What the engine cannot be asked about now.
    reason = "" if view.judged.reason == STARTING else view.judged.reason
    if view.trains:
        found = judge(view.moment.epochs, progress, on_gpu=on_gpu, names=lambda: _names(view))
        return found.model_copy(update={"detail": reason or found.detail})
    if (silent := stalled((), progress, time.time(), on_gpu=on_gpu)) is not None:
        return silent
    works = f"{view.present.name} is working." if view.present else "The run is working."
    return Health(verdict="ok", detail=reason or works)


def _at_rest(view: RunSnapshot) -> Health:
    status = view.judged.status
    if status == "queued":
        return Health(verdict="waiting", detail=view.judged.reason)
    if status == "success":
        return _finished(compose_result(view.run, view.record, view.judged))
    moment = view.moment
    why = "see failure" if view.judged.failure else view.judged.reason
    if not view.trains or not moment.epochs:
        return Health(verdict="ended", detail=why)
    found = judge(moment.epochs, None, planned=moment.progress, names=lambda: _names(view))
    if found.verdict in HOPELESS and not view.judged.failure:
        return found
    of = f" of {moment.progress.epochs}" if moment.progress and moment.progress.epochs else ""
    return Health(verdict="ended", detail=f"After epoch {moment.epochs_done}{of}: {why}")


def _finished(result: Result) -> Health:
    if result.is_doubtful:
        missed = [line.label for line in result.per_class if line.dice == 0]
        named = f"Dice 0 in {some(missed)}. " if len(missed) > 1 else ""
        return Health(verdict="poor", detail=named + result.notes[0])
    if result.metrics.dice is None:
        return Health(verdict="ok", detail="Finished.")
    over = f" over {result.cases} cases" if result.cases else ""
    return Health(verdict="ok", detail=f"Dice {result.metrics.dice:.4f}{over}.")


def _names(view: RunSnapshot) -> Sequence[str]:
    """The classes in nnU-Net's order."""
    return DatasetFiles(view.record.folders, view.record.dataset_name).classes()


def advice(found: Health, run_id: str, *, live: bool) -> str | None:
    """The next step that follows from a run's health; None where nothing is wrong with it."""
    at_once = {"force": True} if found.verdict in NOTHING_TO_SAVE else {}
    stop = f"ask the person whether to stop it: {call('nnunet_cancel', run_id=run_id, **at_once)}"
    if found.verdict in HOPELESS and live:
        return f"More epochs will hardly mend it. Say why, and {stop}."
    if found.verdict == "stalled":
        return f"Nothing moves: {call('nnunet_logs', run_id=run_id)} shows its last lines; then {stop}."
    if found.verdict == "poor":
        return f"Done, but of little use: {call('nnunet_results', run_id=run_id)} says why."
    return None


def judge(
    epochs: Sequence[Epoch],
    progress: Progress | None,
    *,
    now: float | None = None,
    on_gpu: bool = False,
    planned: Progress | None = None,
    names: Callable[[], Sequence[str]] = tuple,
) -> Health:
    """A verdict on a training and the evidence for it in one sentence.

    `progress` of a live process may show a stall; of one that has ended, `planned` says how many epochs it was to have.
    """
    if (found := stalled(epochs, progress, time.time() if now is None else now, on_gpu=on_gpu)) is not None:
        return found
    if not epochs:
        compiling = progress is not None and progress.phase == COMPILING
        detail = "The network is being compiled, once." if compiling else "No epoch has ended yet."
        return Health(verdict="starting", detail=detail)
    course = Course.of(epochs, progress or planned, names)
    for learns in (not_a_number, diverging, collapsed, class_missing):
        if (found := learns(course)) is not None:
            return found
    for check in (_overfitting, _slow, *([_starved] if on_gpu else []), _plateau):
        if (found := check(epochs)) is not None:
            return found
    return Health(verdict="ok", detail=f"{_trend(epochs)}{not_yet(course)}")


def stalled(epochs: Sequence[Epoch], progress: Progress | None, now: float, *, on_gpu: bool) -> Health | None:
    """Silence means something only where every step is told, and on a CPU only beside epochs: a step may take long."""
    usual = pace(epochs, recent=WINDOW)
    if progress is None or progress.phase not in TICKING or (usual is None and not on_gpu):
        return None
    silence = now - progress.heartbeat
    if silence <= max(STALL_AT_LEAST_S, STALL_EPOCHS * (usual or 0.0)):
        return None
    return Health(verdict="stalled", detail=f"No sign of life for {silence:.0f} s.")


def _trend(epochs: Sequence[Epoch]) -> str:
    first, last = epochs[max(0, len(epochs) - WINDOW)], epochs[-1]
    if first.train_loss is None or last.train_loss is None or first is last:
        return "Too few epochs for a trend."
    return (
        f"train_loss {first.train_loss:.3f} -> {last.train_loss:.3f} from epoch {first.epoch + 1} to {last.epoch + 1}."
    )


def _overfitting(epochs: Sequence[Epoch]) -> Health | None:
    train, val = known(epochs, "train_loss"), known(epochs, "val_loss")
    if min(len(train), len(val)) < 2 * WINDOW:
        return None
    old, new = statistics.fmean(val[-2 * WINDOW : -WINDOW]), statistics.fmean(val[-WINDOW:])
    falling = statistics.fmean(train[-WINDOW:]) < statistics.fmean(train[-2 * WINDOW : -WINDOW])
    if not (falling and new > old + 0.01 and new - statistics.fmean(train[-WINDOW:]) > OVERFITTING_GAP):
        return None
    return Health(verdict="overfitting", detail=f"val_loss rose {old:.3f} -> {new:.3f} while train_loss fell.")


def _slow(epochs: Sequence[Epoch]) -> Health | None:
    times = [epoch.seconds for epoch in warm(epochs) if epoch.seconds is not None]
    if len(times) < WINDOW:
        return None
    usual, recent = statistics.median(times), statistics.fmean(times[-3:])
    if recent <= SLOW_FACTOR * usual:
        return None
    return Health(verdict="slow", detail=f"Epochs take {recent:.1f} s now; {usual:.1f} s was usual.")


def _starved(epochs: Sequence[Epoch]) -> Health | None:
    shares = [share for epoch in (warm(epochs) or epochs)[-RECENT:] if (share := wait_share(epoch)) is not None]
    if not shares or (share := statistics.median(shares)) <= STARVED_SHARE:
        return None
    remedy = "set nnUNet_n_proc_DA higher, give it more cores, or keep nnUNet_preprocessed on a local disk"
    return Health(verdict="starved", detail=f"The GPU waits for data {share:.0%} of each epoch: {remedy}.")


def wait_share(epoch: Epoch) -> float | None:
    """The share of an epoch in which its steps waited for data."""
    if epoch.wait_s is None or not epoch.seconds:
        return None
    return min(1.0, epoch.wait_s / epoch.seconds)


def _plateau(epochs: Sequence[Epoch]) -> Health | None:
    scores = known(epochs, "ema_pseudo_dice")
    if len(scores) <= PLATEAU_WINDOW:
        return None
    gain = max(scores[-PLATEAU_WINDOW:]) - max(scores[:-PLATEAU_WINDOW])
    if gain >= PLATEAU_GAIN:
        return None
    return Health(
        verdict="plateau",
        detail=f"The moving pseudo Dice gained {gain:.4f} in the last {PLATEAU_WINDOW} epochs.",
    )
