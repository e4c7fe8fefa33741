"""What stopped is told how it goes on by what it is: a prediction is no training."""

import shutil
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.runs.failures.diagnosis import SIGNATURES, diagnose
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.records import Failure, StageSpec, StageState
from nnunet_mcp.settings import Settings
from tests.kit.other_jobs import JOBS
from tests.kit.terminal import typed
from tests.kit.tiny import ask, record_of

GOES_ON = {
    "predict": ("nnunet_predict", "nnunet-mcp predict"),
    "find_best": ("nnunet_find_best_configuration", "nnunet-mcp find-best"),
    "export": ("nnunet_export_model", "nnunet-mcp export"),
    "import_model": ("nnunet_import_model", "nnunet-mcp import"),
}

KINDS = {"predict": "predict", "find_best": "search", "export": "export", "import_model": "import"}


def ended(settings: Settings, kind: str, status: Any, failure: Failure | None) -> RunDir:
    """A run of one stage of this kind that has ended so."""
    record = record_of(settings, StageSpec(name=kind, kind=kind, configuration="2d"), run_id="d001-2d-predict-tttt")
    if kind in KINDS:
        record = record.model_copy(update={"job": next(job for job in JOBS if job.kind == KINDS[kind])})
    run = StateDir.of(settings).run(record.run_id)
    run.stage(kind).path.mkdir(parents=True)
    write_model(run.run_file, record.model_copy(update={"created_at": 0.0}))
    write_model(run.stage(kind).state_file, StageState(status=status, failure=failure))
    return run


def failures(tmp_path: Any) -> dict[str, Failure]:
    """A kill, a stall and every signature after which a run goes on."""
    log = tmp_path / "log"
    log.write_text("nothing\n", encoding="utf-8")
    found = {
        "killed": diagnose(log, code=-9),
        "stalled": diagnose(log, code=-9, stalled_s=60.0),
        "hung": diagnose(log, code=-9, stalled_s=60.0, phase="training"),
    }
    return found | {
        one.name: Failure(cause=one.cause, evidence="", remedy=one.remedy, resume=True)
        for one in SIGNATURES
        if one.resume
    }


@pytest.mark.parametrize("kind", GOES_ON)
def test_a_stopped_run_that_is_no_training_is_never_told_to_train(settings: Settings, tmp_path: Any, kind: str) -> None:
    tool, command = GOES_ON[kind]
    found = failures(tmp_path)
    for name, status in (("killed", "interrupted"), *((name, "error") for name in found)):
        run = ended(settings, kind, status, found[name])
        run_id = run.run_id
        answers = [ask(settings, "nnunet_progress", run_id=run_id), ask(settings, "nnunet_results", run_id=run_id)]
        said = [str(one) for one in (*answers, ask(settings, "nnunet_runs"))]
        told = [typed(word, run_id).stdout for word in ("progress", "results") if (name, status) == ("killed", "error")]

        assert all(tool in answer["next_step"] for answer in answers), (name, status)
        assert all(command in " ".join(text.split()) for text in told), (name, told)
        assert not any("nnunet_training" in text or "continue_training" in text for text in said), name
        assert not any("nnunet-mcp train" in text or "--continue-training" in text for text in told), name
        assert not any("⟦" in text for text in (*said, *told))
        shutil.rmtree(run.path)


@pytest.mark.parametrize("status", ["error", "interrupted", "cancelled"])
def test_a_stopped_training_is_told_the_call_and_the_command(settings: Settings, status: Any) -> None:
    failure = Failure(cause="the disk is full", evidence="", remedy="Free space.", resume=True)
    run = ended(settings, "train", status, failure if status == "error" else None)

    found = ask(settings, "nnunet_progress", run_id=run.run_id)
    told = " ".join(typed("progress", run.run_id).stdout.split())

    assert f"nnunet_training(dataset_id=1, like='{run.run_id}')" in found["next_step"]
    assert f"nnunet-mcp train 1 --like {run.run_id}" in told and "nnunet_" not in told
