"""What stopped is told how it goes on by what it is: a prediction is no training."""

import os
import shutil
from typing import Any

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.failures.diagnosis import SIGNATURES, diagnose
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.saved import note_saved
from nnunet_mcp.schemas.records import Epoch, Failure, Progress, StageSpec, StageState
from nnunet_mcp.settings import Settings
from tests.kit.terminal import typed
from tests.kit.tiny import JOBS, ask, record_of

GOES_ON = {
    "predict": ("nnunet_predict", "nnunet-mcp predict"),
    "find_best": ("nnunet_find_best_configuration", "nnunet-mcp find-best"),
    "evaluate": ("nnunet_evaluate", "nnunet-mcp evaluate"),
    "export": ("nnunet_export_model", "nnunet-mcp export"),
    "import_model": ("nnunet_import_model", "nnunet-mcp import"),
}

EXAMPLES = ("killed", "stalled", "hung")
NAMES = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")
KINDS = {
    "predict": "predict",
    "evaluate": "evaluate",
    "find_best": "search",
    "export": "export",
    "import_model": "import",
}


def ended(settings: Settings, kind: str, status: Any, failure: Failure | None) -> RunDir:
    """A run of one stage of this kind that has ended so."""
    record = record_of(
        settings, StageSpec(name=kind, kind=kind, configuration="2d", fold="0"), run_id="d001-2d-predict-tttt"
    )
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


@pytest.mark.parametrize(
    "kind", ["predict", *(pytest.param(kind, marks=pytest.mark.heavy) for kind in GOES_ON if kind != "predict")]
)
def test_a_stopped_run_that_is_no_training_is_never_told_to_train(settings: Settings, tmp_path: Any, kind: str) -> None:
    tool, command = GOES_ON[kind]
    found = failures(tmp_path)
    if kind != "predict":  # the words of each signature are the same for all kinds
        found = {name: found[name] for name in EXAMPLES}
    for name, status in (("killed", "interrupted"), *((name, "error") for name in found)):
        run = ended(settings, kind, status, found[name])
        run_id = run.run_id
        tools = ("nnunet_progress", "nnunet_results") if name in EXAMPLES else ("nnunet_progress",)
        answers = [ask(settings, one, run_id=run_id) for one in tools]
        said = [str(one) for one in (*answers, *([ask(settings, "nnunet_runs")] if name in EXAMPLES else []))]
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


def stopped_at(
    settings: Settings,
    epochs: int,
    *,
    saved: int | None,
    sound: bool = True,
    failure: Failure | None = None,
    rate: float = 0.01,
) -> RunDir:
    """A training of 500 epochs that was stopped or failed after so many, with a checkpoint of so many."""
    run = ended(settings, "train", "error" if failure else "cancelled", failure)
    record = run.record()
    assert record is not None
    fold = FoldFiles(DatasetFiles(record.folders, record.dataset_name).fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)
    fold.owner_file.write_text(run.run_id, encoding="utf-8")
    write_model(run.stage("train").progress_file, Progress(phase="training", heartbeat=1.0, epochs=500))
    for epoch in range(epochs):
        append_line(
            run.stage("train").epochs_file,
            Epoch.model_validate({**dict.fromkeys(NAMES, 0.01), "learning_rate": rate, "epoch": epoch, "seconds": 1.0}),
        )
    if saved is not None:
        fold.latest.touch()
        note_saved(fold, fold.latest, fold.latest.name, epochs=saved, sound=sound)
    return run


RESUMES = (
    "Ask whether to resume it: nnunet_training(dataset_id=1, like='d001-2d-predict-tttt', continue_training=true)."
)
LEFT = "; about 8 min of epochs are left."
ANEW = "Ask whether to start it again from epoch 1: nnunet_training(dataset_id=1, like='d001-2d-predict-tttt'"


