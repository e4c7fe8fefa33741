"""nnunet_evaluate: what it pairs, refuses and measures, and how the result is shown, plotted and compared."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from skimage import io

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.schemas.records import EngineRecord, Outcome, ProcessMark, RunRecord, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.steps import evaluate
from tests.kit.lab import ACTIVE, Answer, ToolRefused
from tests.kit.tiny import ask, make_dataset, save

SHAPE = (12, 10, 8)


def blocks(shift: int = 0, *, second: bool = True) -> Any:
    """Classes 1 and 2 as blocks, moved along the first axis."""
    found = numpy.zeros(SHAPE, dtype=numpy.uint8)
    found[1:5, 2:8, 2:6] = 1
    found[6:9, 2:8, 2:6] = 2 if second else 0
    return numpy.roll(found, shift, 0)


@pytest.fixture
def settings(settings: Settings, downloads: Path) -> Settings:
    """These folders, and one more that tools may read."""
    return Settings()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages are carried out in this process, without surfaces, whose library takes seconds to import."""

    def start(_: object, run: RunDir, record: RunRecord, settings: Settings) -> None:
        stage = run.stage(record.stages[0].name)
        try:
            outcome: Outcome = evaluate.carry_out(Job.of(str(run.path), stage.name))
        except StageFailure as failure:
            outcome = Outcome(ok=False, failure=failure.failure)
        write_model(stage.outcome_file, outcome)
        ended = StageState(status="success" if outcome.ok else "error", failure=outcome.failure)
        write_model(stage.state_file, ended)
        gone = ProcessMark(pid=1, start_time=0, boot_id="before", host=host_name())
        write_model(run.engine_file, EngineRecord(supervisor=gone))

    monkeypatch.setattr("nnunet_mcp.runs.local.engine.LocalEngine.start", start)
    monkeypatch.setattr(evaluate, "end_when_a_pool_process_is_killed", lambda stage: None)
    monkeypatch.setattr(evaluate, "can_measure", lambda: False)


@pytest.fixture
def folders(downloads: Path) -> tuple[Path, Path]:
    """Predictions and labels of two cases; the second one lacks class 2 and is moved."""
    predictions, labels = downloads / "predictions", downloads / "labels"
    for folder in (predictions, labels):
        folder.mkdir()
        for case, moved in (("a", 0), ("b", 1)):
            prediction = folder is predictions
            save(folder / f"{case}.nii.gz", blocks(moved * prediction, second=not (moved and prediction)))
    return predictions, labels


def measured(settings: Settings, predictions: object, labels: object, **more: Any) -> Answer:
    started = ask(settings, "nnunet_evaluate", predictions=str(predictions), labels=str(labels), **more)
    return ask(settings, "nnunet_results", run_id=started["run_id"], cases=100)


