"""An export writes all of its files or none, replaces nothing, and removes what a killed one left."""

import time
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.jobs import ExportedModel, ExportJob
from nnunet_mcp.schemas.records import StageSpec, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job
from nnunet_mcp.worker.steps import export
from tests.kit.strangers import make_model
from tests.kit.tiny import ask, record_of

DATASET = "Dataset007_Elsewhere"


@pytest.fixture
def output(settings: Settings) -> Path:
    make_model(settings.folder("results") / DATASET / "nnUNetTrainer__nnUNetPlans__2d")
    path = settings.folder("results") / DATASET / "exports" / "model.zip"
    path.parent.mkdir()
    return path


def recorded(settings: Settings, output: Path, run_id: str, **fields: Any) -> RunDir:
    """An export of the model to this zip."""
    model = ExportedModel(folder=str(output.parents[1] / "nnUNetTrainer__nnUNetPlans__2d"), folds=("0",))
    job = ExportJob(dataset_id=7, configuration="2d", output=str(output), models=(model,))
    spec = StageSpec(name="export", kind="export", configuration="2d")
    record = record_of(settings, spec, run_id=run_id, **fields).model_copy(update={"job": job, "dataset_name": DATASET})
    run = StateDir.of(settings).run(run_id)
    run.stage(spec.name).path.mkdir(parents=True)
    write_model(run.run_file, record)
    return run


def carry_out(settings: Settings, output: Path) -> None:
    run = recorded(settings, output, "d007-2d-export-bbbb")
    export.carry_out(Job.of(str(run.path), "export"))


@pytest.mark.parametrize("taken", ["model.md", "model.zip"])
def test_a_name_that_somebody_took_since_the_request_is_theirs_and_nothing_of_ours_is_left(
    settings: Settings, output: Path, taken: str
) -> None:
    (output.parent / taken).write_text("theirs", encoding="utf-8")

    with pytest.raises(Refused, match=f"{taken} is there already"):
        carry_out(settings, output)

    assert {path.name: path.read_text(encoding="utf-8") for path in output.parent.iterdir()} == {taken: "theirs"}


def test_an_export_removes_the_folders_of_those_that_have_ended_and_no_others(settings: Settings, output: Path) -> None:
    def left_by(run_id: str, *, active: bool) -> Path:
        run = recorded(settings, output.with_name("other.zip"), run_id, created_at=time.time() if active else 0.0)
        if not active:
            write_model(run.stage("export").state_file, StageState(status="interrupted"))
        folder = output.with_name(f".other.zip.{run_id}")
        (folder / "inside").mkdir(parents=True)
        return folder

    ended = left_by("d007-2d-export-cccc", active=False)
    begins = left_by("d007-2d-export-dddd", active=True)
    theirs = output.with_name(".other.zip.backup")
    theirs.mkdir()

    said = ask(settings, "nnunet_progress", run_id="d007-2d-export-cccc")["next_step"]
    assert "Look whether the zip is there; then it is whole. If not, ask whether to start it again" in said

    carry_out(settings, output)

    assert {*output.parent.iterdir()} == {output, output.with_suffix(".md"), begins, theirs} and not ended.exists()
