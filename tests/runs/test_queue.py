"""Who is next on this machine: people let a run go first, hold it, or start it after another. Stand-ins for nnU-Net."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.engines import engine_of, verdict
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local import turn as local_turn
from nnunet_mcp.runs.local.engine import LocalEngine
from nnunet_mcp.runs.local.turn import Turn
from nnunet_mcp.runs.processes import kill_all
from nnunet_mcp.runs.store import new_run_id, record_run
from nnunet_mcp.schemas.records import EngineRecord, StageSpec, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching import runs
from tests.kit.lab import Answer, ToolRefused, stand_in_python, until
from tests.kit.play import PlayedRun
from tests.kit.terminal import typed
from tests.kit.tiny import ask, make_dataset, record_of, stage

# More than Linux gives (PID_MAX_LIMIT).
NO_PID = 1 << 23


@dataclass
class Queue:
    """Runs that want the one CPU slot of this machine."""

    settings: Settings
    patch: pytest.MonkeyPatch
    plays: list[PlayedRun] = field(default_factory=list)

    def play(
        self, part: str = "succeeds", *folds: StageSpec, after: PlayedRun | None = None, starts: bool = True
    ) -> PlayedRun:
        """A training of one fold, or of these, each with a model of its own."""
        self.patch.setenv("STAND_IN", json.dumps({"train_fold_0": part}))
        asked = {"after": after.run.run_id} if after else {}
        record = record_of(self.settings, *folds, run_id=new_run_id(1, "2d", "0"), request=asked)
        run, _ = record_run(StateDir(self.settings.state_dir), record, [record.run_id], repeat_window_s=0)
        self.plays.append(PlayedRun(run, record))
        if starts:
            engine_of(record).start(run, record, self.settings)
        return self.plays[-1]

    def busy(self) -> PlayedRun:
        """One that has the slot until it is told to go on."""
        play = self.play("waits for go")
        assert until(play.begun)
        return play

    def waiting(self, word: str, *, after: PlayedRun | None = None) -> PlayedRun:
        """One that waits with this word in its reason."""
        play = self.play(after=after)
        assert until(lambda: word in reason(play)), reason(play)
        return play

    def move(self, play: PlayedRun, action: str) -> Answer:
        return ask(self.settings, "nnunet_queue", run_id=play.run.run_id, action=action)

    def progress(self, play: PlayedRun) -> Answer:
        return ask(self.settings, "nnunet_progress", run_id=play.run.run_id)


def reason(play: PlayedRun) -> str:
    return verdict(play.run, play.record).reason


def go(play: PlayedRun) -> None:
    (play.run.path / "go").touch()


def began_at(play: PlayedRun) -> float:
    state = play.run.stage("train_fold_0").state()
    assert state is not None and state.started_at is not None
    return state.started_at


def kill_supervisor(play: PlayedRun) -> None:
    engine = play.run.engine()
    assert engine is not None
    psutil.Process(engine.supervisor.pid).kill()


@pytest.fixture
def queue(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Queue]:
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path_factory.mktemp("python"))))
    found = Queue(Settings(), monkeypatch)
    yield found
    for play in found.plays:
        engine = play.run.engine()
        if engine is not None and psutil.pid_exists(engine.supervisor.pid):
            kill_supervisor(play)
        kill_all(play.run.stage("train_fold_0").path)


def test_who_is_let_in_front_goes_before_those_who_wait_longer(queue: Queue) -> None:
    busy = queue.busy()
    older, younger = queue.waiting("is held by run"), queue.waiting("waits behind")
    last = queue.waiting(f"waits behind {older.run.run_id} and 1 more for a cpu slot")
    assert f"nnunet_queue(run_id='{last.run.run_id}', action='front')" in queue.progress(last)["next_step"]

    queue.move(younger, "front")
    answer = queue.move(last, "front")

    assert answer["status"] == "queued" and "goes before all other runs" in answer["detail"]
    assert until(lambda: f"waits behind {last.run.run_id} and 1 more" in reason(older)), reason(older)
    assert until(lambda: f"waits behind {last.run.run_id} for a cpu" in reason(younger)), "the last one is the first"
    go(busy)
    assert [play.ends() for play in (older, younger, last)] == ["success"] * 3
    assert began_at(last) < began_at(younger) < began_at(older)


def test_a_held_run_lets_others_pass_and_says_how_it_goes_on(queue: Queue) -> None:
    busy = queue.busy()
    held, other = queue.waiting("is held by run"), queue.waiting("waits behind")

    answer = queue.move(held, "hold")
    assert answer["detail"].startswith("Held: nothing more of it starts") and "it is held, until" in answer["detail"]
    release = f"nnunet_queue(run_id='{held.run.run_id}', action='release')"
    assert release in answer["next_step"] and release in queue.progress(held)["next_step"]
    go(busy)

    assert other.ends() == "success" and held.status == "queued"
    lines = {run["run_id"]: run["detail"] for run in ask(queue.settings, "nnunet_runs")["runs"]}
    assert "it is held" in lines[held.run.run_id]
    queue.move(held, "release")
    assert held.ends() == "success"


def test_held_is_said_when_it_is_so_also_where_a_stage_runs(queue: Queue) -> None:
    queue.patch.setattr(runs, "OBEYED_WITHIN_S", 0.1)
    busy = queue.play("waits for go", stage("train_fold_0"), stage("cross_validation", "train_fold_0"))
    assert until(busy.begun)
    waiting = queue.waiting("is held by run")
    engine = waiting.run.engine()
    assert engine is not None
    psutil.Process(engine.supervisor.pid).suspend()

    unseen, held = queue.move(waiting, "hold"), queue.move(busy, "hold")

    assert "was asked to hold, which does not show yet" in unseen["detail"] and "release" not in unseen["next_step"]
    assert held["detail"].startswith("Held: ") and held["detail"].endswith("A stage of it has begun, and goes on.")
    assert f"nnunet_queue(run_id='{busy.run.run_id}', action='release')" in held["next_step"]
    released = queue.move(busy, "release")
    assert released["detail"].startswith("Released") and "release" not in released["next_step"]


def test_what_does_not_wait_has_no_place_that_could_change(queue: Queue) -> None:
    busy = queue.busy()
    for action in ("front", "hold", "release"):
        with pytest.raises(ToolRefused, match=r"Everything of run .* has begun.*nnunet_cancel"):
            queue.move(busy, action)
    go(busy)
    assert busy.ends() == "success"

    with pytest.raises(ToolRefused, match=r"is success: it waits no more.*nnunet_results"):
        queue.move(busy, "front")
    with pytest.raises(ToolRefused, match="There is no run 'nowhere'"):
        ask(queue.settings, "nnunet_queue", run_id="nowhere", action="hold")

    assert not busy.run.queue_file.exists()


def test_the_terminal_holds_and_releases_a_run(queue: Queue) -> None:
    queue.busy()
    held = queue.waiting("is held by run")

    shown = typed("queue", held.run.run_id, "hold").stdout

    assert "nnunet-mcp queue" in shown and "release" in shown, shown
    assert until(lambda: "it is held" in reason(held))
    typed("queue", held.run.run_id, "release")
    assert until(lambda: "it is held" not in reason(held))


@pytest.mark.parametrize(
    ("end", "word"), [("fails", "failed"), ("is killed", "was interrupted"), ("is removed", "was removed")]
)
def test_what_follows_a_run_that_never_succeeds_ends_and_says_why(queue: Queue, end: str, word: str) -> None:
    first = queue.play("hangs" if end == "is removed" else end, starts=False)
    second = queue.waiting("waits until run", after=first)

    if end == "is removed":
        first.run.remove()
    else:
        queue.patch.setenv("STAND_IN", json.dumps({"train_fold_0": end}))
        LocalEngine().start(first.run, first.record, queue.settings)

    assert second.ends() == "cancelled"
    told = queue.progress(second)
    assert told["failure"]["cause"] == f"it was to start when run {first.run.run_id} has succeeded, which {word}"
    assert "wait for no other run" in told["failure"]["remedy"]
    again = f"nnunet_training(dataset_id=1, like='{second.run.run_id}')"
    assert again in told["next_step"], "without waiting again for what never comes"
    assert not second.run.stage("train_fold_0").log_file.exists()


def test_a_run_of_another_host_that_is_not_heard_of_for_a_moment_is_still_waited_for(queue: Queue) -> None:
    """A disk of the network hangs, or a clock is behind."""
    first = queue.play(starts=False)
    elsewhere = mark_of(os.getpid()).model_copy(update={"host": "another-host", "pid": NO_PID})
    write_model(first.run.engine_file, EngineRecord(supervisor=elsewhere))
    first.run.heartbeat_file.touch()
    os.utime(first.run.heartbeat_file, (1.0, 1.0))
    second = queue.waiting("has succeeded, which seems to be interrupted: runs on another host", after=first)
    turn = Turn(second.run, second.record)
    assert (look := turn.look(begun=False)) is not None and look.status == "queued"
    queue.patch.setattr(local_turn, "LOST_AFTER_S", 0.0)
    queue.patch.setattr(local_turn, "LOOK_EVERY_S", 0.0)
    assert (look := turn.look(begun=False)) is not None and look.failure is not None, "not for ever"
    assert look.status == "cancelled" and "which was interrupted" in look.failure.cause

    first.run.heartbeat_file.touch()
    assert until(lambda: reason(second).endswith("has succeeded")), reason(second)
    write_model(first.run.stage("train_fold_0").state_file, StageState(status="success"))

    assert second.ends() == "success"


def test_a_row_of_runs_that_follow_each_other_ends_with_the_first_that_fails(queue: Queue) -> None:
    first = queue.busy()
    second = queue.waiting("waits until run", after=first)
    third = queue.waiting(f"waits until run {second.run.run_id}", after=second)

    ask(queue.settings, "nnunet_cancel", run_id=second.run.run_id)

    assert second.ends() == third.ends() == "cancelled"
    assert reason(second) == "cancelled on request" and "which was cancelled" in reason(third)
    assert first.status == "running", "nobody stops what is followed"


def test_a_run_whose_supervisor_is_killed_while_it_waits_for_another_is_started_again_after_it(queue: Queue) -> None:
    first = queue.busy()
    second = queue.waiting("waits until run", after=first)
    queue.move(second, "hold")

    kill_supervisor(second)

    assert second.ends() == "interrupted"
    again = f"nnunet_training(dataset_id=1, like='{second.run.run_id}', after='{first.run.run_id}')"
    assert again in queue.progress(second)["next_step"]


def test_a_training_after_another_is_checked_when_it_is_asked_for(queue: Queue) -> None:
    make_dataset(queue.settings.folder("raw"), "Dataset001_Tiny")
    first = queue.play("waits for go", starts=False)
    wanted = {"dataset_id": 1, "configuration": "2d", "fold": "0", "device": "cpu"}
    ahead = ask(queue.settings, "nnunet_preflight", **wanted, after=first.run.run_id)
    assert f"It starts when run {first.run.run_id} has succeeded." in ahead["notes"]
    with pytest.raises(ToolRefused, match="There is no run 'nowhere'"):
        ask(queue.settings, "nnunet_training", **wanted, after="nowhere")
    with pytest.raises(ToolRefused, match=r"is no run of the same cluster.*start this one when"):
        ask(queue.settings, "nnunet_training", **wanted, after=first.run.run_id, engine="slurm")

    LocalEngine().start(first.run, first.record, queue.settings)
    second = ask(queue.settings, "nnunet_training", **wanted, after=first.run.run_id)
    like = ask(queue.settings, "nnunet_training", dataset_id=1, like=second["run_id"], fold="1")

    state = StateDir(queue.settings.state_dir)
    records = [state.run(answer["run_id"]).record() for answer in (second, like)]
    assert [record and record.after for record in records] == [first.run.run_id, None]
    queue.plays += [PlayedRun(state.run(record.run_id), record) for record in records if record]
    ask(queue.settings, "nnunet_cancel", run_id=first.run.run_id, force=True)
    with pytest.raises(ToolRefused, match=r"is cancelled: it will not succeed any more.*Start this one at once"):
        ask(queue.settings, "nnunet_training", **wanted, after=first.run.run_id, overwrite=True)
