"""Carry a run out: start each stage when its turn has come, watch it, write down how it ended."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..schemas.runs import CancelRecord, EngineRecord, Failure, Outcome, RunRecord, StageSpec, StageState, Status
from .child import Child, start_child
from .diagnosis import diagnose
from .errors import NotFound
from .files import write_model
from .layout import RunDir, StateDir
from .liveness import mark_of
from .look import HEARTBEAT_S
from .processes import kill_all
from .provenance import compose_provenance
from .result import compose_result
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
        run = RunDir(Path(path))
        record = run.record()
        if record is None:
            raise NotFound(f"{run.run_file} is missing or not readable")
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
            self._could_not_start(spec, error)
            return
        self.children[spec.name] = child
        self._write(spec.name, child.state)

    def _could_not_start(self, spec: StageSpec, error: OSError) -> None:
        failure = Failure(
            cause=f"the stage's process could not be started: {error.strerror or error}",
            evidence=str(error),
            remedy="nnunet_system names what is wrong with this machine; correct it, then start the request again.",
        )
        self.ended[spec.name] = "error"
        self._write(spec.name, StageState(status="error", ended_at=time.time(), failure=failure))

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
            self._write(spec.name, StageState(status="queued", waits_for=reason))

    def _look_after(self, child: Child) -> None:
        code = child.process.poll()
        if code is None:
            child.stop_if_stalled(self.settings.stall_timeout_s)
            return
        kill_all(child.stage.path)  # data-loader workers that outlived their parent
        child.grant.release()
        del self.children[child.spec.name]
        state = self._ending(child, code, child.stage.outcome())
        self.ended[child.spec.name] = state.status
        self._write(child.spec.name, state)

    def _ending(self, child: Child, code: int, outcome: Outcome | None) -> StageState:
        status = _ending_status(code, outcome, cancelled=self.run.cancel_file.exists(), stalled=child.stalled)
        failure = None
        if status in ("error", "interrupted"):
            failure = (outcome.failure if outcome else None) or diagnose(
                child.stage.log_file,
                code=code,
                stalled_s=self.settings.stall_timeout_s if child.stalled else None,
            )
        return child.state.model_copy(
            update={
                "status": status,
                "ended_at": time.time(),
                "exit_code": code if code >= 0 else None,
                "signal": signal.Signals(-code).name if code < 0 else None,
                "failure": failure,
            }
        )

    def _cancel(self, cancel: CancelRecord) -> None:
        """The worker stops by itself after its epoch; when the grace is over it is made to."""
        for queue in self.queues.values():
            queue.withdraw()
        if time.time() < cancel.requested_at + cancel.grace_s:
            return
        for child in self.children.values():
            kill_all(child.stage.path, term_wait_s=TERM_WAIT_S if cancel.grace_s else 0.0)

    def _write(self, stage: str, state: StageState) -> None:
        """Write a state down; on a full disk try again until it is there, because it is the truth."""
        while True:
            try:
                write_model(self.run.stage(stage).state_file, state)
                return
            except OSError as error:
                print(f"cannot write the state of {stage}: {error}", flush=True)
                time.sleep(10 * POLL_S)

    def _finish(self) -> None:
        for queue in self.queues.values():
            queue.withdraw()
        if all(self.ended.get(spec.name) == "success" for spec in self.record.stages):
            write_model(self.run.result_file, compose_result(self.run, self.record))
        # For whoever repeats the run; nothing depends on it.
        with contextlib.suppress(OSError):
            write_model(self.run.provenance_file, compose_provenance(self.run, self.record))


def _ending_status(code: int, outcome: Outcome | None, *, cancelled: bool, stalled: bool) -> Status:
    """What an ended process proves. Exit code 0 alone proves nothing."""
    if outcome is not None and outcome.ok:
        return "success"
    if cancelled and (outcome is None or outcome.stopped):
        return "cancelled"
    if outcome is None and code < 0 and not stalled:
        return "interrupted"
    return "error"
