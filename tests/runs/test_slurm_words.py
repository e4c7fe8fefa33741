"""What needs no Slurm: options, job scripts, what its commands print, and its states in our vocabulary."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from nnunet_mcp.files import write_model, write_text
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.cancel import request_cancel
from nnunet_mcp.runs.engines import verdict
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.local.engine import LocalEngine
from nnunet_mcp.runs.slurm import listing
from nnunet_mcp.runs.slurm.commands import SlurmRefused, SlurmSilent
from nnunet_mcp.runs.slurm.engine import SlurmEngine
from nnunet_mcp.runs.slurm.job_states import last_word
from nnunet_mcp.runs.slurm.listing import Job, parse_sacct, parse_squeue
from nnunet_mcp.runs.slurm.options import limit_s, options_of, warn_s
from nnunet_mcp.runs.slurm.script import job_script
from nnunet_mcp.runs.slurm.submit import dependency
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import CancelRecord, EngineRecord, JobsRecord, Outcome, RunRecord, StageState, Status
from nnunet_mcp.schemas.slurm import OPTIONS, parse_options
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.machine_checks import machine_checks
from nnunet_mcp.tools.watching import runs
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset, record_of, stage

GOOD = {
    "partition": "gpu,gpu-long",
    "cpu_partition": "cpu",
    "account": "lab_7",
    "qos": "normal",
    "reservation": "course",
    "gres": "gpu:a100:2",
    "gpus": "a100:2",
    "constraint": "a100|v100&nvlink",
    "cpus": "16",
    "memory": "64G",
    "time": "1-12:00:00",
    "parallel": "2",
    "attempts": "9",
    "warn": "900",
}


def test_every_option_takes_what_clusters_use() -> None:
    assert parse_options(f"{name}={value}" for name, value in GOOD.items()) == GOOD
    assert GOOD.keys() == OPTIONS.keys()


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    "value",
    ["", "-x", "--wrap=id", "a b", "a\n#SBATCH --uid=0", "a\n", "$(id)", "`id`", "a;id", "'a", 'a"', "a#b", "%j"],
)
def test_no_value_leaves_its_place_in_the_script(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        parse_options([f"{name}={value}"])


@given(st.sampled_from(sorted(OPTIONS)), st.text())
def test_whatever_is_taken_is_one_plain_word(name: str, value: str) -> None:
    try:
        found = parse_options([f"{name}={value}"])[name]
    except ValueError:
        return
    assert found == value and found.isascii() and not found.startswith("-")
    assert not set(found) & set(" \t\r\n\"'`$;<>#%\\!~?")


def test_a_misspelt_option_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValidationError, match="did you mean 'partition'"):
        TrainingRequest.model_validate({"dataset_id": 1, "slurm": ["partitoin=gpu"]})
    for lines in ("setup=module load cuda", "sbatch=--wrap=id"):
        with pytest.raises(ValidationError, match="is no Slurm option"):
            TrainingRequest.model_validate({"dataset_id": 1, "slurm": [lines]})


def test_options_of_slurm_and_the_engine_have_to_agree(settings: Settings) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    for engine in ({}, {"engine": "local"}):
        with pytest.raises(ToolRefused, match="Add engine='slurm'"):
            ask(settings, "nnunet_training", dataset_id=1, slurm=["partition=gpu"], **engine)


def test_a_request_wins_over_the_server_option_by_option() -> None:
    own = Settings(slurm_options="partition=gpu time=24:00:00 gres=gpu:a100:1")

    assert options_of(own, ["time=10"]) == {"partition": "gpu", "time": "10", "gres": "gpu:a100:1"}
    assert options_of(own, ["gpus=2"]) == {"partition": "gpu", "time": "24:00:00", "gpus": "2"}
    assert options_of(Settings(slurm_options="gpus=a100:1"), ["gres=gpu:h100"]) == {"gres": "gpu:h100"}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("2:00:30", 7230),
        ("1-0", 86400),
        ("1-12:30", 131400),
        ("1-00:00:05", 86405),
    ],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(time: str, seconds: int) -> None:
    assert parse_options([f"time={time}"]) == {"time": time}
    assert limit_s(time) == seconds


def test_the_warning_comes_ten_minutes_ahead_or_a_quarter_of_a_short_limit() -> None:
    assert (warn_s({}), warn_s({"time": "24:00:00"}), warn_s({"time": "20"})) == (600, 600, 300)
    assert warn_s({"time": "20", "warn": "900"}) == 900


def script_of(name: str = "train_fold_0", settings: Settings | None = None, **fields: Any) -> str:
    settings = settings or Settings()
    record = record_of(settings, stage(name), engine="slurm", **{"device": "cuda", **fields})
    return job_script(RunDir(Path("/state of the art/runs/d001-2d-f0-tttt")), record, record.stages[0], settings)


def test_a_script_says_everything_that_the_job_needs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("nnUNet_extTrainer", "/my trainers")
    monkeypatch.setenv("NNUNET_MCP_HTTP_TOKEN", "a secret")
    own = Settings(slurm_setup="module load cuda", slurm_sbatch="--mail-type=FAIL --comment='two words'")

    text = script_of(settings=own, slurm={"partition": "gpu", "time": "24:00:00"}, num_gpus=2)

    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash" and lines.index("module load cuda") < lines.index(
        "export nnUNet_extTrainer='/my trainers'"
    )
    for wanted in ("--job-name=d001-2d-f0-tttt:train_fold_0", "--export=NONE", "--requeue", "--signal=B:USR1@600"):
        assert f"#SBATCH {wanted}" in lines
    for wanted in ("--partition=gpu", "--time=24:00:00", "--gres=gpu:2", "--mail-type=FAIL", "--comment='two words'"):
        assert f"#SBATCH {wanted}" in lines
    assert f"export nnUNet_results={tmp_path}/results" in lines
    assert lines[-1].endswith("'/state of the art/runs/d001-2d-f0-tttt' train_fold_0")
    assert "a secret" not in text and "module load" not in "".join(lines[-3:])
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=True).returncode == 0


def test_only_stages_that_use_a_gpu_ask_for_one(settings: Settings) -> None:
    options = {"partition": "gpu", "cpu_partition": "cpu", "constraint": "a100"}

    assert "--gres=gpu:1" in script_of(slurm=options) and "--constraint=a100" in script_of(slurm=options)
    assert "--gpus=a100:1" in script_of(slurm={"gpus": "a100:1"}) and "--gres" not in script_of(
        slurm={"gpus": "a100:1"}
    )
    for text in (script_of("preprocess", slurm=options), script_of("cross_validation", slurm=options)):
        assert "--gres" not in text and "--constraint" not in text and "--partition=cpu" in text
    assert "--gres" not in script_of(slurm=options, device="cpu") and "--partition=gpu" in script_of(slurm=options)


@pytest.mark.parametrize(
    ("slurm", "num_gpus", "line"),
    [
        ({}, 2, "--gres=gpu:2"),
        ({"gres": "gpu:a100:1"}, 2, "--gres=gpu:a100:2"),
        ({"gres": "gpu:8"}, 1, "--gres=gpu:1"),
        ({"gres": "gpu"}, 1, "--gres=gpu:1"),
        ({"gres": "gpu:a100"}, 4, "--gres=gpu:a100:4"),
        ({"gres": "gpu:a100_3g.20gb:1,lscratch:100"}, 1, "--gres=gpu:a100_3g.20gb:1,lscratch:100"),
        ({"gres": "shard:4"}, 1, "--gres=shard:4"),
        ({"gres": "lscratch:100"}, 2, "--gres=gpu:2,lscratch:100"),
        ({"gpus": "1", "gres": "gpu:1"}, 2, "--gpus=2"),
        ({"gpus": "1"}, 4, "--gpus=4"),
        ({"gpus": "nvidia_a100-sxm4-80gb:1"}, 2, "--gpus=nvidia_a100-sxm4-80gb:2"),
    ],
)
def test_a_job_gets_as_many_gpus_as_its_training_uses_of_the_type_that_the_options_name(
    settings: Settings, slurm: dict[str, str], num_gpus: int, line: str
) -> None:
    assert parse_options(f"{name}={value}" for name, value in slurm.items()) == slurm

    lines = script_of(slurm=slurm, num_gpus=num_gpus).splitlines()

    assert [found for found in lines if "--gres" in found or "--gpus" in found] == [f"#SBATCH {line}"]


@pytest.mark.parametrize(
    ("words", "num_gpus"), [("gres=gpu:a100:2", None), ("gpus=4", 2), ("gres=gpu:8", 1), ("gpus=0", None)]
)
def test_a_request_that_asks_slurm_for_other_gpus_than_it_uses_is_refused(words: str, num_gpus: int | None) -> None:
    asked = {"dataset_id": 1, "engine": "slurm", "slurm": [words], "num_gpus": num_gpus}

    with pytest.raises(ValidationError, match=r"a job gets the GPUs that its training uses. Say how many"):
        TrainingRequest.model_validate(asked)

    assert TrainingRequest.model_validate({**asked, "device": "cpu", "num_gpus": None})
    assert TrainingRequest.model_validate({**asked, "slurm": ["gres=gpu:a100"], "num_gpus": 2})


def test_jobs_without_cores_or_memory_are_noted(settings: Settings) -> None:
    [both] = SlurmEngine().notes("cuda", {}, settings)
    [memory] = SlurmEngine().notes("cuda", {}, Settings(slurm_sbatch="--cpus-per-gpu=8"))

    assert "cpus and memory" in both and 'slurm=["cpus=12", "memory=64G"]' in for_agents(both)
    assert "cpus and" not in memory and "names memory of" in memory
    assert not SlurmEngine().notes("cuda", {"cpus": "8", "memory": "32G"}, settings)
    assert not LocalEngine().notes("cuda", {}, settings) and not SlurmEngine().notes("cpu", {}, settings)


@pytest.mark.parametrize("lines", ["--mail-type FAIL", "mail", "-p gpu", "--comment='open", "--comment='a\nb'"])
def test_lines_for_sbatch_that_cannot_be_are_refused(settings: Settings, lines: str) -> None:
    with pytest.raises(Exception, match="NNUNET_MCP_SLURM_SBATCH"):
        script_of(settings=Settings(slurm_sbatch=lines))


@pytest.mark.parametrize("lines", ["--gres=gpu:a100:1", "--mail-type=FAIL --gpus=2", "--gpus-per-node=1"])
def test_gpus_among_the_servers_lines_for_sbatch_are_sent_to_its_options(settings: Settings, lines: str) -> None:
    with pytest.raises(Exception, match=r"Write it into NNUNET_MCP_SLURM_OPTIONS: gres=… or gpus=…"):
        script_of(settings=Settings(slurm_sbatch=lines), num_gpus=2)

    assert "--gres-flags" in script_of(settings=Settings(slurm_sbatch="--gres-flags=enforce-binding"))


def test_jobs_are_read_from_squeue_and_sacct() -> None:
    told = "12|PENDING|Resources|N/A|/a b/stages/x|y\n13|RUNNING|None|1795475046|/c\nnonsense\n"

    assert parse_squeue(told) == {
        "12": Job("12", "PENDING", "Resources", None, "/a b/stages/x|y"),
        "13": Job("13", "RUNNING", "None", 1795475046.0, "/c"),
    }
    assert parse_sacct("7|CANCELLED by 1000|1795475046\n8|OUT_OF_MEMORY|Unknown\n") == [
        Job("7", "CANCELLED", end=1795475046.0),
        Job("8", "OUT_OF_MEMORY"),
    ]


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T23:03:30 DUE TO TIME LIMIT ***", "TIMEOUT"),
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T23:03:30 DUE TO PREEMPTION ***", "PREEMPTED"),
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T23:03:30 ***", "CANCELLED"),
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-23T23:03:30 DUE TO SOMETHING NEW ***", "ENDED"),
        ("all is well", None),
    ],
)
def test_slurms_last_word_is_found_in_the_jobs_log(tmp_path: Path, said: str, state: str | None) -> None:
    log = tmp_path / "job.log"
    log.write_text(f"before\n{said}\nafter\n", encoding="utf-8")

    assert last_word(log) == state
    assert last_word(log, since=log.stat().st_size) is None


class Slurm:
    """Commands that print what a test wants, in the place of Slurm's."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        patch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        patch.setattr(listing, "FRESH_S", 0.0)
        patch.setattr(listing, "SILENT_S", 0.0)
        for remembered in (listing._desks, listing._accounted, listing._not_accounted):
            patch.setattr(listing, remembered_name(remembered), {})
        patch.setattr(listing, "_no_accounting", [])
        self.says("squeue", "")
        self.says("sacct", "", "Slurm accounting storage is disabled", code=1)

    def says(self, program: str, output: str, errors: str = "", *, code: int = 0) -> None:
        path, text = self.folder / program, self.folder / f"{program}.out"
        text.write_text(output, encoding="utf-8")
        calls = self.folder / f"{program}.calls"
        path.write_text(
            f'#!/bin/sh\necho "$@" >> "{calls}"\ncat "{text}"\necho "{errors}" >&2\nexit {code}\n', encoding="utf-8"
        )
        path.chmod(0o755)

    def calls(self, program: str) -> list[str]:
        path = self.folder / f"{program}.calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def remembered_name(value: object) -> str:
    """The name of a module's variable."""
    return next(name for name, found in vars(listing).items() if found is value)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    return Slurm(tmp_path / "bin", monkeypatch)


