"""The engine of this machine: a supervisor of its own for each run, whose stages wait for slots."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

import psutil

from ...calls import argument
from ...errors import Refused, Unavailable
from ...files import to_append, write_model
from ...launch import inherited, python_command
from ...liveness import host_name, liveness, touched_within
from ...locks import held
from ...nnunet.old_models import put_back
from ...schemas.records import Liveness, ProcessMark, QueueAction, RunRecord, StageSpec, StageState
from ...schemas.system import Check
from ...schemas.training import Device
from ...settings import Settings
from ...texts import SAID_LENGTH, short_in_json
from ..engine import Engine, Preview
from ..layout import RunDir, StateDir
from ..machine.gpus import MACHINE, visible
from ..machine.processor import computes_bfloat16
from ..processes import kill_all, processes_of
from ..stage_process import Grant
from ..status import Evidence, StageEvidence
from .device import SHM, choose_device, gpu_checks, shm_check, shm_problems
from .places import find_places, slot_kind
from .slots import SlotQueue, slot_holder

SUPERVISOR = "nnunet_mcp.runs.local.supervisor"
LAUNCH_S = 30.0
END_WAIT_S = 10.0
TERM_WAIT_S = 2.0
# Many times HEARTBEAT_S, because a shared file system may show a heartbeat late.
HEARTBEAT_FRESH_S = 120.0
# The number of GPUs rarely changes, and a client that follows a run asks every few seconds.
KNOWN_S = 600.0


class LocalEngine(Engine):
    """Runs on this machine: each has a supervisor, and its stages wait for slots."""

    name = "local"
    is_here = True
    follows_all = True
    in_front = "It goes before all other runs that wait for the same place; what runs already goes on."

    def works_here(self, record: RunRecord) -> bool:
        """Where it was started: on this host, or on another that has the same state folder."""
        return record.host == host_name()

    def checks(self, settings: Settings) -> Iterator[Check]:
        """Shared memory and GPUs."""
        if SHM.is_dir():
            yield shm_check(SHM)
        yield from gpu_checks(settings)

    def options(self, asked: Iterable[str], settings: Settings) -> dict[str, str]:
        """No options: this machine has none."""
        if list(asked):
            raise Refused(
                f"{argument(slurm=None)} has options, but the run would start on this machine. Add "
                f"{argument(engine='slurm')}, or leave them out."
            )
        return {}

    def device(self, asked: Device | None, settings: Settings, *, num_gpus: int | None = None) -> tuple[Device, str]:
        """A GPU, if there is one that PyTorch can use."""
        return choose_device(asked, settings, num_gpus=num_gpus)

    def cpu_has_bf16(self) -> bool | None:
        """As this machine's processor reports."""
        return computes_bfloat16()

    def problems(self, device: Device | None) -> list[str]:
        """Whether /dev/shm is too small."""
        return shm_problems(device)

    def notes(self, device: Device | None, options: dict[str, str], settings: Settings) -> list[str]:
        """No notes: nothing depends on options here."""
        return []

    def lanes(self, record: RunRecord, trainings: int, settings: Settings) -> int:
        """As many as there are GPUs."""
        if trainings <= 1 or record.device != "cuda":
            return 1
        gpus, _ = visible(MACHINE.find(settings.nnunet_python, max_age_s=KNOWN_S), settings.gpus)
        return max(1, min(trainings, len(gpus) * settings.share_gpus // record.num_gpus))

    def preview(self, record: RunRecord, settings: Settings) -> Preview:
        """The slots that the run would wait for."""
        kinds = dict.fromkeys(slot_kind(spec, record.device) for spec in _todo(record))
        taken = [
            f"{kind} slot {place.title} is held by {holder}"
            for kind in kinds
            if kind is not None
            for place in find_places(kind, StateDir.of(settings), settings, record=record)[0]
            if (holder := slot_holder(place))
        ]
        return Preview(queue=tuple(taken))

    def hold_device(self, record: RunRecord, settings: Settings) -> Grant | str:
        """Queue for a GPU behind all waiting runs; the CPU can be measured at any time."""
        if record.device != "cuda":
            return Grant([], [])
        state = StateDir.of(settings)
        places, why = find_places("gpu", state, settings, record=record)
        queue = SlotQueue(state, "gpu", places, "preflight", created_at=time.time(), stage="measure", why_none=why)
        try:
            answer = queue.try_acquire(1)
            return answer.removeprefix("waits for a slot: ") if isinstance(answer, str) else answer
        except OSError as error:
            return f"cannot take a slot: {error}"
        finally:
            queue.withdraw()

    def gpu_memory_gb(self, record: RunRecord, settings: Settings) -> float | None:
        """Of the first free GPU, or of any GPU if none is free."""
        places, _ = find_places("gpu", StateDir.of(settings), settings, record=record)
        free = [place.gpu.free_gb for place in places if place.gpu and slot_holder(place) is None]
        all_of_it = [place.gpu.total_gb for place in places if place.gpu]
        memory = next(iter(free or all_of_it), None)
        return None if memory is None else round(memory, 1)

    def start(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Start the run's supervisor in a session of its own.

        The process that is started here forks and ends, so the supervisor is no child of the server: a client that
        kills the server's process group, session or process tree does not reach it, and it leaves no zombie.
        """
        with to_append(run.supervisor_log) as log:
            try:
                launcher = subprocess.Popen(
                    python_command(sys.executable, SUPERVISOR, str(run.path)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=run.path,
                    env={**inherited(settings.hand_on), **settings.environment},
                    start_new_session=True,
                )
            except OSError as error:
                raise _not_started(run, str(error)) from error
            try:
                code = launcher.wait(timeout=LAUNCH_S)
            except subprocess.TimeoutExpired as error:
                launcher.kill()
                launcher.wait()
                raise Unavailable(f"The supervisor of run {run.run_id} could not be started: {error}") from error
        if code > 0:  # the process failed before it forked; if it was killed it may have forked already
            raise _not_started(run, run.supervisor_log.read_text(encoding="utf-8", errors="replace"))

    def go_on_starting(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Nothing to do: a supervisor is started in one step."""

    def evidence(self, run: RunDir, record: RunRecord) -> Evidence:
        """The run's files and the process table."""
        engine = run.engine()
        supervisor = None if engine is None else liveness(engine.supervisor)
        return Evidence(
            record=record,
            age_s=time.time() - record.created_at,
            supervisor=supervisor,
            heartbeat_fresh=touched_within(run.heartbeat_file, HEARTBEAT_FRESH_S),
            cancel_requested=run.cancel_file.exists(),
            stages={spec.name: _stage_evidence(run, spec.name, supervisor) for spec in _todo(record)},
        )

    def move(self, run: RunDir, record: RunRecord, action: QueueAction, settings: Settings) -> None:
        """Write queue.json, which the supervisor reads before it starts a stage."""
        change = {"front_at": time.time()} if action == "front" else {"held": action == "hold"}
        with held(StateDir.of(settings).locks_dir / "queue.lock"):  # two wishes at once: neither is lost
            write_model(run.queue_file, run.afresh().queue().model_copy(update=change))

    def cancel(self, run: RunDir, record: RunRecord, *, gracefully: bool) -> None:
        """The supervisor obeys cancel.json. If there is none any more, the rest of the run is ended here."""
        engine = run.engine()
        if engine is not None and liveness(engine.supervisor) == "dead":
            self.sweep(run, record)

    def end(self, run: RunDir, record: RunRecord) -> None:
        """End the supervisor and all stages."""
        engine = run.engine()
        if engine is None or not _end(engine.supervisor):
            raise Unavailable("its supervisor cannot be ended from here")
        self.sweep(run, record)

    def sweep(self, run: RunDir, record: RunRecord) -> None:
        """End every process that carries the run's mark."""
        specs = _todo(record)
        kill_all(*(run.stage(spec.name).path for spec in specs), term_wait_s=TERM_WAIT_S)
        for spec in specs:
            put_back(record, spec)


def _todo(record: RunRecord) -> list[StageSpec]:
    return [spec for spec in record.stages if not spec.reused]


def _not_started(run: RunDir, said: str) -> Unavailable:
    """The error for a run that will never start. Its record is removed, so that the next request can have the fold,
    unless another server has started it."""
    if not run.engine_file.exists():
        run.remove()
    why = short_in_json(said.strip().rpartition("\n")[2], SAID_LENGTH)
    return Unavailable(
        f"The supervisor of run {run.run_id} could not be started: {why}. Nothing was started.", about="machine"
    )


def _stage_evidence(run: RunDir, name: str, supervisor: Liveness | None) -> StageEvidence:
    stage = run.stage(name)
    state = stage.state()
    if supervisor == "dead" and stage.log_file.exists() and (state is None or state.status == "queued"):
        # The supervisor was killed after it started the process and before it could record it.
        found: Liveness = "alive" if processes_of(stage.path) else "dead"
        return StageEvidence(StageState(status="running"), stage.outcome(), found)
    if state is None:
        return StageEvidence()
    if state.status != "running" or state.process is None:
        return StageEvidence(state)
    # Liveness is read before the outcome: a worker that ends in between then counts as alive, not as lost.
    alive = liveness(state.process)
    return StageEvidence(state, stage.outcome(), alive)


def _end(mark: ProcessMark) -> bool:
    """Kill the marked process; returns whether it is gone."""
    with contextlib.suppress(psutil.Error):
        if liveness(mark) == "alive":
            process = psutil.Process(mark.pid)
            process.kill()
            process.wait(timeout=END_WAIT_S)
    return liveness(mark) == "dead"
