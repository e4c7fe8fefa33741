"""The real supervisor with a stand-in for nnU-Net: whatever a stage does, the run ends with the truth."""

import contextlib
import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from nnunet_mcp.errors import Unavailable
from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import liveness
from nnunet_mcp.locks import Lock
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.old_models import keep, kept, put_back, way_back
from nnunet_mcp.runs.cancel import request_cancel
from nnunet_mcp.runs.engines import verdict
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.local.engine import LocalEngine
from nnunet_mcp.runs.local.places import slot_path
from nnunet_mcp.runs.local.supervise import Supervision
from nnunet_mcp.runs.processes import kill_all, processes_of
from nnunet_mcp.runs.stage_end import ended_state
from nnunet_mcp.runs.stage_process import Child
from nnunet_mcp.runs.store import new_run_id, record_run
from nnunet_mcp.schemas.records import CancelRecord, GpuUsed, RunRecord, StageSpec, StageState, Status
from nnunet_mcp.schemas.results import Result
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.helping import before
from tests.kit.gpus import GIB, Card, nvidia_smi_shows
from tests.kit.lab import stand_in_nvidia_smi, stand_in_python, until
from tests.kit.play import PlayedRun
from tests.kit.tiny import ask, record_of, stage

LOCAL = "nnunet_mcp.runs.local.engine"
FOLDS = stage("train_fold_0"), stage("train_fold_1")


@dataclass
class Stage:
    """Where runs are played; every process is gone when the curtain falls."""

    settings: Settings
    patch: pytest.MonkeyPatch
    runs: list["Play"] = field(default_factory=list)
    device: Literal["cpu", "cuda"] = "cpu"

    def recorded(self, *stages: StageSpec, **parts: str) -> tuple[RunDir, RunRecord]:
        self.patch.setenv("STAND_IN", json.dumps(parts))
        record = record_of(self.settings, *stages, run_id=new_run_id(1, "2d", "0"), device=self.device)
        run, _ = record_run(StateDir(self.settings.state_dir), record, [], repeat_window_s=0)
        return run, record

    def play(self, *stages: StageSpec, **parts: str) -> "Play":
        run, record = self.recorded(*stages, **parts)
        self.runs.append(Play(run, record))
        LocalEngine().start(run, record, self.settings)
        return self.runs[-1]


class Play(PlayedRun):
    """One run."""

    @property
    def supervisor(self) -> psutil.Process:
        until(self.run.engine_file.exists)
        engine = self.run.engine()
        assert engine is not None
        return psutil.Process(engine.supervisor.pid)

    @property
    def supervisor_lives(self) -> bool:
        engine = self.run.engine()
        return engine is not None and liveness(engine.supervisor) == "alive"

    def file(self, name: str, stage: str = "train_fold_0") -> Path:
        return self.run.stage(stage).path / name

    def processes(self) -> list[psutil.Process]:
        return [found for spec in self.record.stages for found in processes_of(self.run.stage(spec.name).path)]

    def cancel(self, *, grace_s: float) -> Status:
        return request_cancel(self.run, self.record, grace_s=grace_s)


@pytest.fixture
def theatre(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path)))
    found = Stage(settings, monkeypatch)
    yield found
    for play in found.runs:
        with contextlib.suppress(psutil.NoSuchProcess):
            play.supervisor.kill()
        for spec in play.record.stages:
            kill_all(play.run.stage(spec.name).path)


def test_a_run_whose_stages_succeed_has_their_result(theatre: Stage) -> None:
    play = theatre.play(stage("preprocess"), stage("train_fold_0", "preprocess"))

    result = play.finish()

    assert (result.status, result.complete, result.metrics.dice) == ("success", True, 0.8)
    assert until(play.run.result_file.exists)
    written = Result.model_validate_json(play.run.result_file.read_bytes())
    assert written.model_dump() == result.model_dump()
    assert play.file("log.txt").read_text(encoding="utf-8") == "train_fold_0 succeeds\n"