@pytest.mark.usefixtures("here")
def test_the_numbers_are_nnunets_own_with_recall_precision_and_volumes(
    settings: Settings, folders: tuple[Path, Path]
) -> None:
    found = measured(settings, *folders)

    one, two = found["per_class"]
    assert found["metrics"]["dice"] == pytest.approx((1 + 0.75) / 4 + (1 + 0) / 4)
    assert one["dice"] == pytest.approx(0.875) and one["recall"] == one["precision"] == pytest.approx(0.875)
    assert two["recall"] == pytest.approx(0.5) and two["precision"] == 1, "precision is null where nothing is predicted"
    assert one["counts"] == {"tp": 84, "fp": 12, "fn": 12}
    assert one["true_ml"] == one["predicted_ml"] == pytest.approx(96 * 1.5 * 1.0 * 2.0 / 1000)
    worst, best = found["worst_cases"]
    assert (worst["case"], best["case"]) == ("b", "a") and worst["ml"]["2"] == [0, pytest.approx(0.216)]
    folder = Path(found["evaluation"])
    rows = list(csv.DictReader((folder / "cases.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["class"], row["dice"]) for row in rows][2:] == [("b", "1", "0.75"), ("b", "2", "0.0")]
    assert rows[3]["precision"] == "" and rows[3]["hd95_mm"] == ""
    assert (folder / "summary.json").is_file() and not list(folder.parent.glob(".*"))
    assert any("pip install 'nnunet-mcp[surface]'" in note for note in found["notes"])


@pytest.mark.usefixtures("here")
def test_cases_that_do_not_fit_are_left_out_with_the_reason(settings: Settings, folders: tuple[Path, Path]) -> None:
    predictions, labels = folders
    odd = {"small": blocks()[:6], "image": blocks() + 0.5}
    for name, array in odd.items():
        save(predictions / f"{name}.nii.gz", array)
    for name in (*odd, "spaced", "torn", "unpredicted"):
        save(labels / f"{name}.nii.gz", blocks())
    save(predictions / "spaced.nii.gz", blocks(), spacing=3.0)
    save(predictions / "unlabelled.nii.gz", blocks())
    (predictions / "torn.nii.gz").write_bytes((labels / "a.nii.gz").read_bytes()[:60])
    (predictions / "out.nii.gz").symlink_to("/etc/hostname")

    found = measured(settings, predictions, labels)

    said = "\n".join(found["notes"])
    assert found["cases"] == 2, said
    assert "Not scored, no prediction: unpredicted." in said and "Not scored, no label: unlabelled." in said
    assert "small: the prediction has 8 × 10 × 6 voxels, the label 8 × 10 × 12" in said
    assert "spaced: the prediction has the spacing 3 × 1 × 1.5, the label 2 × 1 × 1.5" in said
    assert "image: the prediction has values as an image has them" in said
    assert "torn: the prediction cannot be read" in said


@pytest.mark.usefixtures("here")
def test_where_no_case_fits_the_run_fails_with_the_reason(settings: Settings, folders: tuple[Path, Path]) -> None:
    for case in "ab":
        save(folders[0] / f"{case}.nii.gz", blocks()[:6])

    found = measured(settings, *folders)

    assert found["status"] == "error" and "no case can be scored" in found["failure"]["cause"]
    assert not (settings.folder("results") / "evaluations").exists()


@pytest.mark.usefixtures("here")
def test_classes_are_a_datasets_regions_or_those_beside_the_predictions(
    settings: Settings, folders: tuple[Path, Path]
) -> None:
    dataset = make_dataset(settings.folder("raw"), "Dataset007_Regions")
    description = json.loads((dataset / "dataset.json").read_text("utf-8"))
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    (dataset / "dataset.json").write_text(
        json.dumps({**description, "labels": regions, "regions_class_order": [1, 2]}), "utf-8"
    )
    (folders[0] / "dataset.json").write_text(
        json.dumps({**description, "labels": {"background": 0, "liver": 1}}), "utf-8"
    )

    of_dataset = measured(settings, *folders, dataset_id=7)
    beside = measured(settings, *folders)

    assert [line["label"] for line in of_dataset["per_class"]] == ["whole", "core"]
    assert of_dataset["run_id"].startswith("d007-")
    assert [line["label"] for line in beside["per_class"]] == ["liver"]
    assert any("Values that no class has, 2, count as background (a, b)" in note for note in beside["notes"])


@pytest.mark.usefixtures("here")
def test_patterns_pair_files_of_other_names_and_pictures_are_measured(settings: Settings, downloads: Path) -> None:
    for case in ("p1", "p2"):
        (downloads / case).mkdir()
        io.imsave(downloads / case / "seg.png", blocks()[:, :, 3], check_contrast=False)
        io.imsave(downloads / f"{case}_gt.png", blocks()[:, :, 3], check_contrast=False)

    found = measured(settings, f"{downloads}/{{case}}/seg.png", f"{downloads}/{{case}}_gt.png")

    assert found["metrics"]["dice"] == 1 and {case["case"] for case in found["worst_cases"]} == {"p1", "p2"}
    assert "predicted_ml" not in found["per_class"][0], "pictures have no volume"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": "{p}", "labels": "{p}"}, "the same files"),
        ({"predictions": "{p}", "labels": "/etc"}, "outside the allowed folders"),
        ({"predictions": "{p}", "labels": "labelsTr"}, "a folder of a dataset: say which with dataset_id"),
        ({"predictions": "{p}", "labels": "{p}/.."}, "no segmentation"),
        ({"predictions": "{p}/{{case}}*.nii.gz", "labels": "{p}/../labels/{{case}}.nii.gz"}, "no .. and no backslash"),
        ({"predictions": "{p}", "labels": "{l}", "tolerance_mm": -1}, "tolerance_mm"),
        ({"predictions": "{p}", "labels": "{l}/{{case}}_seg.nii.gz"}, "fits the pattern"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    settings: Settings, folders: tuple[Path, Path], arguments: dict[str, Any], message: str
) -> None:
    places = {"p": folders[0], "l": folders[1]}
    given = {name: value.format(**places) if isinstance(value, str) else value for name, value in arguments.items()}

    with pytest.raises(ToolRefused, match=message):
        ask(settings, "nnunet_evaluate", **given)

    assert ask(settings, "nnunet_runs")["total"] == 0


@pytest.mark.usefixtures("here")
def test_two_evaluations_are_compared_and_drawn_case_by_case(
    settings: Settings, folders: tuple[Path, Path], downloads: Path
) -> None:
    better = downloads / "better"
    better.mkdir()
    for case in "ab":
        save(better / f"{case}.nii.gz", blocks())
    first, second = measured(settings, *folders), measured(settings, better, folders[1])

    answer = ask(settings, "nnunet_compare", run_ids=[first["run_id"], second["run_id"]])

    (difference,) = answer["differences"]
    assert difference["shared"] == ["a", "b"]
    assert (difference["cases"], difference["dice"], difference["against_dice"]) == (2, 0.6875, 1.0)
    assert [model["name"] for model in answer["models"]] == [second["run_id"], first["run_id"]]
    assert "nnunet_report" not in answer["next_step"], "it takes trainings only"
    assert "oo few to tell" in answer["next_step"] and "train" not in answer["next_step"]
    with pytest.raises(ToolRefused, match="image of case b is not known"):
        ask(settings, "nnunet_plot", kind="overlay", run_id=first["run_id"])


@pytest.mark.heavy
def test_an_evaluation_runs_in_the_background_and_measures_surfaces(
    settings: Settings, folders: tuple[Path, Path]
) -> None:
    predictions, labels = folders
    raw = settings.folder("raw")
    make_dataset(raw, "Dataset008_Images")
    for case in "ab":
        save(raw / "Dataset008_Images" / "imagesTr" / f"{case}_0000.nii.gz", blocks().astype(numpy.float32))
    started = ask(
        settings, "nnunet_evaluate", predictions=str(predictions), labels=str(labels), dataset_id=8, tolerance_mm=1.6
    )
    run_id = started["run_id"]
    for _ in range(20):
        if ask(settings, "nnunet_progress", run_id=run_id, wait_s=25)["status"] not in ACTIVE:
            break

    found = ask(settings, "nnunet_results", run_id=run_id, cases=100)

    (line,) = found["surface"]["per_class"]
    assert found["surface"]["tolerance_mm"] == 1.6 and line["label"] == "block"
    assert line["hd95_mm"] == pytest.approx(0.75) and line["nsd"] == 1.0, "case b is moved by one voxel of 1.5 mm"
    assert (line["cases"], line["without_hd95"]) == (2, 0)
    for kind in ("folds", "overlay"):
        assert ask_for_picture(settings, kind=kind, run_id=run_id)


def ask_for_picture(settings: Settings, **arguments: Any) -> bytes:
    from nnunet_mcp.schemas.plots import PlotRequest
    from nnunet_mcp.tools.plots.plots import nnunet_plot

    return nnunet_plot(PlotRequest.model_validate(arguments), settings).png