@pytest.mark.parametrize(
    ("epochs", "saved", "told"),
    [
        (
            5,
            3,
            f"{RESUMES} It goes on at epoch 4 of 500 from LATEST; epochs 4 to 5 are trained again{LEFT}",
        ),
        (
            4,
            3,
            f"{RESUMES} It goes on at epoch 4 of 500 from LATEST; epoch 4 is trained again{LEFT}",
        ),
        (
            5,
            5,
            f"{RESUMES} It goes on at epoch 6 of 500 from LATEST; no epoch is repeated{LEFT}",
        ),
        (500, 500, f"{RESUMES} All 500 epochs are saved in LATEST; only the validation is left."),
        (2, None, f"No checkpoint was saved. {ANEW})."),
    ],
)
def test_a_stopped_training_names_the_saved_epoch_and_what_is_repeated(
    settings: Settings, epochs: int, saved: int | None, told: str
) -> None:
    run = stopped_at(settings, epochs, saved=saved)

    for tool in ("nnunet_progress", "nnunet_results", "nnunet_cancel"):
        said = ask(settings, tool, run_id=run.run_id)["next_step"]
        assert said.endswith(told.replace("LATEST", "fold_0/checkpoint_latest.pth")), tool
    listed = ask(settings, "nnunet_runs")["runs"][0]["detail"]
    assert listed.endswith("no checkpoint" if saved is None else f"saved up to epoch {saved}")


def test_no_resume_is_offered_from_weights_that_are_not_numbers(settings: Settings) -> None:
    run = stopped_at(settings, 5, saved=5, sound=False)

    said = ask(settings, "nnunet_progress", run_id=run.run_id)["next_step"]

    assert "NaN" in said and f"{ANEW}, overwrite=true)" in said and "continue_training" not in said


def test_what_diverged_at_a_rate_far_too_high_is_not_offered_again_as_it_was(settings: Settings) -> None:
    run = stopped_at(settings, 5, saved=5, sound=False, rate=1e6)

    said = ask(settings, "nnunet_progress", run_id=run.run_id)["next_step"]

    assert f'{ANEW}, overwrite=true, changes=["initial_lr=0.01"])' in said


def test_no_resume_is_offered_after_a_failure_that_it_does_not_mend(settings: Settings) -> None:
    lost = Failure(cause="the training loss is not a number (NaN)", evidence="", remedy="Lower the rate.", resume=False)
    run = stopped_at(settings, 5, saved=2, failure=lost)

    for tool in ("nnunet_progress", "nnunet_results", "nnunet_cancel"):
        said = ask(settings, tool, run_id=run.run_id)["next_step"]
        assert f"{ANEW}, overwrite=true)" in said and "continue_training" not in said, tool
    assert lost.cause in ask(settings, "nnunet_cancel", run_id=run.run_id)["detail"]


@pytest.mark.parametrize(
    ("asked", "begun", "told"),
    [
        ({}, False, "tttt'); finished folds are kept."),
        ({}, True, "tttt', overwrite=true, fold='1'); finished folds are kept."),
        (
            {"overwrite": True},
            False,
            "tttt', overwrite=true, fold='1'); finished folds are kept.",
        ),
    ],
)
def test_folds_that_are_finished_are_not_offered_to_be_trained_again(
    settings: Settings, asked: dict[str, object], begun: bool, told: str
) -> None:
    failure = Failure(cause="this fold would begin without its weights", evidence="", remedy="Give them.", resume=False)
    run = stopped_at(settings, 5, saved=5, failure=failure)
    record = run.record()
    assert record is not None and record.training is not None
    other = StageSpec(name="train_fold_1", kind="train", configuration="2d", fold="1")
    files = DatasetFiles(record.folders, record.dataset_name)
    first, second = (FoldFiles(files.fold_of(record, spec)) for spec in (record.stages[0], other))
    first.final.touch()
    first.summary.parent.mkdir()
    first.summary.touch()
    if begun:
        second.path.mkdir(parents=True)
        second.owner_file.write_text(run.run_id, encoding="utf-8")
        second.latest.touch()
    request = record.training.request.model_copy(update={"fold": "all", **asked})
    job = record.training.model_copy(update={"request": request})
    write_model(run.run_file, record.model_copy(update={"job": job, "stages": (*record.stages, other)}))
    write_model(run.stage("train").state_file, StageState(status="success"))
    run.stage(other.name).path.mkdir(parents=True)
    write_model(run.stage(other.name).state_file, StageState(status="error", failure=failure))

    said = ask(settings, "nnunet_progress", run_id=run.run_id)["next_step"]

    assert "again from epoch 1" in said and told in said