def test_stages_that_need_the_same_slot_run_one_after_the_other(theatre: Stage) -> None:
    play = theatre.play(*FOLDS)
    play.finish()

    first, second = (play.run.stage(spec.name).state() for spec in FOLDS)

    assert first and second and first.ended_at and second.started_at
    assert second.started_at >= first.ended_at


@pytest.mark.parametrize(
    ("part", "status", "cause"),
    [
        ("fails", "error", "the label 7 is not declared"),
        ("crashes", "error", "unknown: the process ended with exit code 1"),
        ("runs out of gpu memory", "error", "the GPU ran out of memory"),
        ("says nothing", "error", "unknown: the process ended with exit code 0 and left no result"),
        ("is killed", "interrupted", "killed by signal 9"),
    ],
)
def test_how_a_stage_dies_decides_the_status_and_the_cause(
    theatre: Stage, part: str, status: Status, cause: str
) -> None:
    play = theatre.play(*FOLDS, train_fold_0=part)

    result = play.finish()

    assert result.status == status
    assert result.failure is not None and cause in result.failure.cause
    assert result.metrics.dice is None and not play.run.result_file.exists()
    assert not play.file("log.txt", "train_fold_1").exists(), "the next stage must not start"


def test_an_unknown_death_is_explained_by_its_last_words(theatre: Stage) -> None:
    result = theatre.play(train_fold_0="crashes").finish()

    assert result.failure is not None
    assert "RuntimeError: something nobody has seen before" in result.failure.evidence
    assert "Read the end of the log" in result.failure.remedy


def test_a_worker_that_cannot_be_started_is_an_error_that_says_so(theatre: Stage) -> None:
    theatre.patch.setenv("NNUNET_MCP_WORKER_PYTHON", "/nowhere/python")

    result = theatre.play().finish()

    assert result.status == "error"
    assert result.failure is not None and "/nowhere/python" in result.failure.evidence


def test_helpers_that_a_stage_leaves_behind_are_ended_with_it(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="leaves a helper behind")

    assert play.finish().status == "success"
    assert until(lambda: not play.processes())