def submitted(
    settings: Settings, state: StageState | None = None, outcome: Outcome | None = None
) -> tuple[RunDir, RunRecord]:
    """A run whose training is job 7 and whose cross-validation is job 8."""
    stages = (stage("train_fold_0"), stage("cross_validation", "train_fold_0"))
    run, _ = record_run(
        StateDir(settings.state_dir), record := record_of(settings, *stages, engine="slurm"), [], repeat_window_s=0
    )
    write_model(run.engine_file, JobsRecord(jobs={"train_fold_0": "7", "cross_validation": "8"}, complete=True))
    if state is not None:
        write_model(run.stage("train_fold_0").state_file, state)
    if outcome is not None:
        write_model(run.stage("train_fold_0").outcome_file, outcome)
    return run, record


def job_is(slurm: Slurm, state: str, *, reason: str = "None", ended_s_ago: float = 60, after: str = "PENDING") -> None:
    end = f"{time.time() - ended_s_ago:.0f}"
    slurm.says("squeue", f"7|{state}|{reason}|{end}|/x\n8|{after}|Dependency|N/A|/y\n")


RUNNING = StageState(status="running", started_at=1.0)
DEAD = StageState(status="interrupted", started_at=1.0)


@pytest.mark.parametrize(
    ("state", "job", "status", "said"),
    [
        (None, "PENDING", "queued", "job 7 is PENDING (None)"),
        (None, "RUNNING", "running", ""),
        (RUNNING, "RUNNING", "running", ""),
        (RUNNING, "COMPLETING", "running", ""),
        (RUNNING, "PENDING", "queued", "job 7 is PENDING"),
        (RUNNING, "SUSPENDED", "running", ""),
        (RUNNING, "COMPLETED", "interrupted", "without a word"),
        (RUNNING, "FAILED", "error", "left no word"),
        (None, "FAILED", "error", "left no word"),
        (RUNNING, "TIMEOUT", "interrupted", "time limit"),
        (RUNNING, "DEADLINE", "interrupted", "deadline"),
        (RUNNING, "CANCELLED", "cancelled", "scancel"),
        (None, "CANCELLED", "cancelled", "scancel"),
        (RUNNING, "OUT_OF_MEMORY", "error", "more memory"),
        (RUNNING, "NODE_FAIL", "interrupted", "node failed"),
        (RUNNING, "BOOT_FAIL", "interrupted", "could not boot"),
        (RUNNING, "PREEMPTED", "interrupted", "another job took its place"),
        (RUNNING, "SOMETHING_NEW", "interrupted", "Slurm ended the job"),
        (DEAD, "PENDING", "queued", "job 7 is PENDING"),
        (DEAD, "RUNNING", "running", ""),
        (DEAD, "OUT_OF_MEMORY", "error", "more memory"),
    ],
)
def test_slurms_word_decides_where_the_files_say_nothing(
    settings: Settings, slurm: Slurm, state: StageState | None, job: str, status: Status, said: str
) -> None:
    job_is(slurm, job, after="PENDING" if status in ("queued", "running") else "CANCELLED")
    run, record = submitted(settings, state)

    found = verdict(run, record)

    assert found.stages["train_fold_0"] == status
    assert found.status == status and said in (found.failure.cause if found.failure else found.reason)
    if found.failure is not None:
        assert "job 7" in found.failure.evidence and found.failure.remedy


