"""What nnunet_predict refuses before anything starts, and what it records; real predictions are in test_scenarios."""

import json
import shutil
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.predictions import PredictionNote, note_file
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.models import PredictRequest
from nnunet_mcp.schemas.records import HANDING_OVER, PREDICTING, CaseUncertainty, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.models.predicting import nnunet_predict
from nnunet_mcp.worker.predicting.folder import PredictionFolder
from nnunet_mcp.worker.stage import Job
from nnunet_mcp.worker.steps import predict as predict_stage
from tests.kit.lab import until
from tests.kit.terminal import typed
from tests.kit.tiny import ask, image, make_dataset, record_of, save, stage

DATASET = "Dataset097_Predicted"
RUN = "d097-2d-f0-tttt"
UNCERTAIN = ["uncertainty=on"]


@pytest.fixture
def model(settings: Settings) -> Path:
    """A trained fold, as far as its files say, and images to predict."""
    settings.create_folders()
    make_dataset(settings.folder("raw"), DATASET)
    files = DatasetFiles(settings.folders, DATASET)
    shutil.copytree(files.raw / "imagesTr", files.raw / "imagesTs")
    request = {"dataset_id": 97, "configuration": "2d", "fold": "0"}
    record = record_of(settings, stage("train_fold_0"), run_id=RUN, dataset_name=DATASET, request=request)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    write_model(run.stage("train_fold_0").state_file, StageState(status="success"))
    folder = files.model("nnUNetTrainer", "nnUNetPlans", "2d")
    FoldFiles(folder / "fold_0").path.mkdir(parents=True)
    FoldFiles(folder / "fold_0").final.write_bytes(b"")
    shutil.copy(files.raw / "dataset.json", folder / "dataset.json")
    (folder / "plans.json").write_text(json.dumps({"dataset_name": DATASET, "configurations": {}}), "utf-8")
    return folder


def predict(settings: Settings, **arguments: Any) -> Any:
    return nnunet_predict(PredictRequest.model_validate({"run_id": RUN, "device": "cpu", **arguments}), settings)


def refused(settings: Settings, message: str, **arguments: Any) -> None:
    before = len(list(StateDir(settings.state_dir).run_ids()))
    with pytest.raises((Refused, NotFound), match=message):
        predict(settings, **arguments)
    assert len(list(StateDir(settings.state_dir).run_ids())) == before


def test_a_run_without_its_fold_is_not_predicted_with(settings: Settings, model: Path) -> None:
    FoldFiles(model / "fold_0").final.unlink()

    refused(settings, "has 0 of 1 trained folds")


def test_images_of_another_kind_are_named(settings: Settings, model: Path, tmp_path: Path) -> None:
    folder = settings.folder("raw") / "new"
    folder.mkdir()
    refused(settings, "It is empty", images=str(folder))
    (folder / "scan.nii.gz").write_bytes(b"")
    (folder / "scan.nii.gz").rename(folder / "scan.png")
    refused(
        settings, r"no images named CASE_0000.nii.gz.*a picture; the model takes volumes: scan.png", images=str(folder)
    )
    (folder / "a_0000.nii.gz").write_bytes(b"")
    (folder / "b_0001.nii.gz").write_bytes(b"")
    refused(settings, r"1 channel\(s\).*Not so: b", images=str(folder))


@pytest.mark.parametrize("images", ["/etc", "../..", "/no/such/folder"])
def test_images_elsewhere_are_not_read(settings: Settings, model: Path, images: str) -> None:
    refused(settings, "outside the allowed folders", images=images)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("/etc/predictions", "outside the allowed"),
        ("{raw}/new", "nothing is written to"),
        ("{raw}/../Dataset098_Other/labelsTr", "nothing is written to"),
        ("{preprocessed}/Dataset098_Other", "nothing is written to"),
        ("{results}/.nnunet_mcp/runs", "nothing is written to"),
        ("{raw}/imagesTs/new", "nothing is written to"),
        ("{results}", "outside"),
    ],
)
def test_predictions_go_only_where_nothing_else_lies(
    settings: Settings, model: Path, output: str, message: str
) -> None:
    folders = {name: settings.folder(name) for name in ("preprocessed", "results")}
    folders["raw"] = settings.folder("raw") / DATASET

    refused(settings, message, output=output.format(**folders))


def test_an_output_with_other_files_or_of_another_model_is_refused(settings: Settings, model: Path) -> None:
    output = settings.folder("results") / "mine"
    output.mkdir()
    (output / "thesis.docx").write_text("dear", "utf-8")
    refused(settings, "no predictions of this model", output=str(output))

    images = str(settings.folder("raw") / DATASET / "imagesTs")
    write_model(note_file(output), PredictionNote(model="/another/model", folds=("1",), images=images))
    refused(settings, "holds predictions of /another/model, folds 1", output=str(output))