def test_where_one_fold_is_lost_only_that_one_is_trained_again_and_the_others_go_on(settings: Settings) -> None:
    failure = Failure(cause="the training loss is not a number (NaN)", evidence="", remedy="Look.", resume=False)
    run = stopped_at(settings, 5, saved=5, failure=failure)
    record = run.record()
    assert record is not None and record.training is not None
    folds = [StageSpec(name=f"train_fold_{fold}", kind="train", configuration="2d", fold=fold) for fold in "12"]
    files = DatasetFiles(record.folders, record.dataset_name)
    done, sound, broken = (FoldFiles(files.fold_of(record, spec)) for spec in (record.stages[0], *folds))
    done.final.touch()
    done.summary.parent.mkdir()
    done.summary.touch()
    for fold in (sound, broken):
        fold.path.mkdir(parents=True)
        fold.owner_file.write_text(run.run_id, encoding="utf-8")
        fold.latest.touch()
    job = record.training.model_copy(update={"request": record.training.request.model_copy(update={"fold": "all"})})
    write_model(run.run_file, record.model_copy(update={"job": job, "stages": (*record.stages, *folds)}))
    write_model(run.stage("train").state_file, StageState(status="success"))
    for spec, state in zip(folds, ({"status": "cancelled"}, {"status": "error", "failure": failure}), strict=True):
        run.stage(spec.name).path.mkdir(parents=True)
        write_model(run.stage(spec.name).state_file, StageState.model_validate(state))

    said = ask(settings, "nnunet_progress", run_id=run.run_id)["next_step"]

    assert "overwrite=true, fold='2')" in said and "fold='1'" not in said
    assert "continue_training=true) goes on with the other folds" in said


def test_a_checkpoint_that_somebody_put_there_is_not_taken_for_the_noted_one(settings: Settings) -> None:
    run = stopped_at(settings, 5, saved=3)
    latest = next(settings.folder("results").rglob("checkpoint_latest.pth"))
    os.utime(latest, (1e9, 1e9))

    assert "whose epoch is not noted" in ask(settings, "nnunet_progress", run_id=run.run_id)["next_step"]


def test_a_run_whose_fold_another_one_went_on_with_says_so(settings: Settings) -> None:
    run = stopped_at(settings, 5, saved=5)
    next(settings.folder("results").rglob(FoldFiles(run.path).owner_file.name)).write_text("d001-2d-f0-next", "utf-8")

    assert ask(settings, "nnunet_runs")["runs"][0]["detail"].endswith("run d001-2d-f0-next has its fold now")


def test_a_training_that_goes_on_stands_at_the_saved_epoch_from_its_first_look(settings: Settings) -> None:
    stopped = stopped_at(settings, 0, saved=7)
    record = stopped.record()
    assert record is not None
    for resumes, epoch in ((True, 7), (False, 0)):
        spec = record.stages[0].model_copy(update={"resume": resumes})
        write_model(stopped.run_file, record.model_copy(update={"stages": (spec,)}))
        write_model(stopped.stage("train").state_file, StageState(status="running", started_at=1.0))

        assert ask(settings, "nnunet_progress", run_id=stopped.run_id)["epoch"] == epoch