def test_what_the_files_prove_stands_whatever_slurm_says(settings: Settings, slurm: Slurm) -> None:
    job_is(slurm, "NODE_FAIL")
    assert verdict(*submitted(settings, StageState(status="success"))).stages["train_fold_0"] == "success"
    assert verdict(*again(settings, RUNNING, Outcome(ok=True))).stages["train_fold_0"] == "success"


def again(settings: Settings, state: StageState, outcome: Outcome) -> tuple[RunDir, RunRecord]:
    """The same run with other files."""
    run = next(StateDir(settings.state_dir).run(run_id) for run_id in StateDir(settings.state_dir).run_ids())
    write_model(run.stage("train_fold_0").state_file, state)
    write_model(run.stage("train_fold_0").outcome_file, outcome)
    found = run.record()
    assert found is not None
    return run, found


def test_files_that_another_host_has_just_written_are_waited_for(settings: Settings, slurm: Slurm) -> None:
    job_is(slurm, "COMPLETED", ended_s_ago=1)
    run, record = submitted(settings, RUNNING)
    assert verdict(run, record).status == "running"

    write_model(run.stage("train_fold_0").state_file, DEAD)  # of an earlier attempt: this one ended with 0
    assert verdict(run, record).status == "running"


def test_without_an_answer_nothing_is_concluded(settings: Settings, slurm: Slurm) -> None:
    job_is(slurm, "RUNNING")
    run, record = submitted(settings, RUNNING)
    assert verdict(run, record).status == "running"
    slurm.says("squeue", "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", code=1)

    found = verdict(run, record)

    assert found.status == "running" and found.failure is None
    assert found.reason.startswith("unknown: Slurm does not answer (slurm_load_jobs error")
    assert "last seen train_fold_0 RUNNING, cross_validation PENDING" in found.reason
    assert ask(settings, "nnunet_progress", run_id=run.run_id)["health"]["detail"].startswith("unknown: Slurm")


