"""Is a training well? Judged from its own numbers only."""

import statistics
import time
from collections.abc import Sequence

from ...runs.pace import RECENT, pace, warm
from ...schemas.progress import Health
from ...schemas.records import COMPILING, TICKING, Epoch, Progress

# Epochs looked back on; nnU-Net's pseudo Dice of one epoch is noisy.
WINDOW = 20
PLATEAU_WINDOW = 100
# What `judge` looks at; more makes no difference.
PLATEAU_GAIN = 0.001
SLOW_FACTOR = 2.0
DIVERGING_RISE = 0.2
OVERFITTING_GAP = 0.1
STARVED_SHARE = 0.4
# No movement for this many epoch times, and at least this long, is a stall.
STALL_EPOCHS = 5.0
STALL_AT_LEAST_S = 120.0


def judge(
    epochs: Sequence[Epoch], progress: Progress | None, *, now: float | None = None, on_gpu: bool = False
) -> Health:
    """A verdict and the evidence for it in one sentence."""
    if (found := stalled(epochs, progress, time.time() if now is None else now, on_gpu=on_gpu)) is not None:
        return found
    if not epochs:
        compiling = progress is not None and progress.phase == COMPILING
        detail = "The network is being compiled, once." if compiling else "No epoch has ended yet."
        return Health(verdict="starting", detail=detail)
    for check in (_nan, _diverging, _overfitting, _slow, *([_starved] if on_gpu else []), _plateau):
        if (found := check(epochs)) is not None:
            return found
    return Health(verdict="ok", detail=_trend(epochs))


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
        f"train_loss {first.train_loss:.3f} -> {last.train_loss:.3f} over the last {last.epoch - first.epoch} epochs."
    )


def _nan(epochs: Sequence[Epoch]) -> Health | None:
    last = epochs[-1]
    if last.train_loss is not None:
        return None
    detail = f"train_loss is not a number in epoch {last.epoch + 1}"
    if last.val_loss is not None:  # nnU-Net's GradScaler has left such a step out
        detail += f"; val_loss is {last.val_loss:.3f}, so the weights are sound: mixed precision overflowed in a step"
    return Health(verdict="nan", detail=f"{detail}.")


def _losses(epochs: Sequence[Epoch], name: str) -> list[float]:
    return [value for epoch in epochs if (value := getattr(epoch, name)) is not None]


def _diverging(epochs: Sequence[Epoch]) -> Health | None:
    losses = _losses(epochs, "train_loss")
    if len(losses) < WINDOW:
        return None
    recent, best = statistics.fmean(losses[-5:]), min(losses)
    if recent - best <= DIVERGING_RISE:
        return None
    return Health(verdict="diverging", detail=f"train_loss is {recent:.3f} on average, up from {best:.3f}.")


def _overfitting(epochs: Sequence[Epoch]) -> Health | None:
    train, val = _losses(epochs, "train_loss"), _losses(epochs, "val_loss")
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
    scores = _losses(epochs, "ema_pseudo_dice")
    if len(scores) <= PLATEAU_WINDOW:
        return None
    gain = max(scores[-PLATEAU_WINDOW:]) - max(scores[:-PLATEAU_WINDOW])
    if gain >= PLATEAU_GAIN:
        return None
    return Health(
        verdict="plateau",
        detail=f"The moving pseudo Dice gained {gain:.4f} in the last {PLATEAU_WINDOW} epochs.",
    )