def test_a_cascade_without_its_first_stage_says_how_it_is_predicted(settings: Settings, model: Path) -> None:
    request = {"dataset_id": 97, "configuration": "3d_cascade_fullres", "fold": "0"}
    record = record_of(settings, stage("train_fold_0"), run_id="d097-c-f0-tttt", dataset_name=DATASET, request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    refused(settings, "-prev_stage_predictions", run_id="d097-c-f0-tttt")


def test_a_model_of_two_channels_wants_both(settings: Settings, model: Path) -> None:
    description = json.loads((model / "dataset.json").read_text("utf-8"))
    (model / "dataset.json").write_text(json.dumps({**description, "channel_names": {"0": "a", "1": "b"}}), "utf-8")

    refused(settings, "2 channel")


def colours(model: Path, images: Path, ending: str = ".png") -> None:
    """A model of colour pictures, and three of them, each in a file of its own."""
    names = {str(number): name for number, name in enumerate("RGB")}
    description = json.loads((model / "dataset.json").read_text("utf-8"))
    changed = {**description, "channel_names": names, "file_ending": ending}
    (model / "dataset.json").write_text(json.dumps(changed), "utf-8")
    images.mkdir()
    for case in ("a", "b", "c"):
        (images / f"{case}_0000{ending}").write_bytes(b"coloured")


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are recorded, and their processes are not started."""
    monkeypatch.setattr("nnunet_mcp.runs.local.engine.LocalEngine.start", lambda *_: None)


def prepared(settings: Settings, **arguments: Any) -> PredictionFolder:
    """The output folder as the first stage of a prediction leaves it before it predicts."""
    started = predict(settings, **arguments)
    run = StateDir(settings.state_dir).run(started.run_id)
    write_model(run.stage("predict").state_file, StageState(status="success"))
    folder = PredictionFolder(Job.of(str(run.path), "predict"))
    folder.prepare()
    return folder


def segment(folder: PredictionFolder) -> None:
    """Whole files in the place of predictions."""
    for case in folder.missing:
        shutil.copy(folder.images[case][0], folder.path / f"{case}.nii.gz")


@pytest.mark.usefixtures("recorded")
def test_a_picture_with_all_its_colours_in_one_file_is_a_case(settings: Settings, model: Path) -> None:
    images = settings.folder("raw") / "pictures"
    colours(model, images)
    for channel in (1, 2):
        (images / f"c_{channel:04d}.png").write_bytes(b"a file for each colour")

    folder = prepared(settings, images=str(images))

    names = {case: [path.name for path in files] for case, files in folder.images.items()}
    each = [f"c_{channel:04d}.png" for channel in range(3)]
    assert names == {"a": ["a_0000.png"], "b": ["b_0000.png"], "c": each}


def test_colours_that_lack_a_file_are_told_both_ways_on(settings: Settings, model: Path) -> None:
    images = settings.folder("raw") / "pictures"
    colours(model, images)
    (images / "a_0001.png").write_bytes(b"")

    refused(settings, r"_0002\.png, or all its colours in one file, _0000\.png\. Not so: a\.", images=str(images))


def test_other_images_than_pictures_have_a_file_for_each_channel(settings: Settings, model: Path) -> None:
    images = settings.folder("raw") / "scans"
    colours(model, images, ending=".nii.gz")

    refused(settings, r"_0002\.nii\.gz\. Not so: a, b, c\.", images=str(images))


@pytest.mark.usefixtures("recorded")
def test_a_case_whose_image_was_exchanged_is_predicted_again(settings: Settings, model: Path) -> None:
    segment(prepared(settings))
    assert prepared(settings).missing == []
    (settings.folder("raw") / DATASET / "imagesTs" / "case_001_0000.nii.gz").write_bytes(b"another patient")

    folder = prepared(settings)

    assert (folder.missing, folder.kept) == (["case_001"], 4)


@pytest.mark.usefixtures("recorded")
def test_the_cases_that_have_fitting_labels_are_scored_and_the_others_named(settings: Settings, model: Path) -> None:
    folder = prepared(settings, labels="labelsTr")
    segment(folder)
    labels = settings.folder("raw") / DATASET / "labelsTr"
    (labels / "case_000.nii.gz").unlink()
    save(labels / "case_001.nii.gz", image()[:3].astype("uint8"))

    found = folder.finish()

    assert found.metrics is not None and found.metrics.dice == 1
    assert [case.case for case in found.cases] == ["case_002", "case_003", "case_004"]
    assert "Not scored, no label: case_000." in found.notes
    assert any(note.startswith("Left out: case_001: the prediction has 8 × 7 × 6 voxels") for note in found.notes)


@pytest.mark.usefixtures("recorded")
def test_folders_of_the_same_name_do_not_share_predictions(settings: Settings, model: Path) -> None:
    segment(prepared(settings))
    other = settings.folder("results") / "elsewhere" / "imagesTs"
    shutil.copytree(settings.folder("raw") / DATASET / "imagesTs", other)

    for overwrite in (False, True):
        refused(settings, "predictions of the images in .*/imagesTs. Choose", images=str(other), overwrite=overwrite)


@pytest.mark.usefixtures("recorded")
def test_predictions_of_the_model_before_it_was_trained_again_are_not_kept(settings: Settings, model: Path) -> None:
    waiting = prepared(settings)
    segment(waiting)
    FoldFiles(model / "fold_0").final.write_bytes(b"trained again")

    refused(settings, "before it was trained again.*overwrite=true")
    with pytest.raises(Refused, match="before it was trained again"):
        waiting.prepare()
    assert len(prepared(settings, overwrite=True).missing) == 5


Numbers = tuple[int, float, float | None]


def measured(folder: PredictionFolder, stage: str, *cases: Numbers) -> None:
    """Records as a predicting stage leaves them: entropy and disagreement of each case; case 3 has no structure."""
    (folder.path / "uncertainty" / stage).mkdir(parents=True)
    for number, entropy, differ in cases:
        found = CaseUncertainty(
            case=f"case_00{number}", entropy=entropy, disagreement=differ, nothing_predicted=number == 3
        )
        write_model(folder.path / "uncertainty" / stage / f"{found.case}.json", found)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param([[(1, 0.1, None), (2, 0.4, None)]], {2: 0.4, 1: 0.1}, id="one fold"),
        pytest.param([[(1, 0.1, 0.6), (2, 0.4, 0.2)]], {1: 0.6, 2: 0.2}, id="several folds"),
        pytest.param([[(1, 0.9, None), (3, 0.2, None)]], {3: 0.2, 1: 0.9}, id="nothing predicted in one"),
        pytest.param(
            [[(1, 0.1, None), (2, 0.4, None)], [(1, 0.9, None), (2, 0.5, None)]], {1: 0.5, 2: 0.45}, id="two models"
        ),
    ],
)
def test_the_most_uncertain_cases_come_first_in_the_results_and_in_a_table(
    settings: Settings, model: Path, parts: list[list[Numbers]], expected: dict[int, float]
) -> None:
    folder = prepared(settings, options=UNCERTAIN)
    segment(folder)
    for number, cases in enumerate(parts):
        measured(folder, f"predict_{number}", *cases)

    write_model(folder.job.stage.outcome_file, folder.finish())
    result = ask(settings, "nnunet_results", run_id=folder.job.record.run_id)

    named = {f"case_00{number}": score for number, score in expected.items()}
    found = [(one["case"], one["disagreement"] or one["entropy"]) for one in result["uncertain_cases"]]
    assert found == [(case, pytest.approx(score)) for case, score in named.items()]
    shown = typed("results", folder.job.record.run_id).stdout
    assert shown.index("most uncertain cases") < shown.index(found[0][0]) < shown.index(found[1][0])
    lines = (folder.path / "uncertainty.csv").read_text("utf-8").splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [[str(rank), case] for rank, case in enumerate(named, 1)]
    notes = " ".join(result["notes"])
    assert f"How uncertain {', '.join(sorted({*folder.cases} - {*named}))} are is not known" in notes
    assert ("Nothing is predicted in 1 case (case_003)" in notes) == (3 in expected)
    assert "Look at those in uncertain_cases first" in result["next_step"]


@pytest.mark.usefixtures("recorded")
def test_what_is_known_of_a_case_is_kept_until_it_is_predicted_again(settings: Settings, model: Path) -> None:
    first = prepared(settings, options=UNCERTAIN)
    segment(first)
    measured(first, "predict", (1, 0.1, None), (2, 0.4, None))
    assert prepared(settings).finish().uncertain == ()
    (settings.folder("raw") / DATASET / "imagesTs" / "case_001_0000.nii.gz").write_bytes(b"another patient")

    again = prepared(settings, options=UNCERTAIN)

    segment(again)
    assert [one.case for one in again.finish().uncertain] == ["case_002"]


@pytest.mark.usefixtures("recorded")
def test_the_model_of_every_case_is_called_full(settings: Settings, model: Path) -> None:
    (model / "fold_0").rename(model / "fold_all")

    assert predict(settings, run_id=None, model=str(model)).folds == ("full",)


def test_a_prediction_is_heard_of_only_when_a_pass_or_a_case_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a GPU that hangs is not hidden behind a heartbeat."""
    monkeypatch.setattr(predict_stage, "LOOK_S", 0.001)
    looks, told = count(1), list[tuple[str, int]]()
    reporter = SimpleNamespace(enter=lambda phase, done: told.append((phase, done)), stop_requested=lambda: False)
    work: Any = SimpleNamespace(job=SimpleNamespace(reporter=reporter), count=lambda: 0 * next(looks))
    predictor = SimpleNamespace(network=torch.nn.Identity())

    def volume() -> None:
        """One pass through the network, and a second one that hangs for many looks."""
        assert until(lambda: told == [(HANDING_OVER, 0), (PREDICTING, 0)])
        predictor.network(torch.ones(1))
        assert until(lambda: told == [(HANDING_OVER, 0), *[(PREDICTING, 0)] * 2])
        seen = next(looks)
        assert until(lambda: next(looks) > seen + 100)
        assert len(told) == 3

    predictor.predict_sliding_window_return_logits = volume
    with predict_stage._Watched(work, predictor):
        assert until(lambda: told == [(HANDING_OVER, 0)])
        predictor.predict_sliding_window_return_logits()
