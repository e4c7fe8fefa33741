"""What is done around nnU-Net's steps and epochs, with a trainer of one layer and PyTorch's real compiler."""

import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from nnunet_mcp.nnunet.splits import TrainedCases
from nnunet_mcp.runs.failures.diagnosis import diagnose
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.training import compiling
from nnunet_mcp.worker.training.each_step import Steps
from nnunet_mcp.worker.training.hooks import TrainerHooks, install
from tests.kit.tiny import training_job

STEPS = 250


class Trainer:
    """As much of nnU-Net's trainer as an epoch needs (nnunetv2 2.8.1, nnUNetTrainer.py, `run_training`)."""

    local_rank, is_ddp, device = 0, False, torch.device("cpu")
    num_epochs, num_iterations_per_epoch, num_val_iterations_per_epoch = 1000, STEPS, 1

    def __init__(self) -> None:
        self.current_epoch = 0
        self.network: Any = torch.nn.Linear(2, 1)
        self.loss: Any = None
        self.losses: dict[str, float] = {}
        self.logger = SimpleNamespace(
            loggers=[], plot_progress_png=None, get_value=lambda name, step: self.losses[name]
        )
        self.load_checkpoint = self.save_checkpoint = self.on_train_end = self.perform_actual_validation = None

    def do_split(self) -> tuple[list[str], list[str]]:
        """As nnU-Net's, before the cases of a training are settled."""
        return ["a"], ["b"]

    def on_epoch_start(self) -> None:
        """Nothing of its own."""

    def train_step(self, batch: torch.Tensor) -> float:
        return float(self.network(batch).sum().detach())

    def validation_step(self, batch: torch.Tensor) -> float:
        return self.train_step(batch)

    def on_epoch_end(self) -> None:
        self.current_epoch += 1

    def print_to_log_file(self, text: str) -> None:
        print(f"2026-11-27 12:34:31.583809: {text}")


