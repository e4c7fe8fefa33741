"""Each verdict on a training from made-up epochs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunet_mcp.schemas.progress import Health, HealthVerdict
from nnunet_mcp.schemas.records import Epoch, Progress
from nnunet_mcp.tools.watching.health import advice, judge

NOW = 1_000_000.0
Curve = Callable[[int], float | None]


def history(
    count: int,
    *,
    train: Curve = lambda n: -0.5 - 0.3 * n / (n + 50),
    val: Curve = lambda n: -0.45 - 0.3 * n / (n + 50),
    ema: Curve = lambda n: 0.9 * n / (n + 50),
    seconds: Curve = lambda n: 60.0,
) -> list[Epoch]:
    """A training that gets better and better, where nothing else is said."""
    return [
        Epoch(
            epoch=n,
            train_loss=train(n),
            val_loss=val(n),
            learning_rate=0.01,
            pseudo_dice=0.7,
            ema_pseudo_dice=ema(n),
            seconds=seconds(n),
        )
        for n in range(count)
    ]


def gone(epoch: int) -> float | None:
    """A loss that is not a number from the tenth epoch on."""
    return None if epoch >= 9 else -0.5


def resumed(at: int, *, first: float, then: float | None = None) -> list[Epoch]:
    """Epochs of a minute from a checkpoint, one that compiled, and a few more that took so long."""
    before = [epoch.model_copy(update={"restored": True}) for epoch in history(at)]
    after = history(at + (1 if then is None else 4), seconds=lambda n: first if n == at else then)[at:]
    return [*before, *after]


def silent(seconds: float) -> Progress:
    return Progress(phase="training", heartbeat=NOW - seconds)


@pytest.mark.parametrize(
    ("verdict", "epochs", "silence"),
    [
        pytest.param("starting", [], 1, id="no epoch yet"),
        pytest.param("ok", history(1), 1, id="the first epoch"),
        pytest.param("ok", history(300), 1, id="steadily better"),
        pytest.param("starting", [], 121, id="on a CPU, silent for two minutes before the first epoch"),
        pytest.param("ok", history(30), 290, id="silent for less than five epochs"),
        pytest.param("stalled", history(30), 310, id="silent for more than five epochs"),
        pytest.param("stalled", history(30, seconds=lambda n: 1.0), 121, id="short epochs, silent for two minutes"),
        pytest.param("ok", history(30, seconds=lambda n: 1.0), 100, id="short epochs, silent for less"),
        pytest.param("nan", history(10, train=gone, val=gone), 1, id="the last losses are not a number"),
        pytest.param("ok", history(10, train=gone), 1, id="a step overflowed in mixed precision"),
        pytest.param("nan", history(12, train=gone), 1, id="steps overflow in three epochs in a row"),
        pytest.param(
            "ok", history(10, train=lambda n: None if n == 5 else -0.5), 1, id="an earlier loss was not a number"
        ),
        pytest.param("diverging", history(50, train=lambda n: -0.8 if n < 40 else 0.5), 1, id="the loss jumped up"),
        pytest.param("ok", history(50, train=lambda n: -0.7 + 0.1 * (n % 2)), 1, id="the loss wobbles"),
        pytest.param("diverging", history(15, train=lambda n: 0.1 * n), 1, id="the loss rises from the start"),
        pytest.param("ok", history(5, train=lambda n: 0.4 * n), 1, id="too early to say that it rises"),
        pytest.param("ok", history(1, train=lambda n: 40.0), 1, id="a loss of one's own may begin high"),
        pytest.param("diverging", history(3, train=lambda n: 4.0 * 3**n), 1, id="and does not rise"),
        pytest.param("diverging", history(1, train=lambda n: 4e16), 1, id="a loss that no network has"),
        pytest.param(
            "overfitting",
            history(60, train=lambda n: -0.5 - 0.008 * n, val=lambda n: -0.6 + 0.01 * n),
            1,
            id="the validation loss rises while the training loss falls",
        ),
        pytest.param(
            "slow", history(40, seconds=lambda n: 60.0 if n < 36 else 200.0), 1, id="the last epochs take three times"
        ),
        pytest.param("ok", history(40, seconds=lambda n: 300.0 if n == 0 else 60.0), 1, id="only the first was slow"),
        pytest.param("ok", resumed(60, first=600.0), 1, id="the first epoch after a resume compiles"),
        pytest.param("ok", [*resumed(60, first=600.0), *history(62)[61:]], 1, id="the second one after a resume"),
        pytest.param("slow", resumed(60, first=600.0, then=150.0), 1, id="slower since the resume"),
        pytest.param(
            "plateau", history(250, ema=lambda n: min(0.85, 0.01 * n)), 1, id="no gain for more than a hundred epochs"
        ),
        pytest.param("ok", history(100, ema=lambda n: 0.5), 1, id="too early to call it a plateau"),
        pytest.param("ok", history(250, ema=lambda n: None), 1, id="no pseudo Dice at all"),
        pytest.param("ok", history(250, val=lambda n: None, seconds=lambda n: None), 1, id="little is known"),
    ],
)
def test_the_numbers_decide_the_verdict(verdict: HealthVerdict, epochs: list[Epoch], silence: float) -> None:
    found = judge(epochs, silent(silence), now=NOW)

    assert found.verdict == verdict, found.detail
    assert found.detail


RECORDED = json.loads((Path(__file__).parent / "recorded_epochs.json").read_text(encoding="utf-8"))
FIELDS = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice", "pseudo_dice_per_class")
RATE = "The learning rate is"


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        ("Hippocampus, good", {}, ""),
        ("nuclei, good", {}, ""),
        ("learning rate 1e6", {1: "diverging", 2: "nan"}, f"{RATE} 1e+06; nnU-Net's is 0.01"),
        ("learning rate 10", {5: "diverging"}, f"{RATE} 8.79; nnU-Net's is 0.01"),
        ("foreground hardly counts in the loss", {21: "collapsed"}, "0 in every class for 20 epochs (epoch 21 of 40)"),
        ("Posterior hardly counts in the loss", {26: "class_missing"}, "Posterior: pseudo Dice 0 for 25 epochs"),
    ],
)
def test_a_recorded_training_is_called_bad_as_soon_as_it_is_and_a_good_one_never(
    name: str, bad: dict[int, HealthVerdict], said: str
) -> None:
    """Real trainings of short epochs. The good one on Hippocampus hit nothing from epoch 2 to 15."""
    run = RECORDED[name]
    lines = [dict(zip(FIELDS, line, strict=True)) for line in run["epochs"]]
    epochs = [Epoch.model_validate({"epoch": n, "seconds": 5.0, **line}) for n, line in enumerate(lines)]
    planned = Progress(phase="training", heartbeat=NOW, epochs=run["planned"], iterations=run["iterations"])

    looks = [
        judge(epochs[:count], planned, now=NOW, names=lambda: ("Anterior", "Posterior"))
        for count in range(1, len(epochs) + 1)
    ]

    changes = {n: look.verdict for n, look in enumerate(looks, 1) if n == 1 or look.verdict != looks[n - 2].verdict}
    assert changes == {1: "ok", **bad}
    assert said in looks[min(bad, default=1) - 1].detail


def test_what_was_learnt_and_is_lost_is_told_at_once() -> None:
    def lines(*scores: float) -> list[Epoch]:
        return [
            epoch.model_copy(update={"pseudo_dice_per_class": (score, 0.8), "pseudo_dice": (score + 0.8) / 2})
            for epoch, score in zip(history(len(scores)), scores, strict=True)
        ]

    def judged(epochs: list[Epoch]) -> Health:
        return judge(epochs, None, now=NOW, names=lambda: ("lesion", "organ"))

    assert judged(lines(*[0.5] * 9, *[0.0] * 10)).verdict == "class_missing"
    assert judged(lines(*[0.5] * 9, *[0.0] * 9)).verdict == "ok"
    assert "lesion: pseudo Dice 0 in the last 9 epochs" in judged(lines(*[0.0] * 9)).detail


def test_before_the_first_epoch_a_gpu_that_is_silent_for_two_minutes_is_stalled() -> None:
    assert judge([], silent(121), now=NOW, on_gpu=True).verdict == "stalled"
    assert judge([], silent(119), now=NOW, on_gpu=True).verdict == "starting"


def test_the_worst_news_comes_first() -> None:
    epochs = history(250, train=gone, val=gone, ema=lambda n: 0.5)

    assert judge(epochs, silent(1), now=NOW).verdict == "nan"
    assert judge(epochs, silent(9999), now=NOW).verdict == "stalled"


@pytest.mark.parametrize("phase", ["compiling", "validating: writing", "saving the model", "preprocessing", "waiting"])
def test_silence_means_nothing_where_not_every_step_is_told(phase: str) -> None:
    quiet = Progress(phase=phase, heartbeat=NOW - 1000)

    assert judge([], quiet, now=NOW).verdict == "starting"
    assert judge(history(30), quiet, now=NOW).verdict == "ok"


def test_a_network_that_is_compiled_is_said_to_be() -> None:
    assert "compiled" in judge([], Progress(phase="compiling", heartbeat=NOW), now=NOW).detail


def test_a_loss_that_mixed_precision_left_out_is_told_from_weights_that_are_gone() -> None:
    overflown = history(10, train=lambda n: None if n == 9 else -0.5)
    gone = history(10, train=lambda n: None if n == 9 else -0.5, val=lambda n: None if n == 9 else -0.5)

    assert "the weights are sound" in judge(overflown, None, now=NOW).detail
    assert "sound" not in judge(gone, None, now=NOW).detail


def test_a_gpu_that_waits_for_data_is_starved_and_a_cpu_is_not() -> None:
    waits = [epoch.model_copy(update={"wait_s": 30.0}) for epoch in history(30)]
    cold = [epoch.model_copy(update={"wait_s": 50.0 if epoch.epoch == 0 else 1.0}) for epoch in history(3)]

    found = judge(waits, silent(1), now=NOW, on_gpu=True)

    assert found.verdict == "starved" and "50% of each epoch" in found.detail and "nnUNet_n_proc_DA" in found.detail
    assert judge(waits, silent(1), now=NOW).verdict == "ok"
    assert judge(cold, silent(1), now=NOW, on_gpu=True).verdict == "ok", (
        "the first epoch of a process counts for nothing"
    )


def test_without_a_process_there_is_no_stall() -> None:
    assert judge(history(30), None, now=NOW).verdict == "ok"


def test_the_detail_has_the_numbers() -> None:
    detail = judge(history(250, ema=lambda n: min(0.85, 0.01 * n)), None, now=NOW).detail

    assert detail == "The moving pseudo Dice gained 0.0000 in the last 100 epochs."


@pytest.mark.parametrize(("verdict", "at_once"), [("diverging", True), ("nan", True), ("collapsed", False)])
def test_a_training_whose_weights_are_worth_nothing_is_stopped_at_once(verdict: HealthVerdict, at_once: bool) -> None:
    said = advice(Health(verdict=verdict, detail=""), "d001-2d-f0-tttt", live=True)

    assert said is not None and ("force" in said) is at_once and "ask the person" in said
