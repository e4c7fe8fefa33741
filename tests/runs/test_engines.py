"""What every engine does alike, with a stand-in for nnU-Net: on this machine, and on a real Slurm if there is one."""

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest

import nnunet_mcp
from nnunet_mcp.errors import RunError
from nnunet_mcp.runs.cancel import request_cancel
from nnunet_mcp.runs.engine import Engine
from nnunet_mcp.runs.engines import ENGINES, engine_named, engine_of, verdict
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.processes import kill_all, processes_of
from nnunet_mcp.runs.result import compose_result
from nnunet_mcp.runs.slurm import evidence, listing
from nnunet_mcp.runs.status import HELD
from nnunet_mcp.runs.store import new_run_id, record_run
from nnunet_mcp.schemas.records import StageSpec
from nnunet_mcp.schemas.slurm import EngineName
from nnunet_mcp.settings import Settings
from tests.kit.lab import stand_in_python, until
from tests.kit.play import PlayedRun
from tests.kit.slurm_cluster import Cluster, running_cluster, why_not
from tests.kit.tiny import digest, record_of, stage

NEEDS_SLURM = [pytest.mark.heavy, pytest.mark.skipif(bool(why_not()), reason=why_not())]
SOURCES = Path(nnunet_mcp.__file__).parent
COMPARED = re.compile(r"\bengine\b[\w.]*\s*(?:==|!=|in)\s*[(\"']")


class Play(PlayedRun):
    """One run."""

    def started(self) -> bool:
        return self.begun() and self.status == "running"

    @property
    def reason(self) -> str:
        return verdict(self.run, self.record).reason

    def is_gone(self) -> bool:
        return not any(processes_of(self.run.stage(spec.name).path) for spec in self.record.stages)


