"""One stage's process: how it is started and whether it still moves."""

import os
import subprocess
import time
from dataclasses import dataclass, field

import psutil

from ..schemas.runs import GpuUsed, ProcessMark, RunRecord, StageSpec, StageState
from .layout import RunDir, StageDir
from .liveness import boot_id, host_name, mark_of, pid_namespace
from .processes import LANES_VARIABLE, STAGE_VARIABLE, cpu_seconds, cpu_used_since, kill_all
from .settings import Settings
from .slots import Grant

WORKER = "nnunet_mcp.worker"
# Data-loader processes poll even when nothing moves: about 2 % of a core was measured for three of them.
IDLE_CPU_SHARE = 0.05


@dataclass
class Child:
    """A stage that runs now."""

    spec: StageSpec
    stage: StageDir
    process: "subprocess.Popen[bytes]"
    grant: Grant
    state: StageState
    stalled: bool = False
    # Counted by a clock that stands still while the machine sleeps.
    _quiet_since: float = field(default_factory=time.monotonic)
    _signs: tuple[float, ...] = ()
    _cpu_checked: float = 0.0
    _cpu_seconds: dict[int, float] | None = None

    def stop_if_stalled(self, timeout_s: float) -> None:
        """End the stage when for `timeout_s` it neither reported, printed nor computed anything.

        nnU-Net waits for ever when a pool worker is killed during verification or validation.
        """
        now = time.monotonic()
        if (signs := self._signs_of_life()) != self._signs:
            self._signs, self._quiet_since, self._cpu_seconds = signs, now, None
        if now - max(self._quiet_since, self._cpu_checked) < timeout_s:
            return
        used = cpu_seconds(self.stage.path)
        before, since = self._cpu_seconds, now - self._cpu_checked
        self._cpu_checked, self._cpu_seconds = now, used
        if before is not None and cpu_used_since(before, used) / since < IDLE_CPU_SHARE:
            self.stalled = True
            kill_all(self.stage.path)

    def _signs_of_life(self) -> tuple[float, ...]:
        files = (self.stage.progress_file, self.stage.log_file)
        return tuple(path.stat().st_mtime for path in files if path.exists())


def start_child(run: RunDir, record: RunRecord, spec: StageSpec, grant: Grant, settings: Settings) -> Child:
    """Start the stage's worker in a session of its own; it inherits the slots."""
    stage = run.stage(spec.name)
    stage.path.mkdir(parents=True, exist_ok=True)
    with stage.log_file.open("ab") as log:
        process = subprocess.Popen(
            worker_command(run, spec, settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=stage.path,
            env=worker_environment(stage, record, grant),
            start_new_session=True,
            pass_fds=grant.file_descriptors(),
        )
    devices = tuple(GpuUsed(name=gpu.model, uuid=gpu.uuid, driver=gpu.driver) for gpu in grant.gpus)
    state = StageState(status="running", started_at=time.time(), process=_mark(process.pid), devices=devices)
    return Child(spec, stage, process, grant, state)


def worker_command(run: RunDir, spec: StageSpec, settings: Settings) -> list[str]:
    """The command line of a stage's worker."""
    return [settings.nnunet_python, "-m", WORKER, str(run.path), spec.name]


def worker_environment(stage: StageDir, record: RunRecord, grant: Grant) -> dict[str, str]:
    """The supervisor's environment, the folders, the mark, and the GPUs of the grant."""
    environment = {
        **os.environ,
        "nnUNet_raw": record.folders.raw,
        "nnUNet_preprocessed": record.folders.preprocessed,
        "nnUNet_results": record.folders.results,
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        STAGE_VARIABLE: str(stage.path),
        LANES_VARIABLE: str(max(grant.lanes, record.num_gpus)),
    }
    if grant.kind == "gpu":
        environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order of nvidia-smi's indices
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(grant.devices)
    return environment


def _mark(pid: int) -> ProcessMark:
    try:
        return mark_of(pid)
    except psutil.NoSuchProcess:  # it ended at once: this mark matches no live process
        return ProcessMark(pid=pid, start_time=0.0, boot_id=boot_id(), host=host_name(), pid_namespace=pid_namespace())