@pytest.mark.parametrize(
    ("state", "cancelled", "status"),
    [
        (None, False, "queued"),
        (RUNNING, False, "running"),
        (RUNNING, True, "running"),
        (None, True, "cancelled"),
        (StageState(status="error"), False, "error"),
        (StageState(status="cancelled"), True, "cancelled"),
        (DEAD, False, "interrupted"),
    ],
)
def test_a_server_that_never_had_an_answer_believes_the_files(
    settings: Settings, slurm: Slurm, state: StageState | None, cancelled: bool, status: Status
) -> None:
    slurm.says("squeue", "", "Unable to contact slurm controller", code=1)
    run, record = submitted(settings, state)
    if cancelled:
        write_model(run.cancel_file, CancelRecord(requested_at=1, grace_s=60))

    found = verdict(run, record)

    assert found.status == status
    assert found.reason.startswith("unknown") == (status in ("queued", "running"))


def test_a_job_that_slurm_has_forgotten_is_looked_up_in_the_accounting(settings: Settings, slurm: Slurm) -> None:
    run, record = submitted(settings, RUNNING)
    slurm.says("sacct", "7|OUT_OF_MEMORY|1\n8|CANCELLED|1\n")

    first, second = verdict(run, record), verdict(run, record)

    assert first.status == second.status == "error" and first.failure and "memory" in first.failure.remedy
    assert len(slurm.calls("sacct")) == 1, "what has ended does not change"


