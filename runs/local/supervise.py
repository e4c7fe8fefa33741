"""Carry out a run: start each stage when the stages that it needs have succeeded, watch it, record how it ended."""

import os
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ...files import write_model
from ...liveness import mark_of
from ...locks import Lock
from ...schemas.records import CancelRecord, EngineRecord, RunRecord, StageSpec, StageState, Status
from ...settings import Settings
from ..layout import RunDir, StateDir, read_run
from ..machine.gpu_watch import GpuWatch
from ..processes import kill_all, let_others_first
from ..stage_end import Grace, Heartbeat, States, clear_up, close_run, ended_state, given_up, not_started, say
from ..stage_process import Child, Grant, start_child
from .places import Place, find_places, gpu_places, slot_kind
from .slots import SlotQueue
from .turn import Turn

POLL_S = 0.2
TERM_WAIT_S = 10.0
NUMBER = re.compile(r"\d+")


@dataclass
class Supervision:
    """One run being carried out by this process."""

    run: RunDir
    record: RunRecord
    settings: Settings
    children: dict[str, Child] = field(default_factory=dict)
    ended: dict[str, Status] = field(default_factory=dict)
    queues: dict[str, SlotQueue] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    logged: dict[str, str] = field(default_factory=dict)
    states: States = field(init=False)
    heart: Heartbeat = field(init=False)
    watch: GpuWatch = field(init=False)
    grace: Grace = field(default_factory=Grace)
    turn: Turn = field(init=False)

    def __post_init__(self) -> None:
        self.turn = Turn(self.run, self.record)
        self.states = States(self.run)
        self.heart = Heartbeat(self.run.heartbeat_file)
        self.watch = GpuWatch(self.settings.nnunet_python)

    @classmethod
    def of(cls, path: str) -> "Supervision":
        """Read the run that is to be carried out.

        Raises:
            NotFound: there is no readable run.json.
        """
        run, record = read_run(path)
        return cls(run, record, Settings())

    def carry_out(self) -> None:
        """Work until every stage has ended or cannot start any more."""
        if not self._is_the_first():
            return
        self.ended.update({spec.name: "success" for spec in self.record.stages if spec.reused})
        try:
            while self._step():
                time.sleep(POLL_S)
        except Exception as error:  # no process may be left without a supervisor
            for name in list(self.children):
                self._give_up(name, error)
            self.states.settle()
            raise
        self._finish()

    def _is_the_first(self) -> bool:
        """Write engine.json. If there is one already, the run belongs to the supervisor named there, even after its
        end."""
        lock = Lock(self.run.submit_lock)
        try:
            if not lock.try_acquire() or self.run.engine_file.exists():
                return False
            write_model(self.run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
            return True
        finally:
            lock.release()

    def _step(self) -> bool:
        """Check everything once; returns whether there is more to do."""
        self.heart.beat()
        self.states.try_again()
        for child in list(self.children.values()):
            self._in_stage(child.spec.name, partial(self._look_after, child))
        if (cancel := self._cancel_record()) is not None:
            self._cancel(cancel)
        elif not self._failed():
            self._start_what_can_start()
        more = cancel is None and not self._failed() and bool(self._waiting())
        return bool(self.children) or more or not self.states.all_written

    def _in_stage(self, stage: str, act: Callable[[], None]) -> None:
        """Act on one stage such that its errors do not stop the supervision of the others. After an error of the disk
        the next step tries again; any other error ends the stage."""
        try:
            act()
        except OSError as error:
            self._log_once(stage, f"{stage}: {error!r}; trying again")
        except Exception as error:
            self._give_up(stage, error)

    def _give_up(self, stage: str, error: Exception) -> None:
        say("".join(traceback.format_exception(error)))
        kill_all(self.run.stage(stage).path)
        child = self.children.pop(stage, None)
        if child is not None:
            child.grant.release()
        self._end(stage, given_up(child.state if child else StageState(status="interrupted"), error))

    def _log_once(self, about: str, text: str) -> None:
        if self.logged.get(about) != text:
            self.logged[about] = text
            say(text)

    def _cancel_record(self) -> CancelRecord | None:
        try:
            return self.run.cancel()
        except OSError as error:
            self._log_once("cancel", f"cannot look for {self.run.cancel_file}: {error!r}")
            return None

    def _failed(self) -> bool:
        return any(status != "success" for status in self.ended.values())

    def _waiting(self) -> list[StageSpec]:
        return [s for s in self.record.stages if s.name not in self.ended and s.name not in self.children]

    def _start_what_can_start(self) -> None:
        kept_back = self._kept_back()
        if kept_back is not None:
            self._leave_the_queue()  # those behind it must not wait for it
        for spec in self._waiting():
            if not all(self.ended.get(need) == "success" for need in spec.needs):
                continue
            if kept_back is None:
                self._in_stage(spec.name, partial(self._try_start, spec))
            elif kept_back.status == "queued":
                self._say_waiting(spec, kept_back.waits_for or "")
            else:
                self._end(spec.name, kept_back)

    def _kept_back(self) -> StageState | None:
        try:
            return self.turn.look(begun=len(self._waiting()) < sum(not spec.reused for spec in self.record.stages))
        except OSError as error:
            return StageState(status="queued", waits_for=f"cannot see whether it is its turn: {error}")

    def _try_start(self, spec: StageSpec) -> None:
        try:
            grant = self._acquire(spec)
        except OSError as error:
            grant = f"cannot take a slot: {error}"
        if isinstance(grant, str):
            self._say_waiting(spec, grant)
            return
        try:
            child = start_child(self.run, self.record, spec, grant, self.settings, on_gpu=grant.kind == "gpu")
        except OSError as error:
            grant.release()
            self._end(spec.name, not_started(error))
            return
        if not child.on_gpu:
            let_others_first(child.process.pid, self.settings.nice)
        self.children[spec.name] = child
        self.states.write(spec.name, child.state)

    def _end(self, stage: str, state: StageState) -> None:
        self.ended[stage] = state.status
        self.states.write(stage, state)

    def _acquire(self, spec: StageSpec) -> Grant | str:
        kind = slot_kind(spec, self.record.device)
        if kind is None:
            return Grant([], [])
        if spec.name not in self.queues:
            self.queues[spec.name] = SlotQueue(
                state=StateDir.of(self.settings),
                kind=kind,
                places=[],
                run_id=self.record.run_id,
                created_at=self.record.created_at,
                stage=spec.name,
            )
        queue, wanted = self.queues[spec.name], self.record.num_gpus if kind == "gpu" else 1
        queue.places, queue.why_none = self._places(queue)
        queue.front_at = self.turn.wish.front_at
        queue.beside = wanted * sum(self._is_like(spec, other) for other in self._waiting())
        answer = queue.try_acquire(wanted)
        if isinstance(answer, Grant) and kind == "gpu" and not self._is_sure(answer):
            return "waits for a slot: asks for the GPUs"
        return answer

    def _is_like(self, spec: StageSpec, other: StageSpec) -> bool:
        """Whether the other stage can run at the same time: another fold of the same training."""
        return (other.kind, other.configuration) == (spec.kind, spec.configuration)

    def _places(self, queue: SlotQueue) -> tuple[list[Place], str]:
        """The places, with the GPUs as last reported: the driver may hang, or lack a GPU, for a while."""
        if queue.kind != "gpu":
            return find_places(queue.kind, queue.state, self.settings)
        if (found := self.watch.newest()) is None:
            return [], "asks for the GPUs"
        return gpu_places(found, queue.state, self.settings, record=self.record)

    def _is_sure(self, grant: Grant) -> bool:
        """Whether the GPUs are free now. The last report may be older than another run's use of them."""
        if self.watch.is_fresh():
            return True
        grant.release()
        self.watch.ask_often()
        return False

    def _say_waiting(self, spec: StageSpec, reason: str) -> None:
        before = self.said.get(spec.name, "")
        if before != reason:
            self.said[spec.name] = reason
            # ignore changes of other programs' memory, which varies all the time
            if NUMBER.sub("", before) != NUMBER.sub("", reason):
                self.watch.ask_often()
            self.states.write(spec.name, StageState(status="queued", waits_for=reason))

    def _look_after(self, child: Child) -> None:
        code = child.process.poll()
        if code is None:
            child.stop_if_stalled(self.settings.stall_timeout_s)
            return
        clear_up(self.record, child)
        stall_s, cancelled = self.settings.stall_timeout_s, self.run.cancel_file.exists()
        state = ended_state(child, code, cancelled=cancelled, stall_timeout_s=stall_s)
        child.grant.release()
        del self.children[child.spec.name]
        self._end(child.spec.name, state)

    def _cancel(self, cancel: CancelRecord) -> None:
        """The worker stops by itself after its epoch; when the grace period is over, it is killed."""
        self._leave_the_queue()
        if not self.grace.is_over(cancel):
            return
        for child in self.children.values():
            kill_all(child.stage.path, term_wait_s=TERM_WAIT_S if cancel.grace_s else 0.0)

    def _leave_the_queue(self) -> None:
        for queue in self.queues.values():
            queue.withdraw()

    def _finish(self) -> None:
        self._leave_the_queue()
        succeeded = all(self.ended.get(spec.name) == "success" for spec in self.record.stages)
        close_run(self.run, self.record, succeeded=succeeded)