@dataclass
class Place:
    """Where runs of one engine are played."""

    settings: Settings
    patch: pytest.MonkeyPatch
    name: EngineName = "local"
    options: dict[str, str] = field(default_factory=dict)
    plays: list[Play] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return engine_named(self.name)

    def cast(self, parts: dict[str, str]) -> None:
        self.patch.setenv("STAND_IN", json.dumps(parts))

    def recorded(self, *stages: StageSpec, parts: dict[str, str], fold: str = "fold", **fields: Any) -> Play:
        self.cast(parts)
        own = {"run_id": new_run_id(1, "2d", "0"), "engine": self.name, "slurm": self.options}
        record = record_of(self.settings, *stages, **{**own, **fields})
        run, _ = record_run(StateDir(self.settings.state_dir), record, [fold], repeat_window_s=0)
        self.plays.append(Play(run, record))
        return self.plays[-1]

    def play(self, *stages: StageSpec, **parts: str) -> Play:
        play = self.recorded(*stages, parts=parts)
        self.engine.start(play.run, play.record, self.settings)
        return play

    def play_after(self, other: Play, **parts: str) -> Play:
        """One that is to start when the other has succeeded."""
        play = self.recorded(parts=parts, fold="another", request={"after": other.run.run_id})
        self.engine.start(play.run, play.record, self.settings)
        return play

    def cannot_start(self) -> None:
        """Break what a start needs."""
        self.patch.setattr("sys.executable", "/no/python")

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Whoever knows whether the run lives cannot be asked: here it is on another host."""
        with self.patch.context() as patch:
            patch.setattr("socket.gethostname", lambda: "another-node")
            yield

    def clear(self) -> None:
        for play in self.plays:
            if play.run.path.exists():
                request_cancel(play.run, play.record, grace_s=0)
                kill_all(*(play.run.stage(spec.name).path for spec in play.record.stages))


@dataclass
class SlurmPlace(Place):
    """The same on a cluster."""

    cluster: Cluster = field(default_factory=lambda: Cluster(Path()))

    def cast(self, parts: dict[str, str]) -> None:
        self.patch.setenv("NNUNET_MCP_SLURM_SETUP", f"export STAND_IN={shlex.quote(json.dumps(parts))}")
        self.settings = Settings()

    def cannot_start(self) -> None:
        self.options = {**self.options, "partition": "nowhere"}

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        self.cluster.stop_controller()
        try:
            yield
        finally:
            self.cluster.start_controller()

    def clear(self) -> None:
        super().clear()
        assert until(lambda: not self.cluster.run("squeue", "-h"), timeout_s=30)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """For all tests here."""
    with running_cluster() as found:
        yield found


@pytest.fixture(params=["local", pytest.param("slurm", marks=NEEDS_SLURM)])
def place(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path)))
    if request.param == "local":
        found = Place(Settings(), monkeypatch)
    else:
        cluster: Cluster = request.getfixturevalue("cluster")
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(listing, "FRESH_S", 0.3)
        monkeypatch.setattr(listing, "SILENT_S", 0.3)
        monkeypatch.setattr(evidence, "FILE_LAG_S", 1.0)
        found = SlurmPlace(Settings(), monkeypatch, "slurm", {"memory": "200M"}, cluster=cluster)
    yield found
    found.clear()


def test_a_run_starts_runs_and_succeeds(place: Place) -> None:
    after = stage("cross_validation", "train_fold_0")
    play = place.play(stage("train_fold_0"), after, train_fold_0="waits for go")
    assert until(play.started)
    assert verdict(play.run, play.record).stages["cross_validation"] == "queued"

    (play.run.path / "go").touch()

    assert play.ends() == "success"
    assert compose_result(play.run, play.record, verdict(play.run, play.record)).metrics.dice == 0.8
    assert until(play.run.result_file.exists)


def test_a_cancelled_run_may_save_before_it_ends(place: Place) -> None:
    play = place.play(train_fold_0="stops when asked")
    assert until(play.started)

    request_cancel(play.run, play.record, grace_s=60)

    assert play.ends() == "cancelled"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and (state.exit_code, state.signal) == (1, None), "it ended by itself"


def test_a_forced_cancel_leaves_nothing_and_may_be_asked_for_again(place: Place) -> None:
    play = place.play(train_fold_0="hangs")
    assert until(play.started)

    request_cancel(play.run, play.record, grace_s=0)

    assert play.ends() == "cancelled" and until(play.is_gone)
    assert request_cancel(play.run, play.record, grace_s=0) == "cancelled"


def test_where_a_cancel_cannot_be_written_everything_ends_at_once(place: Place) -> None:
    play = place.play(train_fold_0="hangs")
    assert until(play.started)

    place.engine.end(play.run, play.record)

    assert play.ends() in ("cancelled", "interrupted") and until(play.is_gone)


def test_a_worker_that_is_killed_is_told(place: Place) -> None:
    play = place.play(train_fold_0="is killed")

    assert play.ends() == "interrupted"
    failure = verdict(play.run, play.record).failure
    assert failure is not None and failure.cause and failure.remedy


def test_a_stage_that_fails_says_why_and_what_needs_it_never_starts(place: Place) -> None:
    play = place.play(stage("train_fold_0"), stage("cross_validation", "train_fold_0"), train_fold_0="fails")

    assert play.ends() == "error"
    found = verdict(play.run, play.record)
    assert found.failure is not None and found.failure.cause == "the label 7 is not declared"
    assert found.stages["cross_validation"] == "interrupted"


def test_two_starts_of_one_run_start_one(place: Place) -> None:
    play = place.play(train_fold_0="waits for go")
    place.engine.start(play.run, play.record, place.settings)
    assert until(play.started)

    (play.run.path / "go").touch()

    assert play.ends() == "success"
    place.engine.go_on_starting(play.run, play.record, place.settings)
    log = play.run.stage("train_fold_0").log_file.read_text(encoding="utf-8")
    assert log.count("waits for go") == 1 and play.status == "success"


def test_a_start_that_was_cut_off_before_anything_is_finished_or_told(place: Place) -> None:
    """Here nothing goes on by itself: another run may have the folds by now."""
    play = place.recorded(parts={}, created_at=0.0)

    place.engine.go_on_starting(play.run, play.record, place.settings)

    assert play.ends() == {"local": "interrupted", "slurm": "success"}[place.name]
    assert place.play().ends() == "success", "the folds are free again"


def test_a_run_starts_when_the_one_that_it_follows_has_succeeded(place: Place) -> None:
    first = place.play(stage("train_fold_0"), stage("cross_validation", "train_fold_0"), train_fold_0="waits for go")
    assert until(first.started)
    second = place.play_after(first)
    assert until(lambda: f"waits until run {first.run.run_id} has succeeded" in second.reason), second.reason
    assert second.status == "queued" and not second.run.stage("train_fold_0").log_file.exists()

    (first.run.path / "go").touch()

    assert first.ends() == second.ends() == "success"
    before, own = first.run.stage("cross_validation").state(), second.run.stage("train_fold_0").state()
    assert before and own and before.ended_at and own.started_at and own.started_at >= before.ended_at
    assert place.play_after(first).ends() == "success", "what has succeeded is not waited for"


def test_a_run_that_follows_one_that_was_stopped_ends_with_words(place: Place) -> None:
    first = place.play(train_fold_0="stops when asked")
    assert until(first.started)
    second = place.play_after(first)
    assert until(lambda: "waits until run" in second.reason)

    request_cancel(first.run, first.record, grace_s=60)

    assert first.ends() == second.ends() == "cancelled"
    found = verdict(second.run, second.record)
    assert found.reason == f"it was to start when run {first.run.run_id} has succeeded, which was cancelled"
    assert found.failure is not None and found.failure.remedy and not second.run.cancel_file.exists()
    assert not second.run.stage("train_fold_0").log_file.exists()


def test_a_run_that_follows_one_that_loses_a_stage_ends_although_others_of_that_go_on(place: Place) -> None:
    """On a cluster the other folds go on."""
    folds = stage("train_fold_0"), stage("train_fold_1")
    first = place.play(*folds, train_fold_0="waits for go", train_fold_1="fails")
    assert until(first.started)
    second = place.play_after(first)
    (first.run.path / "go").touch()

    assert second.ends() == "cancelled" and "has succeeded, which failed" in second.reason, second.reason
    failure = verdict(second.run, second.record).failure
    assert failure is not None and failure.evidence == "the label 7 is not declared"
    assert first.ends() == "error"


def test_a_held_run_starts_when_it_is_released(place: Place) -> None:
    first = place.play(train_fold_0="waits for go")
    assert until(first.started)
    second = place.play_after(first)
    assert until(lambda: "waits until run" in second.reason)

    place.engine.move(second.run, second.record, "front", place.settings)
    place.engine.move(second.run, second.record, "hold", place.settings)
    assert until(lambda: HELD in second.reason), second.reason
    (first.run.path / "go").touch()
    assert first.ends() == "success"
    after = place.recorded(stage("preprocess"), parts={}, fold="third")
    place.engine.start(after.run, after.record, place.settings)
    assert after.ends() == "success", "nobody waits behind a held run"
    assert second.status == "queued" and HELD in second.reason

    place.engine.move(second.run, second.record, "release", place.settings)

    assert second.ends() == "success"


def test_from_silence_nothing_is_concluded(place: Place) -> None:
    play = place.play(train_fold_0="waits for go")
    assert until(play.started)

    with place.silence():
        assert place.engine.evidence(play.run, play.record).stages["train_fold_0"].state is not None
        assert play.status == "running"
    (play.run.path / "go").touch()

    assert play.ends() == "success"


def test_what_cannot_be_started_is_gone_again(place: Place) -> None:
    place.cannot_start()

    with pytest.raises(RunError, match="Nothing was started"):
        place.play()

    assert list(StateDir(place.settings.state_dir).run_ids()) == []


def test_a_preview_writes_nothing(place: Place) -> None:
    record = record_of(
        place.settings, stage("preprocess"), stage("train_fold_0"), engine=place.name, slurm=place.options
    )
    before = digest(place.settings.state_dir)

    found = place.engine.preview(record, place.settings)

    assert not found.problems and digest(place.settings.state_dir) == before
    assert not StateDir(place.settings.state_dir).run(record.run_id).path.exists()


@pytest.mark.parametrize("name", get_args(EngineName))
def test_every_engine_that_may_be_asked_for_is_there(name: EngineName, settings: Settings) -> None:
    engine = engine_named(name)

    assert name in ENGINES and engine.name == name
    record = record_of(settings, stage("train_fold_0"), stage("train_fold_1"), engine=name)
    assert engine_of(record).name == name and engine.lanes(record, 2, settings) in (1, 2)
    assert engine.options((), settings) == {} and engine.device("cpu", settings)[0] == "cpu"


def test_nothing_but_the_registry_asks_which_engine_it_is() -> None:
    rooms = ("nnunet", "runs", "tools", "server", "worker")
    files = (path for room in rooms for path in (SOURCES / room).rglob("*.py"))
    assert not [str(path) for path in files if COMPARED.search(path.read_text(encoding="utf-8"))]