def test_without_accounting_the_jobs_log_is_the_last_witness(settings: Settings, slurm: Slurm) -> None:
    run, record = submitted(settings, RUNNING)
    line = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-23T23:03:30 DUE TO TIME LIMIT ***\n"
    run.stage("train_fold_0").job_log.write_text(line, encoding="utf-8")

    found = verdict(run, record)

    assert found.status == "interrupted" and found.failure and "time limit" in found.failure.cause
    verdict(run, record)
    assert len(slurm.calls("sacct")) == 1, "a cluster without accounting is not asked again"


def test_one_call_tells_of_all_runs(settings: Settings, slurm: Slurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "FRESH_S", 10.0)
    job_is(slurm, "RUNNING")
    for number in range(5):
        stages = (stage("train_fold_0"),)
        record = record_of(settings, *stages, run_id=f"d001-2d-f0-{number}", engine="slurm")
        run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
        write_model(run.engine_file, JobsRecord(jobs={"train_fold_0": "7"}, complete=True))

    assert {run["status"] for run in ask(settings, "nnunet_runs")["runs"]} == {"running"}

    assert len(slurm.calls("squeue")) == 1


def test_a_cancel_asks_those_that_run_and_removes_those_that_wait(settings: Settings, slurm: Slurm) -> None:
    slurm.says("scancel", "")
    job_is(slurm, "RUNNING")
    run, record = submitted(settings, RUNNING)

    request_cancel(run, record, grace_s=60)
    request_cancel(run, record, grace_s=0)

    assert slurm.calls("scancel") == ["--quiet --state=PENDING 7 8", "--quiet 7 8"]
    assert json.loads(run.cancel_file.read_text(encoding="utf-8"))["grace_s"] == 0


