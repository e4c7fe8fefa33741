"""A real Slurm with a stand-in for nnU-Net: whatever happens to jobs, nodes and the controller, a run is not lost."""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.runs.cancel import request_cancel
from nnunet_mcp.runs.engines import engine_of, verdict
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.slurm import evidence, listing
from nnunet_mcp.runs.store import find_run, new_run_id, record_run
from nnunet_mcp.schemas.records import StageSpec, StageState
from nnunet_mcp.schemas.results import Result
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.helping import helped
from tests.kit.lab import Lab, stand_in_python, until
from tests.kit.play import PlayedRun
from tests.kit.slurm_cluster import OTHER_USER, Cluster, running_cluster, why_not
from tests.kit.tiny import ask, make_dataset, record_of, stage
from tests.tools.following.hearers import PASSWORD, webhook

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(bool(why_not()), reason=why_not())]
FOLDS = stage("train_fold_0"), stage("train_fold_1"), stage("train_fold_2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """For all tests here."""
    with running_cluster() as found:
        yield found


@dataclass
class Play(PlayedRun):
    """One run on the cluster."""

    cluster: Cluster

    @property
    def reason(self) -> str:
        return verdict(self.run, self.record).reason

    def job(self, name: str = "train_fold_0") -> str:
        jobs = self.run.jobs()
        assert jobs is not None
        return jobs.jobs[name]

    def says(self, name: str, word: str) -> bool:
        return word in self.cluster.run("squeue", "-h", "-t", "all", "-j", self.job(name), "-o", "%T %r %N")

    def started_again(self, name: str = "train_fold_0", **changes: str) -> bool:
        """Whether Slurm has put the job back into the queue; it is let go at once."""
        if not self.says(name, "PENDING"):
            return False
        self.cluster.hurry(self.job(name), **changes)
        return True

    def finish(self, *, timeout_s: float = 40) -> Result:
        return super().finish(timeout_s=timeout_s)


@dataclass
class Theatre:
    """Where runs are played."""

    settings: Settings
    patch: pytest.MonkeyPatch
    cluster: Cluster
    plays: list[Play] = field(default_factory=list)

    def play(self, *stages: StageSpec, options: dict[str, str] | None = None, **parts: str) -> Play:
        self.patch.setenv("NNUNET_MCP_SLURM_SETUP", f"export STAND_IN={shlex.quote(json.dumps(parts))}")
        found = record_of(
            self.settings,
            *stages,
            run_id=new_run_id(1, "2d", "0"),
            engine="slurm",
            slurm={"memory": "200M", **(options or {})},
        )
        run, _ = record_run(StateDir(self.settings.state_dir), found, ["fold"], repeat_window_s=0)
        engine_of(found).start(run, found, Settings())
        self.plays.append(Play(run, found, self.cluster))
        return self.plays[-1]


@pytest.fixture
def theatre(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Theatre]:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "real work").mkdir()
    (tmp_path / "my work").symlink_to(tmp_path / "real work")  # as a home on a cluster often is
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / "my work" / name))
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path)))
    monkeypatch.setattr(listing, "FRESH_S", 0.3)
    monkeypatch.setattr(listing, "SILENT_S", 0.3)
    monkeypatch.setattr(evidence, "FILE_LAG_S", 1.0)
    settings = Settings()
    settings.create_folders()
    found = Theatre(settings, monkeypatch, cluster)
    yield found
    for play in found.plays:
        request_cancel(play.run, play.record, grace_s=0)
    with contextlib.suppress(Exception):
        cluster.run("scancel", "--user=root", f"--user={OTHER_USER}")
    assert until(lambda: not cluster.run("squeue", "-h"), timeout_s=30)


def test_stages_are_jobs_that_follow_each_other_and_the_last_one_writes_the_result(theatre: Theatre) -> None:
    theatre.patch.setenv("NNUNET_MCP_SLURM_SBATCH", "--comment='our project'")
    names = [spec.name for spec in FOLDS]
    folds = [stage(name, "preprocess") for name in names]
    play = theatre.play(
        stage("preprocess"),
        *folds,
        stage("cross_validation", *names),
        options={"parallel": "1"},
        preprocess="waits for go",
    )
    assert until(lambda: play.begun("preprocess"))
    assert verdict(play.run, play.record).stages["cross_validation"] == "queued"

    (play.run.path / "go").touch()
    result = play.finish()

    assert (result.status, result.metrics.dice) == ("success", 0.8)
    assert until(play.run.provenance_file.exists)
    assert Result.model_validate_json(play.run.result_file.read_bytes()) == result
    times = [time for name in names if (state := play.run.stage(name).state()) for time in times_of(state)]
    assert len(times) == 6 and times == sorted(times), "parallel=1: one after the other"
    assert theatre.cluster.jobs().count(f"{play.run.run_id}:preprocess") == 1
    assert theatre.cluster.run("squeue", "-h", "-t", "all", "-j", play.job("preprocess"), "-o", "%k") == "our project"


def times_of(state: StageState) -> tuple[float, float]:
    """When a stage began and ended."""
    assert state.started_at is not None and state.ended_at is not None
    return state.started_at, state.ended_at


def test_what_fails_says_why_and_what_needs_it_never_starts(theatre: Theatre) -> None:
    play = theatre.play(stage("train_fold_0"), stage("cross_validation", "train_fold_0"), train_fold_0="fails")

    result = play.finish()

    assert result.status == "error" and result.failure is not None
    assert result.failure.cause == "the label 7 is not declared"
    assert until(lambda: play.says("cross_validation", "CANCELLED"))
    assert verdict(play.run, play.record).stages == {"train_fold_0": "error", "cross_validation": "interrupted"}


def test_a_job_whose_python_does_not_start_is_an_error_with_its_own_words(theatre: Theatre) -> None:
    theatre.patch.setattr(sys, "executable", "/nowhere/python")

    result = theatre.play().finish()

    assert result.status == "error" and result.failure is not None
    assert "/nowhere/python" in result.failure.evidence


def test_a_training_near_its_time_limit_saves_and_goes_on_in_the_queue(theatre: Theatre) -> None:
    after = stage("cross_validation", "train_fold_0")
    play = theatre.play(stage("train_fold_0"), after, train_fold_0="goes on after a pause")
    assert until(play.begun)

    theatre.cluster.run("scancel", "--batch", "--signal=USR1", play.job())  # as --signal=B:USR1@600 does

    assert until(lambda: "attempt 1 reached the time limit" in play.reason)
    assert until(lambda: play.says("train_fold_0", "PENDING BeginTime"))
    assert play.status == "queued" and play.says("cross_validation", "PENDING Dependency")
    assert play.started_again()
    assert play.finish().status == "success"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and state.attempt == 2


def test_a_warning_that_comes_before_the_job_can_hear_it_does_no_harm(theatre: Theatre) -> None:
    theatre.patch.setattr(sys, "executable", str(_slow_python(theatre.settings.folder("raw"))))
    play = theatre.play()
    assert until(play.run.stage("train_fold_0").job_log.exists)

    theatre.cluster.run("scancel", "--batch", "--signal=USR1", play.job())

    assert play.finish().status == "success"


def _slow_python(folder: Path) -> Path:
    program = folder / "slow python"
    program.write_text(f'#!/bin/sh\nsleep 1\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


def test_a_time_limit_too_short_to_save_anything_is_not_tried_for_ever(theatre: Theatre) -> None:
    play = theatre.play(train_fold_0="saves nothing")
    assert until(play.begun)

    theatre.cluster.run("scancel", "--batch", "--signal=USR1", play.job())

    result = play.finish()
    assert result.status == "error" and result.failure is not None
    assert "too short" in result.failure.cause and "time=" in result.failure.remedy


def test_the_number_of_attempts_is_bounded(theatre: Theatre) -> None:
    play = theatre.play(options={"attempts": "1"}, train_fold_0="waits for go")
    assert until(play.begun)

    theatre.cluster.run("scontrol", "requeue", play.job())
    assert until(play.started_again)

    result = play.finish()
    assert result.status == "interrupted" and result.failure is not None
    assert "started 1 times" in result.failure.cause


def test_a_job_that_is_cancelled_outside_is_cancelled_and_says_by_whom(theatre: Theatre) -> None:
    play = theatre.play(*FOLDS, stage("cross_validation", *(spec.name for spec in FOLDS)), train_fold_0="hangs")
    assert until(play.begun)

    theatre.cluster.run("scancel", f"--name={play.run.run_id}:train_fold_0")

    result = play.finish()
    assert result.status == "cancelled" and result.failure is not None
    assert "scancel" in result.failure.cause and result.failure.resume


def test_a_cancel_takes_jobs_out_of_the_queue_and_lets_the_running_one_save(theatre: Theatre) -> None:
    play = theatre.play(
        stage("train_fold_0"), stage("cross_validation", "train_fold_0"), train_fold_0="stops when asked"
    )
    assert until(play.begun)

    request_cancel(play.run, play.record, grace_s=60)

    assert play.finish().status == "cancelled"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and (state.status, state.exit_code) == ("cancelled", 1)
    assert until(lambda: play.says("cross_validation", "CANCELLED"))


def test_a_forced_cancel_ends_everything_at_once(theatre: Theatre) -> None:
    play = theatre.play(*FOLDS, train_fold_0="hangs", train_fold_1="hangs", train_fold_2="hangs")
    assert until(play.begun)

    request_cancel(play.run, play.record, grace_s=0)

    assert play.finish().status == "cancelled"
    assert request_cancel(play.run, play.record, grace_s=0) == "cancelled", "asking again is fine"


def test_a_job_goes_on_elsewhere_when_its_node_fails(theatre: Theatre) -> None:
    play = theatre.play(train_fold_0="waits for go")
    assert until(play.begun)
    assert until(lambda: play.says("train_fold_0", "node"))
    node = theatre.cluster.run("squeue", "-h", "-j", play.job(), "-o", "%N")

    theatre.cluster.kill_node(node)
    assert until(lambda: play.status == "queued", timeout_s=40), verdict(play.run, play.record)
    (play.run.path / "go").touch()
    assert until(play.started_again)

    assert play.finish().status == "success"
    state = play.run.stage("train_fold_0").state()
    assert state is not None and state.attempt == 2
    theatre.cluster.start_node(node)


def test_a_job_that_another_one_displaces_waits_and_goes_on(theatre: Theatre) -> None:
    play = theatre.play(train_fold_0="waits for go")
    assert until(play.begun)

    others_job(theatre.cluster, "--partition=urgent", "--nodes=2", "--exclusive")
    assert until(lambda: play.status == "queued"), verdict(play.run, play.record)
    theatre.cluster.run("scancel", f"--user={OTHER_USER}")
    (play.run.path / "go").touch()
    assert until(play.started_again)

    assert play.finish().status == "success"


def test_jobs_of_others_are_waited_for_and_left_alone(theatre: Theatre) -> None:
    others_job(theatre.cluster, "--partition=gpu", "--nodes=2", "--exclusive")
    play = theatre.play()

    assert until(lambda: "PENDING (Resources): no node is free" in play.reason)
    assert play.status == "queued"
    assert request_cancel(play.run, play.record, grace_s=60) in ("queued", "cancelled")

    assert play.finish().status == "cancelled"
    assert theatre.cluster.run("squeue", "-h", f"--user={OTHER_USER}", "-o", "%T") == "RUNNING"


def others_job(cluster: Cluster, *options: str) -> None:
    """A job of another user that sleeps on the nodes."""
    command = ("sbatch", f"--uid={OTHER_USER}", "--chdir=/tmp", "--output=/dev/null", *options, "--wrap=sleep 600")
    cluster.run(*command)
    assert until(lambda: "RUNNING" in cluster.run("squeue", "-h", f"--user={OTHER_USER}", "-o", "%T"))


def test_without_the_controller_a_run_is_as_it_was_and_says_since_when(theatre: Theatre) -> None:
    play = theatre.play(stage("train_fold_0"), stage("train_fold_1", "train_fold_0"), train_fold_0="waits for go")
    assert until(play.begun)
    assert play.status == "running"

    theatre.cluster.stop_controller()
    try:
        assert until(lambda: "unknown: Slurm does not answer" in play.reason)
        assert play.status == "running" and "last seen train_fold_0 RUNNING" in play.reason
        (play.run.path / "go").touch()
        assert until(lambda: verdict(play.run, play.record).stages["train_fold_0"] == "success")
        assert verdict(play.run, play.record).status == "queued"
    finally:
        theatre.cluster.start_controller()

    assert play.finish().status == "success"


def test_what_slurm_refuses_was_never_started(theatre: Theatre) -> None:
    with pytest.raises(Refused, match=r"invalid partition specified: nowhere.*nnunet_preflight"), helped():
        theatre.play(options={"partition": "nowhere"})

    assert list(StateDir(theatre.settings.state_dir).run_ids()) == []


def test_a_server_that_is_killed_while_it_submits_neither_loses_nor_doubles_a_job(theatre: Theatre) -> None:
    """Its sbatch kills it after the second job is in the queue and before anybody wrote that down."""
    make_dataset(theatre.settings.folder("raw"), "Dataset001_Tiny")
    theatre.patch.setenv("NNUNET_MCP_SLURM_SETUP", "export STAND_IN={}")
    theatre.patch.setenv("NNUNET_MCP_ENGINE", "slurm")
    theatre.patch.setenv("NNUNET_MCP_SLURM_OPTIONS", "memory=200M")
    lab = Lab(theatre.settings.folder("raw").parent)
    path = os.environ["PATH"]
    theatre.patch.setenv("PATH", f"{_sbatch_that_kills(theatre.settings.folder('raw').parent)}:{path}")

    with pytest.raises(BaseException):  # noqa: B017 - the server is gone, however the client says that
        lab.call("nnunet_training", dataset_id=1, configuration="2d", device="cpu")
    theatre.patch.setenv("PATH", path)
    (run_id,) = StateDir(theatre.settings.state_dir).run_ids()
    run, record = find_run(StateDir(theatre.settings.state_dir), run_id)
    cut_off = run.jobs()
    assert cut_off is not None and len(cut_off.jobs) == 1 and not cut_off.complete
    theatre.plays.append(Play(run, record, theatre.cluster))

    result = lab.finish(run_id, timeout_s=60)

    assert result["status"] == "success", result
    wanted = [f"{run_id}:{spec.name}" for spec in record.stages]
    assert sorted(name for name in theatre.cluster.jobs() if name.startswith(run_id)) == sorted(wanted)


def test_a_run_is_told_by_a_process_on_the_login_node(theatre: Theatre) -> None:
    """Nodes often have no way out, and job scripts can be read by others."""
    make_dataset(theatre.settings.folder("raw"), "Dataset001_Tiny")
    theatre.patch.setenv("NNUNET_MCP_SLURM_SETUP", "export STAND_IN={}")
    theatre.patch.setenv("NNUNET_MCP_ENGINE", "slurm")
    theatre.patch.setenv("NNUNET_MCP_SLURM_OPTIONS", "memory=200M")
    with webhook() as web:
        theatre.patch.setenv("NNUNET_MCP_NOTIFY", web.address)
        run_id = ask(Settings(), "nnunet_training", dataset_id=1, configuration="2d", fold="0", device="cpu")["run_id"]
        run, record = find_run(StateDir(theatre.settings.state_dir), run_id)
        theatre.plays.append(Play(run, record, theatre.cluster))
        assert until(lambda: bool(web.got), timeout_s=180)

    assert [message.title for message in web.got] == ["Dataset001_Tiny 2d fold 0 has finished"]
    assert [path for path in run.path.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()] == []


def _sbatch_that_kills(folder: Path) -> Path:
    program = folder / "bin" / "sbatch"
    program.parent.mkdir()
    count = shlex.quote(str(folder / "count"))
    program.write_text(
        f'#!/bin/sh\nPATH="${{PATH#*:}}" sbatch "$@" && echo >> {count}\n'
        f'if [ "$(wc -l < {count})" = 2 ]; then kill -9 $PPID; fi\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program.parent


def test_a_submission_that_nobody_could_finish_goes_on_when_slurm_answers_again(theatre: Theatre) -> None:
    theatre.cluster.stop_controller()
    try:
        play = theatre.play()
        assert play.status == "queued" and "Slurm does not answer" in play.reason
    finally:
        theatre.cluster.start_controller()
    time.sleep(listing.SILENT_S)

    engine_of(play.record).go_on_starting(play.run, play.record, Settings())

    assert play.finish().status == "success"