@pytest.fixture
def job(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(
        "nnunet_mcp.worker.training.hooks.settle_cases", lambda *_: TrainedCases(train=("a",), val=("b",))
    )
    monkeypatch.delenv(compiling.VARIABLE, raising=False)
    return training_job(settings)


def attached(trainer: Trainer, job: Job) -> TrainerHooks:
    hooks = TrainerHooks(trainer, job)
    hooks.attach()
    return hooks


def train(trainer: Trainer, epochs: int, *, train_loss: float, val_loss: float) -> None:
    for _ in range(epochs):
        trainer.on_epoch_start()
        trainer.losses = {"train_losses": train_loss, "val_losses": val_loss}
        trainer.on_epoch_end()


def test_one_step_in_each_epoch_that_mixed_precision_left_out_ends_no_training(job: Job) -> None:
    steps = numpy.full(STEPS, -0.6)
    steps[17] = numpy.nan
    trainer = Trainer()
    attached(trainer, job)

    train(trainer, 10, train_loss=float(numpy.mean(steps)), val_loss=-0.6)

    assert trainer.current_epoch == 10


def lose_a_weight(trainer: Trainer) -> None:
    trainer.network.weight.data[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("val_loss", "harm"), [(float("nan"), lambda trainer: None), (-0.6, lose_a_weight)], ids=["val_loss", "a weight"]
)
def test_a_training_whose_weights_are_gone_ends_after_three_epochs(
    job: Job, val_loss: float, harm: Callable[[Trainer], None]
) -> None:
    trainer = Trainer()
    attached(trainer, job)
    train(trainer, 5, train_loss=-0.5, val_loss=-0.5)
    harm(trainer)

    with pytest.raises(StageFailure, match="NaN since epoch 6"):
        train(trainer, 10, train_loss=float("nan"), val_loss=val_loss)

    assert trainer.current_epoch == 8


def test_waiting_for_data_is_what_passes_between_two_steps(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    trainer = Trainer()
    trainer.network = lambda batch: now.__setitem__(0, now[0] + 1.0) or batch
    hooks = attached(trainer, job)
    trainer.on_epoch_start()
    for _ in range(4):
        now[0] += 2.0  # the loader
        trainer.train_step(torch.ones(1, 2))

    assert hooks.steps.wait_s == 6.0, "how long the first batch took is not known"


@pytest.fixture
def no_compiler(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with config.patch({"cpp.cxx": (None, "/bin/false")}):
        yield


@pytest.mark.heavy
@pytest.mark.usefixtures("no_compiler")
def test_a_network_that_cannot_be_compiled_trains_without_and_says_so(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer()
    plain = trainer.network
    trainer.network = torch.compile(plain)
    hooks = attached(trainer, job)
    phases: list[str] = []
    hooks.report.say = lambda phase, **_: phases.append(phase)  # type: ignore[method-assign]

    trainer.on_epoch_start()
    losses = [trainer.train_step(torch.ones(1, 2)) for _ in range(2)]
    with torch.no_grad():
        losses.append(trainer.validation_step(torch.ones(1, 2)))

    assert losses == [pytest.approx(float(plain(torch.ones(1, 2)).sum().detach()))] * 3
    assert trainer.network is plain
    assert phases == ["compiling"]
    assert hooks.steps.compile_s > 0
    assert "without torch.compile" in job.stage.notes()[0] and "InductorError" in job.stage.notes()[0]
    job.stage.log_file.write_text(capfd.readouterr().out, encoding="utf-8")
    assert job.stage.log_file.read_text(encoding="utf-8").count("without torch.compile") == 1
    assert diagnose(job.stage.log_file, code=1).cause.startswith("unknown"), "a later death has another cause"


def with_nnunets_loss(trainer: Trainer) -> None:
    """As nnU-Net builds it (nnUNetTrainer.py, `_build_loss`), with the part that it compiles compiled."""
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    loss: Any = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    loss.dc = torch.compile(loss.dc)
    trainer.network = torch.compile(torch.nn.Conv2d(1, 2, 1))
    trainer.loss = DeepSupervisionWrapper(loss, [1.0])

    def step(batch: torch.Tensor) -> float:
        found = trainer.loss([trainer.network(batch)], [torch.ones_like(batch)])
        found.backward()
        return float(found.detach())

    trainer.train_step = step  # type: ignore[method-assign]


@pytest.mark.heavy
@pytest.mark.usefixtures("no_compiler")
def test_the_part_of_the_loss_that_nnunet_compiles_is_left_out_with_the_network(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer()
    with_nnunets_loss(trainer)
    attached(trainer, job)
    capfd.readouterr()

    trainer.on_epoch_start()
    losses = [trainer.train_step(torch.ones(1, 1, 8, 8)) for _ in range(2)]

    assert losses[0] == pytest.approx(losses[1])
    assert "InductorError" in job.stage.notes()[0]
    assert "InductorError" not in "".join(capfd.readouterr()), "the log would tell a later death as this"


@pytest.mark.heavy
@pytest.mark.usefixtures("no_compiler")
def test_on_several_gpus_the_training_ends_and_says_how_to_leave_compiling_out(job: Job) -> None:
    """nnU-Net gave the lowest output of its loss a weight with which DDP fails unless it compiles."""
    trainer = Trainer()
    trainer.network = SimpleNamespace(module=torch.compile(trainer.network))
    trainer.is_ddp = True
    attached(trainer, job)
    trainer.train_step = Steps(trainer, job, job.reporter).around("training")  # type: ignore[method-assign]

    with pytest.raises(StageFailure, match=r"several GPUs \(InductorError.*nnUNet_compile=f in the environment"):
        trainer.train_step(lambda: trainer.network.module(torch.ones(1, 2)))


def test_an_error_that_is_not_the_compilers_ends_the_training(job: Job) -> None:
    trainer = Trainer()
    trainer.network = torch.compile(trainer.network)

    def step(batch: torch.Tensor) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    trainer.train_step = step  # type: ignore[method-assign]
    attached(trainer, job)

    with pytest.raises(torch.OutOfMemoryError):
        trainer.train_step(torch.ones(1, 2))


@pytest.mark.parametrize(
    ("path", "capability", "said"),
    [
        ("", (9, 0), "there is no C compiler"),
        ("gcc", (6, 1), "the GPU is too old for it"),
        ("gcc", (9, 0), None),
    ],
)
def test_compiling_is_left_out_where_it_could_only_fail(
    job: Job, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, path: str, capability: tuple[int, int], said: str | None
) -> None:
    program = tmp_path / (path or "none")
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)

    note = compiling.look_ahead()

    assert (said in note) if said and note else note is said


def test_what_is_left_out_from_the_start_is_noted_and_logged(
    job: Job, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    trainer = Trainer()
    trainer.device = torch.device("cuda")
    nnunets = SimpleNamespace(get_trainer_from_args=lambda: trainer)
    nnunets = SimpleNamespace(get_trainer_from_args=lambda: trainer, maybe_load_checkpoint=None)
    monkeypatch.setitem(sys.modules, "nnunetv2.run.run_training", nnunets)
    install(job)

    nnunets.get_trainer_from_args()

    note = "It runs without torch.compile, so epochs take longer: there is no C compiler (gcc)."
    assert job.stage.notes() == [note]
    assert capfd.readouterr().out.count(note) == 1


def test_what_somebody_set_about_compiling_is_kept(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiling.VARIABLE, "t")
    monkeypatch.setenv("PATH", "")

    assert compiling.look_ahead() is None