def test_a_server_without_its_cluster_says_so(settings: Settings, slurm: Slurm) -> None:
    slurm.says("sinfo", "gpu\ngpu\nlong\n")
    own = settings.model_copy(update={"engine": "slurm"})
    assert next(c for c in machine_checks(own) if c.name == "Slurm").detail == "answers; partitions gpu, long"

    slurm.says("sinfo", "", "Unable to contact slurm controller", code=1)
    assert next(c for c in machine_checks(own) if c.name == "Slurm").level == "problem"
    wrong = own.model_copy(update={"slurm_options": "partitoin=gpu"})
    assert "did you mean 'partition'" in next(c for c in machine_checks(wrong) if c.name == "Slurm").detail


def test_the_first_jobs_of_a_run_depend_on_those_of_the_run_that_it_follows(settings: Settings) -> None:
    other, record = submitted(settings, StageState(status="success"))
    stages = stage("preprocess"), stage("train_fold_0", "preprocess")
    later = record_of(settings, *stages, run_id="d001-2d-f0-later", engine="slurm", request={"after": record.run_id})
    run = StateDir(settings.state_dir).run(later.run_id)

    assert dependency(run, later, stages[0], {}) == "afterok:8", "job 7 has succeeded"
    assert dependency(run, later, stages[1], {"preprocess": "9"}) == "afterok:9"
    write_model(other.engine_file, JobsRecord(jobs={"train_fold_0": "7"}))
    with pytest.raises(SlurmSilent, match="not submitted yet"):
        dependency(run, later, stages[0], {})
    other.remove()
    with pytest.raises(SlurmRefused, match="is gone"):
        dependency(run, later, stages[0], {})


