"""What `options` of nnunet_predict changes, and what it refuses before anything starts."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import read_model, write_model
from nnunet_mcp.nnunet.predictions import PredictionNote, note_file
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.schemas.jobs import PredictionJob
from nnunet_mcp.schemas.outcomes import PredictedOutcome
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.predicting.folder import PredictionFolder
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.steps import combine, predict as predict_stage
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask
from tests.tools.models.test_predict import DATASET, RUN, model as model, predict, prepared, recorded, refused, segment

assert recorded  # a fixture
PARTS_OF_THREE = ("predict_part_1", "predict_part_2", "predict_part_3")


def job_of(settings: Settings, run_id: str) -> PredictionJob:
    record = StateDir(settings.state_dir).run(run_id).record()
    assert record is not None and isinstance(record.job, PredictionJob)
    return record.job


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stepsize=0.7", "Did you mean 'step_size'"),
        ("tta=off", "There are: mirroring, step_size, folds, checkpoint"),
        ("step_size=0", "is not a number from 0.1 to 1"),
        ("step_size=nan", "is not a number from 0.1 to 1"),
        ("mirroring=0,1", "is not one of on, off. Test-time augmentation"),
        ("folds=-1", "is not full, or numbers of folds"),
        ("checkpoint=latest", "is not one of final, best"),
    ],
)
def test_a_wrong_option_is_answered_with_those_that_there_are(
    settings: Settings, model: Path, word: str, message: str
) -> None:
    with pytest.raises(ToolRefused, match=message):
        ask(settings, "nnunet_predict", run_id=RUN, options=[word])


@pytest.mark.usefixtures("recorded")
def test_what_differs_from_nnunets_own_is_told_and_done(settings: Settings, model: Path) -> None:
    (model / "fold_0" / "checkpoint_best.pth").write_bytes(b"")
    options = ["checkpoint=BEST", "step_size=0.70", "mirroring=off", "folds=0"]

    started = predict(settings, options=options)
    usual = predict(settings, options=["mirroring=on", "step_size=0.5"], output=str(model / "predictions" / "usual"))

    assert "Other than nnU-Net's own: mirroring=off, step_size=0.7, folds=0, checkpoint=best." in started.notes
    assert Path(started.output).name == "imagesTs_mirroring-off_step_size-0.7_folds-0_checkpoint-best"
    step = job_of(settings, started.run_id).steps["predict"]
    assert (step.mirroring, step.step_size, step.checkpoint, step.folds) == (False, 0.7, "best", ("0",))
    assert job_of(settings, usual.run_id).options == {} and not any("Other than" in note for note in usual.notes)


@pytest.mark.usefixtures("recorded")
def test_a_folder_holds_cases_that_were_predicted_alike(settings: Settings, model: Path) -> None:
    output = model / "predictions" / "mine"
    segment(prepared(settings, output=str(output), options=["step_size=0.7"]))

    for options in ([], ["step_size=0.7", "mirroring=off"]):
        refused(settings, "holds predictions with step_size=0.7, and", output=str(output), options=options)
    assert prepared(settings, output=str(output), options=["step_size=0.7"]).missing == []
    note = read_model(note_file(output), PredictionNote)
    assert note is not None and note.options == {"step_size": "0.7"}


@pytest.mark.usefixtures("recorded")
def test_only_folds_that_are_trained_and_have_the_checkpoint_predict(settings: Settings, model: Path) -> None:
    for fold in ("1", "2", "all"):
        shutil.copytree(model / "fold_0", model / f"fold_{fold}")
    (model / "fold_1" / "checkpoint_best.pth").write_bytes(b"")
    named: dict[str, Any] = {"run_id": None, "model": str(model)}

    assert predict(settings, **named, options=["folds=2,0,2"]).folds == ("0", "2")
    assert predict(settings, **named, options=["folds=full"]).folds == ("full",)
    refused(settings, "no finished fold 3, 4 that can be meant; it has 0, 1, 2, full", **named, options=["folds=3,4"])
    refused(settings, "has no finished fold 1 that can be meant; it has 0", options=["folds=1"])
    refused(
        settings, r"no checkpoint_best.pth of fold 0, 2.*checkpoint=best.*folds=1", **named, options=["checkpoint=best"]
    )


@pytest.mark.usefixtures("recorded")
def test_parts_predict_other_cases_into_one_folder_that_is_overwritten_once(settings: Settings, model: Path) -> None:
    segment(prepared(settings))
    started = predict(settings, options=["parts=3"], overwrite=True)
    run = StateDir(settings.state_dir).run(started.run_id)
    record = run.record()
    assert record is not None
    needs = {spec.name: spec.needs for spec in record.stages}
    first, second, third, gather = (PredictionFolder(Job.of(str(run.path), name)) for name in needs)
    assert needs == {**dict.fromkeys(PARTS_OF_THREE, ()), "gather": PARTS_OF_THREE}
    assert any("the parts follow one another" in note for note in started.notes)

    (settings.folder("raw") / DATASET / "imagesTs" / "case_000_0000.nii.gz").rename(model / "elsewhere.nii.gz")
    late = PredictionFolder(second.job)
    assert (late.cases, first.cases) == (["case_001", "case_004"], ["case_000", "case_003"]), "they agree"
    (model / "elsewhere.nii.gz").rename(settings.folder("raw") / DATASET / "imagesTs" / "case_000_0000.nii.gz")

    first.prepare()
    assert first.missing == ["case_000", "case_003"], "the run overwrites what was there"
    segment(first)
    second.prepare()
    second.left_out = {"case_004": "it is empty"}
    segment(second)
    write_model(first.job.stage.outcome_file, predict_stage.carry_out(first.job))
    write_model(second.job.stage.outcome_file, PredictedOutcome(ok=True, left_out=second.left_out))
    again = PredictionFolder(Job.of(str(run.path), "predict_part_1"))
    again.prepare()
    assert again.missing == [], "started again, it goes on"
    third.prepare()
    segment(third)

    gather = PredictionFolder(gather.job)
    gather.prepare()
    assert gather.missing == [] and sorted(gather.there(gather.path)) == [f"case_00{number}" for number in range(4)]
    said = " ".join(combine.carry_out(gather.job).notes)
    assert "Not predicted: case_004 (it is empty)" in said and "2 of them were there already" in said
    gather.remove(gather.path, ["case_001"])
    with pytest.raises(StageFailure, match=r"predicted cases are gone \(case_001\)"):
        combine.carry_out(gather.job)


@pytest.mark.usefixtures("recorded")
def test_there_are_no_more_parts_than_cases(settings: Settings, model: Path) -> None:
    assert len(job_of(settings, predict(settings, options=["parts=64"]).run_id).steps) == 5