def test_a_forced_cancel_leaves_no_process(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    assert len(play.processes()) == 2

    assert play.cancel(grace_s=0) in ("running", "cancelled")

    assert play.finish().status == "cancelled"
    assert play.processes() == []
    assert play.cancel(grace_s=0) == "cancelled", "asking again is fine"


def test_a_forced_cancel_answers_when_nothing_is_left_and_a_patient_one_is_visible_until_then(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    run_id = play.record.run_id
    assert until(play.file("hanging").exists)
    assert until(play.begun)

    asked = ask(theatre.settings, "nnunet_cancel", run_id=run_id, wait_s=0.3)
    now = ask(theatre.settings, "nnunet_progress", run_id=run_id)

    assert asked["status"] == now["status"] == "running"
    assert now["phase"].startswith("stopping, within ") and now["next_step"].startswith("Asked to stop")
    assert now["retry_after_s"] > 0 and "eta" not in now

    ended = ask(theatre.settings, "nnunet_cancel", run_id=run_id, force=True)

    assert (ended["status"], ended["detail"]) == ("cancelled", "The run is cancelled. None of its processes is left.")
    assert play.processes() == [] and ended["retry_after_s"] == 0
    assert "start it again from epoch 1" in ended["next_step"]


def test_a_patient_cancel_lets_the_stage_end_by_itself(theatre: Stage) -> None:
    play = theatre.play(*FOLDS, train_fold_0="stops when asked")
    assert until(play.begun)

    assert play.cancel(grace_s=60) in ("running", "cancelled")

    assert play.finish().status == "cancelled"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and (state.exit_code, state.signal) == (1, None)


def test_a_stage_that_does_not_listen_is_ended_when_the_grace_is_over(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)

    play.cancel(grace_s=0.3)

    assert play.finish().status == "cancelled"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and state.signal == "SIGTERM"
    assert play.processes() == []


def test_force_after_a_patient_cancel_does_not_wait(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    play.cancel(grace_s=600)

    play.cancel(grace_s=0)

    assert play.finish().status == "cancelled"


def test_a_run_that_waits_says_for_whom_and_can_be_cancelled(theatre: Stage) -> None:
    lock = Lock(slot_path(StateDir(theatre.settings.state_dir), "cpu", "0"))
    assert lock.try_acquire({"run_id": "d009", "stage": "train_fold_3"})
    play = theatre.play()

    assert until(lambda: "held by run d009 (train_fold_3)" in verdict(play.run, play.record).reason)
    assert play.status == "queued"
    play.cancel(grace_s=60)
    lock.release()

    assert play.finish().status == "cancelled"
    assert not play.file("log.txt").exists()


def test_a_stage_outlives_its_supervisor_and_its_success_counts(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="waits for go")
    assert until(play.begun)
    play.supervisor.kill()
    assert until(lambda: not play.supervisor_lives)
    assert play.status == "running"

    (play.run.path / "go").touch()

    result = play.finish()
    assert (result.status, result.metrics.dice) == ("success", 0.8)


def test_a_stage_that_its_supervisor_could_not_write_down_any_more_is_found(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="waits for go")
    assert until(play.begun)
    play.supervisor.kill()
    assert until(lambda: not play.supervisor_lives)
    play.file("state.json").unlink()
    assert play.status == "running"

    (play.run.path / "go").touch()

    assert play.finish().status == "success"


def test_what_was_not_begun_without_a_supervisor_is_interrupted(theatre: Stage) -> None:
    play = theatre.play(*FOLDS, train_fold_0="waits for go")
    assert until(play.begun)
    play.supervisor.kill()

    (play.run.path / "go").touch()

    assert play.finish().status == "interrupted"
    assert verdict(play.run, play.record).stages == {"train_fold_0": "success", "train_fold_1": "interrupted"}


def test_a_run_without_its_supervisor_can_still_be_cancelled(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    play.supervisor.kill()
    assert until(lambda: not play.supervisor_lives)

    assert play.cancel(grace_s=600) == "cancelled"
    assert play.processes() == []


def test_a_stage_that_does_nothing_any_more_is_ended_with_its_cause(theatre: Stage) -> None:
    theatre.patch.setenv("NNUNET_MCP_STALL_TIMEOUT_S", "0.6")

    play = theatre.play(train_fold_0="hangs")
    result = play.finish()

    assert result.status == "error"
    assert result.failure is not None and "did nothing" in result.failure.cause
    assert play.processes() == []


def test_the_supervisor_is_nobodys_child_and_needs_no_terminal(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    supervisor = play.supervisor

    assert supervisor.pid not in {child.pid for child in psutil.Process().children(recursive=True)}
    assert os.getsid(supervisor.pid) != os.getsid(0)
    assert supervisor.terminal() is None
    assert not any("torch" in region.path for region in supervisor.memory_maps()), "it must stay small"


def test_a_supervisor_that_is_asked_to_end_leaves_the_stage_alone(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="waits for go")
    assert until(play.begun)

    play.supervisor.send_signal(signal.SIGTERM)
    (play.run.path / "go").touch()

    assert play.finish().status == "success"


def test_two_runs_share_the_machine_in_the_order_they_came(theatre: Stage) -> None:
    first = theatre.play(train_fold_0="waits for go")
    assert until(first.begun)
    second = theatre.play()
    assert until(lambda: f"held by run {first.run.run_id}" in verdict(second.run, second.record).reason)

    (first.run.path / "go").touch()

    assert first.finish().status == second.finish().status == "success"


def test_a_supervisor_whose_run_folder_is_gone_ends_the_stage_and_itself(theatre: Stage) -> None:
    play = theatre.play(*FOLDS, train_fold_0="stops when asked")
    theatre.runs.remove(play)  # nothing of it is left to be tidied up
    assert until(play.begun)
    supervisor, worker = play.supervisor, processes_of(play.run.stage("train_fold_0").path)

    play.run.path.rename(play.run.path.with_name("removed"))
    for process in worker:
        process.kill()

    assert until(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)
    assert not play.run.path.exists()


def test_a_state_that_the_disk_refuses_is_written_later_and_the_other_stages_are_looked_after(theatre: Stage) -> None:
    play = theatre.play(stage("preprocess"), FOLDS[0], preprocess="waits for go", train_fold_0="hangs")
    assert until(lambda: play.begun() and play.file("hanging").exists())
    refused = play.file("state.json", "preprocess")
    refused.unlink()
    refused.mkdir()
    (play.run.path / "go").touch()
    assert until(lambda: "cannot write the state of preprocess" in play.run.supervisor_log.read_text(encoding="utf-8"))

    write_model(play.run.cancel_file, CancelRecord(requested_at=time.time(), grace_s=0))

    assert until(lambda: not play.processes(), timeout_s=20), "the other stage must still be ended"
    refused.rmdir()
    assert play.finish().status == "cancelled"
    assert verdict(play.run, play.record).stages == {"preprocess": "success", "train_fold_0": "cancelled"}


def test_a_slot_that_the_disk_refuses_is_waited_for(theatre: Stage) -> None:
    lock = slot_path(StateDir(theatre.settings.state_dir), "cpu", "0")
    lock.mkdir(parents=True)
    play = theatre.play()
    assert until(lambda: "cannot take a slot: " in verdict(play.run, play.record).reason), play.supervisor
    assert play.status == "queued" and str(lock) in verdict(play.run, play.record).reason

    lock.rmdir()

    assert play.finish().status == "success"


def test_a_gpu_that_nvidia_smi_does_not_list_yet_is_waited_for_with_its_words(theatre: Stage, tmp_path: Path) -> None:
    theatre.device = "cuda"
    theatre.patch.delenv("NNUNET_MCP_GPUS")
    theatre.patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    stand_in_nvidia_smi(tmp_path, "echo Unable to determine the device handle; exit 9")
    play = theatre.play()
    wanted = "waits for a slot: nvidia-smi lists no GPU (Unable to determine the device handle)"
    assert until(lambda: verdict(play.run, play.record).reason == wanted), verdict(play.run, play.record)

    stand_in_nvidia_smi(tmp_path, 'case "$*" in *query-gpu=index*) echo 0, GPU-11;; esac')

    assert play.finish().status == "success"


def test_a_driver_that_never_comes_back_stops_neither_the_other_stages_nor_a_cancel(
    theatre: Stage, tmp_path: Path
) -> None:
    theatre.device = "cuda"
    theatre.patch.delenv("NNUNET_MCP_GPUS")
    theatre.patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    stand_in_nvidia_smi(tmp_path, f"echo $$ >> {tmp_path}/asked; exec sleep 600")
    play = theatre.play(stage("train_fold_0"), stage("preprocess"), stage("cross_validation", "preprocess"))
    assert until((tmp_path / "asked").exists)

    assert until(lambda: verdict(play.run, play.record).stages["cross_validation"] == "success", timeout_s=8)
    assert verdict(play.run, play.record).reason == "waits for a slot: asks for the GPUs"
    play.cancel(grace_s=0)
    assert until(lambda: play.status == "cancelled", timeout_s=8)

    for pid in (tmp_path / "asked").read_text().split():
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.heavy
def test_while_a_run_waits_the_gpus_are_looked_at_more_and_more_rarely(theatre: Stage, tmp_path: Path) -> None:
    theatre.device = "cuda"
    theatre.patch.delenv("NNUNET_MCP_GPUS")
    theatre.patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    asked = tmp_path / "asked"
    busy = Card("GPU-11", used=20 * GIB)
    nvidia_smi_shows(tmp_path, busy, apps="GPU-11, 4242, python3, 20000", first=f"echo x >> {asked}")
    play = theatre.play()
    assert until(lambda: "pid 4242 (python3" in verdict(play.run, play.record).reason)

    begun = time.monotonic()
    assert until(lambda: len(asked.read_text().split()) >= 2 * 3, timeout_s=20), "three looks of two questions"

    assert time.monotonic() - begun > 4
    nvidia_smi_shows(tmp_path, Card("GPU-11"))
    assert play.finish().status == "success"
    state = play.run.stage("train_fold_0").state()
    assert state is not None
    assert state.devices == (
        GpuUsed(name="NVIDIA RTX 4090, 25.8 GB", uuid="GPU-11", driver="580.159.04", capability=(8, 9)),
    )
    assert until(play.run.provenance_file.exists)
    provenance = json.loads(play.run.provenance_file.read_text(encoding="utf-8"))
    assert provenance["machine"]["gpus"] == ["NVIDIA RTX 4090, 25.8 GB"]
    assert provenance["stages"][0]["devices"][0]["uuid"] == "GPU-11"


def test_the_memory_of_other_programs_that_goes_up_and_down_is_told_but_no_reason_to_ask_oftener(
    theatre: Stage,
) -> None:
    run, record = theatre.recorded(stage("train_fold_0"))
    supervision, looks = Supervision(run, record, theatre.settings), list[str]()
    theatre.patch.setattr(supervision.watch, "ask_often", lambda: looks.append("soon"))

    def told(reason: str) -> str | None:
        supervision._say_waiting(record.stages[0], reason)
        state = run.stage("train_fold_0").state()
        return state.waits_for if state else None

    for used in ("20", "21", "20"):
        reason = f"GPU 0 is used by others: {used} of its 26 GB are used by pid 7"
        assert told(reason) == reason
    assert looks == ["soon"]
    told("gpu slot 0 is held by run d001")
    assert looks == ["soon", "soon"]


def test_folds_of_a_run_share_the_cores_with_those_that_still_wait(theatre: Stage) -> None:
    folds = [stage(f"train_fold_{number}") for number in range(5)]
    run, record = theatre.recorded(*folds)
    supervision = Supervision(run, record.model_copy(update={"device": "cuda"}), theatre.settings)
    theatre.patch.setattr(supervision, "_places", lambda _: ([], "none"))

    supervision._acquire(folds[0])
    assert supervision.queues["train_fold_0"].beside == 5
    supervision.ended["train_fold_0"] = "success"
    supervision._acquire(folds[1])
    assert supervision.queues["train_fold_1"].beside == 4


def test_a_cancel_that_cannot_be_written_down_ends_the_run_at_once_and_says_so(theatre: Stage) -> None:
    play = theatre.play(*FOLDS, train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    theatre.patch.setattr("nnunet_mcp.runs.cancel.write_model", full_disk)

    answer = ask(theatre.settings, "nnunet_cancel", run_id=play.run.run_id)

    assert "No space left on device" in answer["detail"] and "ended at once" in answer["detail"]
    assert answer["status"] == play.status == "interrupted"
    assert play.processes() == [] and not play.supervisor_lives


def test_a_cancel_that_can_neither_be_written_down_nor_carried_out_says_what_to_do(theatre: Stage) -> None:
    play = theatre.play(train_fold_0="hangs")
    assert until(play.file("hanging").exists)
    theatre.patch.setattr("nnunet_mcp.runs.cancel.write_model", full_disk)
    theatre.patch.setattr("socket.gethostname", lambda: "another-node")

    with pytest.raises(Unavailable, match=r"cannot be written .*No space left.*then cancel again"):
        play.cancel(grace_s=0)

    assert play.processes()


@pytest.mark.parametrize(
    ("changed", "value", "said"),
    [
        pytest.param(
            "nnunet_mcp.runs.local.engine.SUPERVISOR", "nnunet_mcp.runs.nowhere", "No module named", id="no code"
        ),
        pytest.param("sys.executable", "/no/python", "No such file", id="no Python"),
    ],
)
def test_a_supervisor_that_cannot_start_is_told_at_once_and_its_run_is_gone(
    theatre: Stage, changed: str, value: str, said: str
) -> None:
    run, record = theatre.recorded(stage("train_fold_0"))
    theatre.patch.setattr(changed, value)

    with pytest.raises(Unavailable, match=f"could not be started: .*{said}.* Nothing was started"):
        LocalEngine().start(run, record, theatre.settings)

    assert list(StateDir(theatre.settings.state_dir).run_ids()) == []


def full_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_goes_wrong_with_one_stage_leaves_the_others_looked_after(
    theatre: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    """The supervisor in this process, with a fault of its own at the end of the first stage."""
    run, record = theatre.recorded(stage("preprocess"), FOLDS[0], train_fold_0="waits for go")

    def failing(child: Child, code: int, **options: Any) -> StageState:
        if child.spec.name == "preprocess":
            (run.path / "go").touch()
            raise ValueError("a fault of ours")
        return ended_state(child, code, **options)

    theatre.patch.setattr("nnunet_mcp.runs.local.supervise.ended_state", failing)
    Supervision.of(str(run.path)).carry_out()

    found = verdict(run, record)
    assert found.stages == {"preprocess": "interrupted", "train_fold_0": "success"}
    assert found.failure is not None and "ValueError: a fault of ours" in found.failure.evidence
    assert "a fault of ours" in capfd.readouterr().out


def old_model(record: RunRecord) -> FoldFiles:
    """A finished model where the run's training is to write."""
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)
    fold.final.write_text("the old model", encoding="utf-8")
    return fold


@pytest.mark.parametrize("supervised", [True, False])
def test_a_model_that_was_to_be_replaced_has_its_place_again_when_nothing_came(
    theatre: Stage, supervised: bool
) -> None:
    run, record = theatre.recorded(stage("train_fold_0"), train_fold_0="replaces a model")
    fold = old_model(record)
    theatre.runs.append(play := Play(run, record))
    LocalEngine().start(run, record, theatre.settings)
    assert until(play.file("hanging").exists)
    assert not fold.final.exists() and kept(fold)[0].final.read_text(encoding="utf-8") == "the old model"

    if not supervised:
        play.supervisor.kill()
        assert until(lambda: not play.supervisor_lives)
    play.cancel(grace_s=0)

    assert until(lambda: fold.final.exists()) and not kept(fold)
    assert fold.final.read_text(encoding="utf-8") == "the old model"
    assert play.finish().status == "cancelled"


def test_a_model_that_was_to_be_replaced_is_kept_beside_what_can_be_gone_on_with(theatre: Stage) -> None:
    run, record = theatre.recorded(stage("train_fold_0"), train_fold_0="replaces a model and saves")
    fold = old_model(record)
    theatre.runs.append(play := Play(run, record))
    LocalEngine().start(run, record, theatre.settings)
    assert until(play.file("hanging").exists)

    play.cancel(grace_s=0)

    assert play.finish().status == "cancelled"
    assert fold.latest.exists() and not fold.final.exists()
    assert [old.path.name for old in kept(fold)] == [f"old_fold_0.{record.run_id}"]
    told = ask(theatre.settings, "nnunet_progress", run_id=record.run_id)["next_step"]
    assert "continue_training=true" in told and f"kept in old_fold_0.{record.run_id}" in told


def test_where_a_kill_left_no_model_the_refusal_says_how_to_have_the_old_one_back(theatre: Stage) -> None:
    _, record = theatre.recorded(stage("train_fold_0"))
    fold = old_model(record)
    keep(fold, record.run_id)

    assert way_back(fold) == {"run_id": record.run_id, "name": f"old_fold_0.{record.run_id}"}
    assert for_agents(before(**(way_back(fold) or {}))) == (
        f"The model before is kept in old_fold_0.{record.run_id}: nnunet_cancel(run_id='{record.run_id}') puts it back."
    )
    put_back(record, record.stages[0])
    assert fold.final.exists() and way_back(fold) is None


def test_what_is_kept_is_not_put_over_another_runs_training(theatre: Stage) -> None:
    _, record = theatre.recorded(stage("train_fold_0"))
    fold = old_model(record)
    keep(fold, record.run_id)
    fold.path.mkdir()
    fold.owner_file.write_text("another run", encoding="utf-8")

    put_back(record, record.stages[0])

    assert fold.owner() == "another run" and kept(fold)