@pytest.mark.parametrize("told", ["success", "running", None])
def test_a_run_after_one_that_has_succeeded_on_this_machine_is_submitted_at_once(
    settings: Settings, slurm: Slurm, told: Status | None
) -> None:
    """Its supervisor may have been killed before it wrote down what the worker proved."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    first = record_of(settings, stage("train_fold_0"))
    run, _ = record_run(StateDir(settings.state_dir), first, [], repeat_window_s=0)
    gone = mark_of(os.getpid()).model_copy(update={"start_time": 1.0})
    write_model(run.engine_file, EngineRecord(supervisor=gone))
    write_text(run.stage("train_fold_0").log_file, "an epoch")
    write_model(run.stage("train_fold_0").outcome_file, Outcome(ok=True))
    if told is not None:
        write_model(run.stage("train_fold_0").state_file, StageState(status=told, process=gone))
    slurm.says("sbatch", "11")

    wanted = {"dataset_id": 1, "configuration": "2d", "fold": "0", "engine": "slurm", "after": first.run_id}
    answer = ask(settings, "nnunet_training", **wanted)

    assert f"Run {first.run_id} has succeeded already, so nothing is waited for." in answer["notes"]
    jobs = StateDir(settings.state_dir).run(answer["run_id"]).jobs()
    assert jobs is not None and jobs.complete, "it would wait for ever"
    submitted_first = slurm.calls("sbatch")[0]
    assert "--dependency" not in submitted_first, submitted_first


@pytest.mark.parametrize("said", ["Access/permission denied for job 7", "Job is in held state for job 7"])
def test_what_slurm_does_not_allow_is_told_with_its_words(settings: Settings, slurm: Slurm, said: str) -> None:
    run, _ = submitted(settings)
    folder = run.stage("train_fold_0").path
    slurm.says("squeue", f"7|PENDING|Priority|N/A|{folder}\n8|PENDING|Dependency|N/A|/y\n")
    slurm.says("scontrol", "", said, code=1)

    with pytest.raises(ToolRefused, match=f"Slurm refuses to put in front.*{said}") as refused:
        ask(settings, "nnunet_queue", run_id=run.run_id, action="front")

    assert ("enable_user_top" in str(refused.value)) == ("denied" in said)
    slurm.says("scontrol", "")
    assert ask(settings, "nnunet_queue", run_id=run.run_id, action="hold")["status"] == "queued"
    assert slurm.calls("scontrol")[-1] == "uhold 7,8"


def test_what_is_said_to_be_held_is_held_as_slurm_shows_it(
    settings: Settings, slurm: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "OBEYED_WITHIN_S", 0.1)
    run, _ = submitted(settings)
    release = f"nnunet_queue(run_id='{run.run_id}', action='release')"

    def told(action: str, state: str, of_8: str = "Dependency") -> str:
        slurm.says("squeue", f"7|{state}|N/A|/x\n8|PENDING|{of_8}|N/A|/y\n")
        slurm.says("scontrol", "")
        answer = ask(settings, "nnunet_queue", run_id=run.run_id, action=action)
        return f"{answer['detail']} {answer['next_step']}"

    said = told("hold", "PENDING|Priority")
    assert "was asked to hold, which does not show yet" in said and release not in said
    held = told("hold", "PENDING|JobHeldUser", "JobHeldUser"), told("hold", "RUNNING|None", "JobHeldUser")
    assert all(said.startswith("Held: ") and release in said for said in held), held
    assert "A stage of it has begun" in held[1]
    assert told("release", "PENDING|Priority").startswith("Released")
    assert "was asked to release" in told("release", "PENDING|JobHeldUser")
    assert "of the same user" in told("front", "PENDING|Priority"), "Slurm lets nobody pass the jobs of others"
    before = slurm.calls("scontrol")
    write_model(run.engine_file, JobsRecord(jobs={"train_fold_0": "7"}))
    slurm.says("sbatch", "", "socket timed out", code=1)
    with pytest.raises(ToolRefused, match="are not submitted yet, so none can be moved"):
        told("hold", "PENDING|Priority")
    assert slurm.calls("scontrol") == before
