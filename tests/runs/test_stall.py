"""A stage is ended for doing nothing, not because the clock went on: with clocks and CPU times of our own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.runs.failures.diagnosis import diagnose
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.runs.stage_process import Child, Grant
from nnunet_mcp.schemas.records import Epoch, Progress, StageState
from tests.kit.tiny import stage

TIMEOUT_S = 900
NAMES = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")


@dataclass
class World:
    """What the supervisor can see of time and of the stage."""

    folder: StageDir
    wall: float = field(default_factory=time.time)
    monotonic: float = 1e4
    cpu: dict[int, float] = field(default_factory=lambda: {1: 0.0})

    def suspend(self, hours: float) -> None:
        """The stage and whoever looks after it stand still; both clocks go on."""
        self.wall, self.monotonic = self.wall + hours * 3600, self.monotonic + hours * 3600

    def sleep(self, hours: float) -> None:
        """The machine sleeps: only the wall clock goes on."""
        self.wall += hours * 3600

    def tell(self, phase: str, epoch_s: float | None = None) -> None:
        """The worker is in a phase, after a few epochs of that length where there were any."""
        write_model(self.folder.progress_file, Progress(phase=phase, heartbeat=self.wall))
        for epoch in range(4) if epoch_s else ():
            line = Epoch.model_validate({"epoch": epoch, **dict.fromkeys(NAMES, 0.1), "seconds": epoch_s})
            append_line(self.folder.epochs_file, line)

    def live(self, child: Child, minutes: int, *, computes: bool, prints: bool) -> None:
        for _ in range(minutes):
            self.wall, self.monotonic = self.wall + 60, self.monotonic + 60
            self.cpu = {1: self.cpu[1] + 60 * computes}
            if prints:
                os.utime(self.folder.log_file, (self.wall, self.wall))
            child.stop_if_stalled(TIMEOUT_S)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(StageDir(tmp_path))
    found.folder.log_file.touch()
    os.utime(found.folder.log_file, (found.wall, found.wall))
    monkeypatch.setattr("time.time", lambda: found.wall)
    monkeypatch.setattr("time.monotonic", lambda: found.monotonic)
    monkeypatch.setattr("nnunet_mcp.runs.stage_process.cpu_seconds", lambda path: found.cpu)
    return found


@pytest.fixture
def child(world: World) -> Iterator[Child]:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        state = StageState(status="running", started_at=world.wall)
        yield Child(stage("train_fold_0"), world.folder, process, Grant([], []), state, on_gpu=True)


def test_a_machine_that_slept_has_no_stalled_stage(world: World, child: Child) -> None:
    world.live(child, 60, computes=True, prints=True)
    for _ in range(3):
        world.sleep(10)
        world.live(child, 20, computes=True, prints=False)

    assert not child.stalled


def test_a_clock_that_is_set_stalls_nothing(world: World, child: Child) -> None:
    world.live(child, 30, computes=True, prints=True)
    world.wall += 86400
    world.live(child, 10, computes=False, prints=False)
    world.wall -= 2 * 86400
    world.live(child, 10, computes=False, prints=True)

    assert not child.stalled


def test_the_cpu_time_counts_from_the_last_sign_of_life(world: World, child: Child) -> None:
    """Long epochs without a word: what was computed before the last word says nothing about now."""
    world.live(child, 20, computes=False, prints=False)
    world.live(child, 1, computes=False, prints=True)
    world.live(child, 16, computes=False, prints=False)
    assert not child.stalled, "15 minutes of quiet are looked into for 15 minutes more"

    world.live(child, 16, computes=False, prints=False)
    assert child.stalled


def test_a_stage_that_computes_in_silence_is_left_alone(world: World, child: Child) -> None:
    world.live(child, 300, computes=True, prints=False)

    assert not child.stalled


@pytest.mark.parametrize("phase", ["training", "estimating pseudo Dice", "validating"])
def test_a_hung_gpu_that_keeps_a_core_busy_is_a_stall_where_every_step_is_told(
    world: World, child: Child, phase: str
) -> None:
    """A wait for CUDA spins, and idle data loaders poll: neither is progress, nor is what they print."""
    world.tell(phase)
    world.live(child, 14, computes=True, prints=True)
    assert not child.stalled

    world.live(child, 2, computes=True, prints=True)
    assert child.stalled


def test_a_long_step_on_the_cpu_is_no_hang_while_it_computes(world: World, child: Child) -> None:
    child.on_gpu = False
    world.tell("training", epoch_s=60)
    world.live(child, 300, computes=True, prints=False)
    assert not child.stalled

    world.live(child, 31, computes=False, prints=False)
    assert child.stalled


@pytest.mark.parametrize("phase", ["training", "preprocessing"])
def test_who_was_suspended_with_its_stage_lets_it_begin_anew(world: World, child: Child, phase: str) -> None:
    world.tell(phase)
    world.live(child, 5, computes=True, prints=True)
    world.suspend(2)
    world.live(child, 14, computes=False, prints=False)
    assert not child.stalled

    world.live(child, 20, computes=False, prints=False)
    assert child.stalled, "quiet counts from the waking on"


def test_steps_as_long_as_the_epochs_before_are_waited_for(world: World, child: Child) -> None:
    world.tell("training", epoch_s=600)
    world.live(child, 95, computes=True, prints=False)
    assert not child.stalled, "ten epochs of ten minutes are not over"

    world.live(child, 6, computes=True, prints=False)
    assert child.stalled


def test_a_compilation_has_half_an_hour_whatever_it_computes(world: World, child: Child) -> None:
    world.tell("compiling")
    world.live(child, 29, computes=False, prints=False)
    assert not child.stalled

    world.live(child, 2, computes=True, prints=False)
    assert child.stalled


def test_writing_large_predictions_in_silence_is_no_stall(world: World, child: Child) -> None:
    world.tell("validating: writing")
    world.live(child, 300, computes=True, prints=False)

    assert not child.stalled


def test_a_stage_that_hung_in_a_step_is_told_so(tmp_path: Path) -> None:
    failure = diagnose(tmp_path / "missing.txt", code=-9, stalled_s=TIMEOUT_S, phase="training")

    assert "hung while it was training: no step ended for 900 s" in failure.cause
    assert failure.resume
