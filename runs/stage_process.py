"""The process of one stage: how it is started, and whether it still moves."""

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from ..files import to_append
from ..launch import inherited, python_command
from ..liveness import boot_id, host_name, mark_of, pid_namespace
from ..locks import Lock
from ..schemas.gpus import Gpu
from ..schemas.records import COMPILING, TICKING, GpuUsed, ProcessMark, RunRecord, StageSpec, StageState
from ..settings import Settings
from .layout import RunDir, StageDir
from .pace import RECENT, pace
from .processes import LANES_VARIABLE, STAGE_VARIABLE, cpu_seconds, cpu_used_since, kill_all

SlotKind = Literal["gpu", "cpu", "preprocess"]
WORKER = "nnunet_mcp.worker"
# Data-loader processes poll even when nothing moves: about 2 % of a core was measured for three of them.
IDLE_CPU_SHARE = 0.05
# A phase that reports every step hangs if it reports none for as long as so many epochs take.
SILENT_EPOCHS = 10
# If the supervisor itself has not checked for so long, it was suspended, and so was the stage: docker pause, Slurm's
# suspend.
SUSPENDED_S = 60.0
# torch.compile was seen to take a minute for a usual network, and ten for the largest.
COMPILING_S = 1800.0


@dataclass
class Grant:
    """What a stage was given to run on: slots of this host, or the GPUs of its Slurm job."""

    locks: list[Lock]
    devices: list[str]
    kind: SlotKind | None = None
    lanes: int = 1
    gpus: list[Gpu] = field(default_factory=list)

    def file_descriptors(self) -> list[int]:
        return [lock.fileno() for lock in self.locks]

    def variables(self) -> dict[str, str]:
        """The variables that make CUDA show the GPUs of the grant, and no others, to a process."""
        if self.kind != "gpu":
            return {}
        order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order of nvidia-smi's indices
        return {"CUDA_DEVICE_ORDER": order, "CUDA_VISIBLE_DEVICES": ",".join(self.devices)}

    def release(self) -> None:
        """Release the slots in this process; the worker has inherited them."""
        for lock in self.locks:
            lock.release()


@dataclass
class Child:
    """A stage that runs now."""

    spec: StageSpec
    stage: StageDir
    process: "subprocess.Popen[bytes]"
    grant: Grant
    state: StageState
    on_gpu: bool
    stalled: bool = False
    # Times of a clock that stops while the machine sleeps.
    _looked_at: float = field(default_factory=lambda: time.monotonic())
    _ticked_at: float = field(default_factory=lambda: time.monotonic())
    _quiet_since: float = field(default_factory=lambda: time.monotonic())
    _tick: float = 0.0
    _print: float = 0.0
    _cpu_checked: float = 0.0
    _cpu_seconds: dict[int, float] | None = None

    def stop_if_stalled(self, timeout_s: float) -> None:
        """End the stage if it does not move any more.

        nnU-Net waits for ever if a pool worker is killed during verification or validation, and CUDA for a GPU that
        hangs.
        """
        now = time.monotonic()
        self._look_for_signs(now)
        if now - self._ticked_at < timeout_s:
            return
        limit = self._longest_silence(timeout_s)
        if now - self._ticked_at >= limit if limit is not None else self._idle(now, timeout_s):
            self.stalled = True
            kill_all(self.stage.path)

    def _look_for_signs(self, now: float) -> None:
        if now - self._looked_at > SUSPENDED_S:
            self._ticked_at, self._quiet_since, self._cpu_seconds = now, now, None
        self._looked_at = now
        tick, written = (_changed_at(path) for path in (self.stage.progress_file, self.stage.log_file))
        if tick != self._tick:
            self._ticked_at = now
        if (tick, written) != (self._tick, self._print):
            self._tick, self._print, self._quiet_since, self._cpu_seconds = tick, written, now, None

    def _longest_silence(self, timeout_s: float) -> float | None:
        """How long a phase that reports every step may report none on a GPU; None for every other phase and on the CPU,
        where CPU time decides (`_idle`).

        CPU time proves nothing on a GPU, because a process that waits for it keeps a core busy. On the CPU single steps
        may take long.
        """
        progress = self.stage.progress() if self.on_gpu else None
        if progress is not None and progress.phase == COMPILING:
            return max(timeout_s, COMPILING_S)
        if progress is None or progress.phase not in TICKING:
            return None
        return max(timeout_s, SILENT_EPOCHS * (pace(self.stage.recent_epochs(RECENT + 1)) or 0.0))

    def _idle(self, now: float, timeout_s: float) -> bool:
        """Whether the stage neither reported nor printed nor computed anything for `timeout_s`."""
        if now - max(self._quiet_since, self._cpu_checked) < timeout_s:
            return False
        used = cpu_seconds(self.stage.path)
        before, since = self._cpu_seconds, now - self._cpu_checked
        self._cpu_checked, self._cpu_seconds = now, used
        return before is not None and cpu_used_since(before, used) / since < IDLE_CPU_SHARE


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def start_child(
    run: RunDir, record: RunRecord, spec: StageSpec, grant: Grant, settings: Settings, *, on_gpu: bool
) -> Child:
    """Start the stage's worker in a session of its own; it inherits the slots."""
    stage = run.stage(spec.name)
    stage.path.mkdir(parents=True, exist_ok=True)
    with to_append(stage.log_file) as log:
        process = subprocess.Popen(
            worker_command(run, spec, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=stage.path,
            env=worker_environment(stage, record, grant, settings.hand_on),
            start_new_session=True,
            pass_fds=grant.file_descriptors(),
        )
    devices = tuple(
        GpuUsed(name=gpu.product, uuid=gpu.uuid, driver=gpu.driver, capability=gpu.capability) for gpu in grant.gpus
    )
    state = StageState(status="running", started_at=time.time(), process=_mark(process.pid), devices=devices)
    return Child(spec, stage, process, grant, state, on_gpu=on_gpu)


def worker_command(run: RunDir, spec: StageSpec, settings: Settings) -> list[str]:
    """The command line of a stage's worker."""
    return python_command(settings.nnunet_python, WORKER, str(run.path), spec.name)


def worker_environment(stage: StageDir, record: RunRecord, grant: Grant, hand_on: str = "") -> dict[str, str]:
    """The supervisor's environment, the folders, the mark, and the GPUs of the grant."""
    return {
        **inherited(hand_on),
        "nnUNet_raw": record.folders.raw,
        "nnUNet_preprocessed": record.folders.preprocessed,
        "nnUNet_results": record.folders.results,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        STAGE_VARIABLE: str(stage.path),
        LANES_VARIABLE: str(max(grant.lanes, record.num_gpus)),
        **grant.variables(),
    }


def _mark(pid: int) -> ProcessMark:
    try:
        return mark_of(pid)
    except psutil.NoSuchProcess:  # it ended at once; this mark matches no live process
        return ProcessMark(pid=pid, start_time=0.0, boot_id=boot_id(), host=host_name(), pid_namespace=pid_namespace())
