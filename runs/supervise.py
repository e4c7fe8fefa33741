"""Carry a run out: start each stage when its turn has come, watch it, write down how it ended."""

import contextlib
import os
import time
from dataclasses import dataclass, field

from ..schemas.runs import CancelRecord, EngineRecord, RunRecord, StageSpec, StageState, Status
from .child import Child, start_child
from .ending import close_run, ended_state, not_started, write_state
from .files import write_model
from .layout import RunDir, StateDir, read_run
from .liveness import mark_of
from .look import HEARTBEAT_S
from .processes import kill_all
from .settings import Settings
from .slots import Grant, SlotQueue, slot_kind, slot_names

POLL_S = 0.2
TERM_WAIT_S = 10.0


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
    last_heartbeat: float = 0.0

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
        write_model(self.run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
        self.ended.update({spec.name: "success" for spec in self.record.stages if spec.reused})
        while self._step():
            time.sleep(POLL_S)
        self._finish()

    def _step(self) -> bool:
        """One look at everything; returns whether there is more to come."""
        self._beat()
        for child in list(self.children.values()):
            self._look_after(child)
        if (cancel := self.run.cancel()) is not None:
            self._cancel(cancel)
        elif not self._failed():
            self._start_what_can_start()
        return bool(self.children) or (cancel is None and not self._failed() and bool(self._waiting()))

    def _beat(self) -> None:
        if time.monotonic() - self.last_heartbeat > HEARTBEAT_S or not self.last_heartbeat:
            self.last_heartbeat = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk must not end the run
                self.run.heartbeat_file.touch()

    def _failed(self) -> bool:
        return any(status != "success" for status in self.ended.values())

    def _waiting(self) -> list[StageSpec]:
        return [s for s in self.record.stages if s.name not in self.ended and s.name not in self.children]

    def _start_what_can_start(self) -> None:
        for spec in self._waiting():
            if all(self.ended.get(need) == "success" for need in spec.needs):
                self._try_start(spec)

    def _try_start(self, spec: StageSpec) -> None:
        grant = self._acquire(spec)
        if isinstance(grant, str):
            self._say_waiting(spec, grant)
            return
        try:
            child = start_child(self.run, self.record, spec, grant, self.settings)
        except OSError as error:
            grant.release()
            self._end(spec.name, not_started(error))
            return
        self.children[spec.name] = child
        write_state(self.run, spec.name, child.state)

    def _end(self, stage: str, state: StageState) -> None:
        self.ended[stage] = state.status
        write_state(self.run, stage, state)

    def _acquire(self, spec: StageSpec) -> Grant | str:
        kind = slot_kind(spec.kind, self.record.device)
        if kind is None:
            return Grant([], [])
        if spec.name not in self.queues:
            self.queues[spec.name] = SlotQueue(
                state=StateDir(self.settings.state_dir),
                kind=kind,
                names=slot_names(kind, self.settings.gpus),
                run_id=self.record.run_id,
                created_at=self.record.created_at,
                stage=spec.name,
            )
        return self.queues[spec.name].try_acquire(self.record.num_gpus if kind == "gpu" else 1)

    def _say_waiting(self, spec: StageSpec, reason: str) -> None:
        if self.said.get(spec.name) != reason:
            self.said[spec.name] = reason
            write_state(self.run, spec.name, StageState(status="queued", waits_for=reason))

    def _look_after(self, child: Child) -> None:
        code = child.process.poll()
        if code is None:
            child.stop_if_stalled(self.settings.stall_timeout_s)
            return
        kill_all(child.stage.path)  # data-loader workers that outlived their parent
        child.grant.release()
        del self.children[child.spec.name]
        stall_s, cancelled = self.settings.stall_timeout_s, self.run.cancel_file.exists()
        self._end(child.spec.name, ended_state(child, code, cancelled=cancelled, stall_timeout_s=stall_s))

    def _cancel(self, cancel: CancelRecord) -> None:
        """The worker stops by itself after its epoch; when the grace is over it is made to."""
        for queue in self.queues.values():
            queue.withdraw()
        if time.time() < cancel.requested_at + cancel.grace_s:
            return
        for child in self.children.values():
            kill_all(child.stage.path, term_wait_s=TERM_WAIT_S if cancel.grace_s else 0.0)

    def _finish(self) -> None:
        for queue in self.queues.values():
            queue.withdraw()
        succeeded = all(self.ended.get(spec.name) == "success" for spec in self.record.stages)
        close_run(self.run, self.record, succeeded=succeeded)
