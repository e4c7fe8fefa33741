"""Models side by side: nnU-Net's own numbers, paired over cases, and no rank for what is not complete."""

import csv
import io
import json
import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.jobs import EvaluationJob
from nnunet_mcp.schemas.models import CompareAnswer, CompareRequest
from nnunet_mcp.schemas.outcomes import EvaluationOutcome, ModelOutcome
from nnunet_mcp.schemas.records import CaseMetrics, Epoch, Metrics, StageSpec
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.models.compare import nnunet_compare
from nnunet_mcp.tools.models.comparison_tables import _escaped
from nnunet_mcp.tools.models.finding_best import _candidates
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset, record_of, stage

DATASET = "Dataset091_Compared"
METRICS = Metrics(dice=0.5, iou=0.4, validation_loss=0.1)
LABELS = {"background": 0, "big": 1, "whole": [1, 2]}


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    make_dataset(settings.folder("raw"), DATASET, cases=10)
    files = DatasetFiles(settings.folders, DATASET)
    files.preprocessed.mkdir(parents=True)
    files.splits_file.write_text(json.dumps([{"train": [], "val": []}] * 5), "utf-8")
    return files


def train(files: DatasetFiles, trainer: str, dice: dict[str, float], *, folds: int = 5, fold: str = "") -> Path:
    """A model whose folds validated two cases each with these Dice values (the IoU is half of it)."""
    model = files.model(trainer, "nnUNetPlans", "2d")
    cases = list(dice)
    for number in range(folds):
        path = FoldFiles(model / f"fold_{fold or number}")
        path.summary.parent.mkdir(parents=True)
        path.final.write_bytes(b"")
        own = cases if fold else cases[2 * number : 2 * number + 2]
        entries = [_entry(case, dice[case]) for case in own]
        mean = {"Dice": METRICS.dice, "IoU": METRICS.iou}
        path.summary.write_text(json.dumps({"foreground_mean": mean, "mean": {}, "metric_per_case": entries}), "utf-8")
        write_model(
            path.outcome_file, ModelOutcome(ok=True, metrics=METRICS, epochs_trained=7, train_hours=0.5, parameters=9)
        )
    (model / "dataset.json").write_text(json.dumps({"labels": LABELS}), "utf-8")
    return model


def _entry(case: str, value: float) -> dict[str, Any]:
    metrics = {"1": {"Dice": value, "IoU": value / 2}, "(1, 2)": {"Dice": value - 0.2, "IoU": float("nan")}}
    return {"prediction_file": f"/x/{case}.nii.gz", "metrics": metrics}


def compare(settings: Settings, **arguments: Any) -> CompareAnswer:
    return nnunet_compare(CompareRequest.model_validate(arguments), settings)


GOOD = {f"case_{number}": 0.8 + number / 100 for number in range(10)}


def test_the_numbers_are_the_means_over_all_cases(settings: Settings, files: DatasetFiles) -> None:
    train(files, "First", GOOD)

    model = compare(settings, dataset_id=91).models[0]

    assert model.per_class["big"][0] == pytest.approx(0.845) and model.per_class["big"][1] == pytest.approx(0.4225)
    assert model.per_class["whole"][0] == pytest.approx(0.645) and model.per_class["whole"][1] is None
    assert model.dice == pytest.approx(0.745)
    assert model.iou is None, "nnU-Net has no mean where a class has none"
    assert model.dice_mean_sd == "0.7450 ± 0.0316"
    assert (model.rank, model.cases, model.epochs, model.train_hours, model.parameters) == (None, 10, 7, 2.5, 9)


def test_models_are_ranked_and_paired_over_the_same_cases(settings: Settings, files: DatasetFiles) -> None:
    train(files, "Best", GOOD)
    train(files, "Worse", {case: value - 0.1 for case, value in GOOD.items()})
    noise = random.Random(0)
    train(files, "Alike", {case: value + noise.uniform(-0.05, 0.05) - 0.001 for case, value in GOOD.items()})

    answer = compare(settings, dataset_id=91)

    names = {model.rank: model.name.split("__")[0] for model in answer.models}
    best = names[1]
    assert set(names) == {1, 2, 3} and names[3] == "Worse"
    found = {difference.model.split("__")[0]: difference for difference in answer.differences}
    assert found["Worse"].clear and found["Worse"].high < 0 and found["Worse"].cases == 10
    other = next(name for name in ("Best", "Alike") if name != best)
    assert not found[other].clear and found[other].low < 0 < found[other].high
    assert "not clearly" in answer.next_step


@pytest.mark.parametrize(
    ("cases", "differences", "clear", "said"),
    [
        pytest.param(10, [0.1] * 10, True, "better", id="ten equal signs"),
        pytest.param(4, [0.1] * 4, False, "too few to tell: n = 4 shared cases, a test needs 6", id="few cases"),
        pytest.param(10, [0.2] + [0.001] * 5 + [-0.001] * 4, False, "n = 10 shared cases", id="one case carries it"),
        pytest.param(0, [0.2] * 10, False, "too few to tell: n = 10 shared cases of 5 patients", id="two visits each"),
    ],
)
def test_a_verdict_needs_enough_cases_or_patients(
    settings: Settings, files: DatasetFiles, cases: int, differences: list[float], clear: bool, said: str
) -> None:
    names = [f"case_{n}" for n in range(cases)] or [f"p{n}_visit{v}" for n in range(5) for v in range(2)]
    good = dict(zip(names, [0.8] * 10, strict=False))
    train(files, "Good", good, folds=len(names) // 2)
    worse = {case: value - by for (case, value), by in zip(good.items(), differences, strict=False)}
    train(files, "Worse", worse, folds=len(names) // 2)

    answer = compare(settings, dataset_id=91)

    (found,) = answer.differences
    assert found.clear is clear and said in found.verdict.replace("worse", "better")
    assert found.dice - found.against_dice == pytest.approx(found.difference, abs=1e-4)
    assert found.patients == (None if cases else 5)
    assert "95 % percentile bootstrap over " + ("cases" if cases else "patients") in answer.method


def test_the_next_step_follows_the_shared_cases_and_not_the_means_of_different_ones(
    settings: Settings, files: DatasetFiles
) -> None:
    """The whole cross-validation has the higher mean, because the partial one validated the two hard cases."""
    hard = {"case_0": 0.5, "case_1": 0.5, **{f"case_{n}": 0.9 for n in range(2, 10)}}
    train(files, "Whole", hard)
    train(files, "Partly", {case: value + 0.003 for case, value in hard.items()}, folds=1)
    never = files.model("Never", "nnUNetPlans", "2d")
    never.mkdir()

    answer = compare(settings, dataset_id=91)

    whole, partly = (model.dice or 0.0 for model in answer.models)
    (found,) = answer.differences
    assert whole > partly and found.difference == pytest.approx(0.003) and found.dice > found.against_dice
    assert "highest Dice" not in answer.next_step and "oo few to tell" in answer.next_step
    assert f"{never.name} has no validated fold yet. It is left out." in answer.notes


def test_an_equal_shift_of_every_case_is_the_difference_exactly(settings: Settings, files: DatasetFiles) -> None:
    train(files, "Best", GOOD)
    train(files, "Worse", {case: value - 0.1 for case, value in GOOD.items()})

    answer = compare(settings, dataset_id=91)
    difference = answer.differences[0]

    assert (difference.difference, difference.low, difference.high) == (-0.1, -0.1, -0.1)
    assert "is better than each model that it was paired with" in answer.next_step


def test_thousands_of_cases_are_compared_in_little_memory(settings: Settings, files: DatasetFiles) -> None:
    """All numbers that the bootstrap draws would take 240 MB at once, three times. A file is read into 268 MB."""
    many = {f"case_{number}": 0.5 + number / 10_000 for number in range(3_000)}
    train(files, "Good", many, folds=1, fold="0")
    train(files, "Worse", {case: value - 0.1 for case, value in many.items()}, folds=1, fold="0")

    tracemalloc.start()
    answer = compare(settings, dataset_id=91)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer.differences[0].cases == 3_000 and answer.differences[0].clear
    assert most < 400e6


def test_what_is_incomplete_is_marked_and_never_ranked(settings: Settings, files: DatasetFiles) -> None:
    train(files, "Whole", {case: value - 0.3 for case, value in GOOD.items()})
    train(files, "Partly", GOOD, folds=2)
    train(files, "Everything", GOOD, folds=1, fold="all")

    answer = compare(settings, dataset_id=91)

    ranks = {model.name.split("__")[0]: model.rank for model in answer.models}
    assert ranks == {"Whole": None, "Partly": None, "Everything": None}, "one alone has no rank"
    assert answer.models[0].name.startswith("Whole")
    assert any("Partly" in note and "incomplete (folds 0, 1)" in note for note in answer.notes)
    assert any("Everything" in note and "training data" in note for note in answer.notes)
    assert [difference.cases for difference in answer.differences] == [4]
    assert "(incomplete)" in answer.table


def test_the_way_to_a_rank_is_to_train_all_folds_of_the_split(settings: Settings, files: DatasetFiles) -> None:
    files.splits_file.write_text(json.dumps([{"train": [], "val": []}] * 3), "utf-8")
    train(files, "Partly", GOOD, folds=1)
    train(files, "Also", GOOD, folds=2)

    step = for_agents(compare(settings, dataset_id=91).next_step)

    assert "oo few to tell: n = 2 shared cases, a test needs 6; Partly__nnUNetPlans__2d" in step
    assert "Ask the person" in step
    assert "configuration='2d', trainer='Partly', fold='all') (2 folds, about 1 h)" in step


def record_training(settings: Settings, fold: str, suffix: str = "tttt") -> str:
    request = {"dataset_id": 91, "configuration": "2d", "fold": fold}
    spec, run_id = stage(f"train_fold_{fold}"), f"d091-2d-f{fold}-{suffix}"
    record = record_of(settings, spec, run_id=run_id, dataset_name=DATASET, request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    return run_id


def test_runs_are_compared_by_the_folds_they_asked_for(settings: Settings, files: DatasetFiles) -> None:
    train(files, "nnUNetTrainer", GOOD)
    run_ids = [record_training(settings, fold) for fold in ("0", "1")]

    answer = compare(settings, run_ids=run_ids)

    assert [model.folds for model in answer.models] == [("0", "1")]
    assert answer.models[0].cases == 4 and not answer.models[0].complete
    assert "d091-2d-f0-tttt and d091-2d-f1-tttt have the same model folder" in answer.notes[0]


def record_evaluation(settings: Settings, suffix: str, dice: dict[str, float]) -> str:
    """Predictions by nobody knows whom, measured over these cases; none where it has not ended."""
    job = EvaluationJob(predictions="/p", labels="/l", pairs={}, tolerance_mm=1.0)
    spec, run_id = StageSpec(name="evaluate", kind="evaluate", configuration="files"), f"d000-files-evaluate-{suffix}"
    record = record_of(settings, spec, run_id=run_id, dataset_name="Dataset000", job=job)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    cases = [CaseMetrics(case=name, dice=value, per_class={"big": value}) for name, value in dice.items()]
    if cases:
        outcome = EvaluationOutcome(ok=True, metrics=METRICS, cases=tuple(cases), evaluation="/e")
        write_model(run.stage("evaluate").outcome_file, outcome)
    return run_id


def test_evaluated_predictions_are_paired_with_a_models_validation(settings: Settings, files: DatasetFiles) -> None:
    train(files, "nnUNetTrainer", GOOD)
    run_id = record_training(settings, "0")
    measured = record_evaluation(settings, "dddd", {"case_0": 0.6, "case_1": 0.6, "case_77": 1.0})
    running = record_evaluation(settings, "rrrr", {})

    answer = compare(settings, run_ids=[run_id, measured, running])

    evaluated, trained = answer.models
    (difference,) = answer.differences
    assert (evaluated.name, evaluated.folds, evaluated.cases, evaluated.rank) == (measured, ("evaluated",), 3, None)
    assert difference.cases == 2 and difference.against_dice == 0.6 and trained.folds == ("0",)
    assert evaluated.per_class["big"] == (round((0.6 + 0.6 + 1.0) / 3, 5), round((0.6 / 1.4 * 2 + 1) / 3, 5))
    said = " ".join(answer.notes)
    assert f"{running} has no scores (yet). It is left out." in said and "no cross-validation, so no rank" in said
    assert "different classes (whole)" in said and "evaluated (incomplete)" not in answer.table


def test_a_fold_that_another_run_trained_again_is_not_compared_as_the_runs_own(
    settings: Settings, files: DatasetFiles
) -> None:
    model = train(files, "nnUNetTrainer", GOOD)
    old, new = (record_training(settings, "0", suffix) for suffix in ("tttt", "again"))
    other = record_training(settings, "1")
    (model / "fold_0" / "nnunet_mcp_run.txt").write_text(new, "utf-8")

    answer = compare(settings, run_ids=[old, other])

    assert answer.models[0].folds == ("1",)
    assert answer.notes[0] == f"Fold 0 of run {old} now holds what run {new} trained. It is left out."
    with pytest.raises(NotFound, match=f"now holds what run {new} trained"):
        compare(settings, run_ids=[old])


def test_a_fold_that_was_trained_by_hand_since_is_not_the_runs_own(settings: Settings, files: DatasetFiles) -> None:
    fold = FoldFiles(train(files, "nnUNetTrainer", GOOD) / "fold_0")
    run_id, other = record_training(settings, "0"), record_training(settings, "1")
    fold.owner_file.write_text(run_id, "utf-8")
    content = json.loads(fold.summary.read_text("utf-8"))
    fold.summary.write_text(json.dumps({**content, "foreground_mean": {"Dice": 0.61, "IoU": 0.5}}), "utf-8")

    answer = compare(settings, run_ids=[run_id, other])

    assert answer.models[0].folds == ("1",)
    assert f"Fold 0 of run {run_id} was trained or validated by hand since" in answer.notes[0]
    assert compare(settings, dataset_id=91).models[0].epochs is None, "our note is not about this model"


def test_folds_that_validate_the_same_case_are_no_cross_validation(settings: Settings, files: DatasetFiles) -> None:
    model = train(files, "nnUNetTrainer", GOOD)
    FoldFiles(model / "fold_1").summary.write_bytes(FoldFiles(model / "fold_0").summary.read_bytes())

    answer = compare(settings, dataset_id=91)

    assert (answer.models[0].complete, answer.models[0].rank) == (False, None)
    assert any("folds 0 and 1 both validate case_0, case_1" in note for note in answer.notes)


NAN = float("nan")


def validate(files: DatasetFiles, fold: str, cases: dict[str, dict[str, float]]) -> None:
    """A fold that was trained by hand on a common and a rare class, with nnU-Net's own means."""
    path = FoldFiles(files.fold("nnUNetTrainer", "nnUNetPlans", "2d", fold))
    path.summary.parent.mkdir(parents=True)
    path.final.write_bytes(b"")
    entries = [
        {"prediction_file": f"{case}.nii.gz", "metrics": {k: {"Dice": v, "IoU": v} for k, v in dice.items()}}
        for case, dice in cases.items()
    ]
    known = {key: [dice[key] for dice in cases.values() if dice[key] == dice[key]] for key in ("1", "2")}
    mean = {key: sum(values) / len(values) if values else NAN for key, values in known.items()}
    foreground = sum(mean.values()) / 2
    means = {key: {"Dice": value, "IoU": value} for key, value in mean.items()}
    whole = {"Dice": foreground, "IoU": foreground}
    text = json.dumps({"foreground_mean": whole, "mean": means, "metric_per_case": entries})
    path.summary.write_text(text, "utf-8")
    labels = {"labels": {"background": 0, "common": 1, "rare": 2}}
    (path.path.parent / "dataset.json").write_text(json.dumps(labels), "utf-8")


def results(settings: Settings, *folds: str) -> dict[str, Any]:
    """nnunet_results of a run that found these folds trained."""
    specs = [stage(f"train_fold_{fold}", reused=True) for fold in folds]
    request = {"dataset_id": 91, "configuration": "2d", "fold": "all" if len(folds) > 1 else folds[0]}
    record = record_of(settings, *specs, run_id="d091-2d-f0-rare", dataset_name=DATASET, request=request)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    return ask(settings, "nnunet_results", run_id="d091-2d-f0-rare")


def test_a_class_that_no_case_has_leaves_no_mean_and_both_tools_say_why(
    settings: Settings, files: DatasetFiles
) -> None:
    validate(files, "0", {"a": {"1": 0.9, "2": NAN}})

    result, answer = results(settings, "0"), compare(settings, dataset_id=91)

    why = "Dice is null because class rare occurs in no validation case; without it the mean is 0.9."
    assert result["metrics"]["dice"] is None and why in result["notes"]
    assert answer.models[0].dice is None and f"{answer.models[0].name}: {why}" in answer.notes


def test_a_class_that_only_one_fold_lacks_is_told_of_that_fold(settings: Settings, files: DatasetFiles) -> None:
    validate(files, "0", {"a": {"1": 0.9, "2": NAN}})
    validate(files, "1", {"b": {"1": 0.9, "2": 0.7}})

    result, answer = results(settings, "0", "1"), compare(settings, dataset_id=91)

    why = "Dice is null because class rare occurs in no validation case; without it the mean is 0.9."
    assert [fold["dice"] for fold in result["folds"]] == [None, 0.8] and "dice_mean_sd" not in result
    assert f"Fold 0: {why}" in result["notes"]
    assert answer.models[0].dice == pytest.approx(0.8) and answer.models[0].dice_mean_sd is None
    assert f"{answer.models[0].name}, fold 0: {why}" in answer.notes


def test_several_classes_that_no_case_has_are_told_together(settings: Settings, files: DatasetFiles) -> None:
    validate(files, "0", {"a": {"1": NAN, "2": NAN}})

    (note,) = (note for note in compare(settings, dataset_id=91).notes if "null" in note)

    assert note.endswith("Dice is null because classes common, rare occur in no validation case.")


def test_cross_validations_without_a_dice_have_no_rank_and_no_advice_to_train(
    settings: Settings, files: DatasetFiles
) -> None:
    for fold in range(5):
        validate(files, str(fold), {f"case_{fold}": {"1": 0.9, "2": NAN}})

    answer = compare(settings, dataset_id=91)

    assert (answer.models[0].complete, answer.models[0].rank) == (True, None)
    assert answer.next_step == "A Dice that is null has no rank: the notes say which class to look at."


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{", id="cut off"),
        pytest.param('{"foreground_mean": {}}', id="no cases"),
        pytest.param('{"metric_per_case": [5]}', id="a number as a case"),
        pytest.param('{"metric_per_case": [{"prediction_file": "a.nii.gz", "metrics": {"1": 5}}]}', id="no metrics"),
    ],
)
def test_a_damaged_summary_is_left_out_and_told(settings: Settings, files: DatasetFiles, text: str) -> None:
    train(files, "Good", GOOD)
    damaged = train(files, "Damaged", GOOD)
    FoldFiles(damaged / "fold_3").summary.write_text(text, "utf-8")

    answer = compare(settings, dataset_id=91)

    folds = {model.name.split("__")[0]: model.folds for model in answer.models}
    assert folds == {"Good": ("0", "1", "2", "3", "4"), "Damaged": ("0", "1", "2", "4")}
    told = f"{damaged.name}/fold_3: its validation/summary.json cannot be read. Validate this fold again."
    assert f"{told} It is left out." in answer.notes
    with pytest.raises(ToolRefused, match=re.escape(told)):
        ask(settings, "nnunet_find_best_configuration", dataset_id=91)


def test_a_search_among_one_says_that_nothing_is_compared_and_how_to_get_a_second(
    settings: Settings, files: DatasetFiles
) -> None:
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), "utf-8")
    train(files, "Whole", GOOD)
    train(files, "Partly", GOOD, folds=2)

    models, notes = _candidates(files, StateDir.of(settings))

    assert [model.folder.name for model in models] == ["Whole__nnUNetPlans__2d"]
    said = for_agents(" ".join(notes))
    assert "Only one complete cross-validation, so nothing is compared" in said
    assert "trainer='Partly', plans_identifier='nnUNetPlans', fold='all') would make a second one" in said
    assert "Partly__nnUNetPlans__2d is left out: folds 2, 3, 4: not trained" in said


def test_a_fixed_validation_set_is_called_no_cross_validation(settings: Settings, files: DatasetFiles) -> None:
    cases = list(GOOD)
    files.splits_file.write_text(json.dumps([{"train": cases[2:], "val": cases[:2]}]), "utf-8")
    train(files, "First", GOOD, folds=1)
    train(files, "Second", {case: value - 0.1 for case, value in GOOD.items()}, folds=1)

    answer = compare(settings, dataset_id=91)

    assert [model.rank for model in answer.models] == [1, 2]
    assert "fixed validation set, no cross-validation" in " ".join(answer.notes)
    with pytest.raises(NotFound, match="No complete validation on the fixed set"):
        _candidates(files, StateDir.of(settings))


def test_nothing_validated_other_datasets_and_no_choice_are_refused(settings: Settings, files: DatasetFiles) -> None:
    with pytest.raises(NotFound, match="validated fold yet"):
        compare(settings, dataset_id=91)
    with pytest.raises(ValueError, match="either run_ids or dataset_id"):
        compare(settings)
    train(files, "nnUNetTrainer", GOOD, folds=1)
    other = DatasetFiles(settings.folders, "Dataset092_Other")
    train(other, "nnUNetTrainer", GOOD, folds=1)
    for number, name in ((91, DATASET), (92, other.name)):
        request = {"dataset_id": number, "configuration": "2d", "fold": "0"}
        run_id = f"d0{number}-2d-f0-tttt"
        record = record_of(settings, stage("train_fold_0"), run_id=run_id, dataset_name=name, request=request)
        record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)

    with pytest.raises(Refused, match="different datasets"):
        compare(settings, run_ids=["d091-2d-f0-tttt", "d092-2d-f0-tttt"])


def test_runs_that_are_not_validated_are_shown_by_their_last_epoch(settings: Settings, files: DatasetFiles) -> None:
    silent, run_id = record_training(settings, "1", "ssss"), record_training(settings, "0")
    with pytest.raises(NotFound, match="validated fold yet"):
        compare(settings, run_ids=[silent, run_id])
    losses = {"train_loss": -0.5, "val_loss": -0.4, "pseudo_dice": 0.71, "ema_pseudo_dice": 0.7, "learning_rate": 0.01}
    epochs = StateDir.of(settings).run(run_id).stage("train_fold_0").epochs_file
    append_line(epochs, Epoch.model_validate({"epoch": 4, "seconds": 1.0, **losses}))

    answer = compare(settings, run_ids=[silent, run_id], table="csv")

    assert not answer.models and "no Dice to compare" in answer.method and "estimate" in answer.method
    rows = list(csv.reader(io.StringIO(answer.table)))
    assert [row[0] for row in rows] == ["run", run_id] and rows[1][2:] == ["5", "-0.5000", "-0.4000", "0.7100"]
    assert f"{silent} has not finished an epoch. It is left out." in answer.notes


def test_the_table_comes_in_three_formats(settings: Settings, files: DatasetFiles) -> None:
    train(files, "My_Trainer", GOOD)

    markdown, table, latex = (
        compare(settings, dataset_id=91, table=name).table for name in ("markdown", "csv", "latex")
    )

    assert "| – | My_Trainer__nnUNetPlans__2d | 0+1+2+3+4 | 10 | 0.7450 |" in markdown
    rows = list(csv.reader(io.StringIO(table)))
    assert rows[0][:5] == ["rank", "model", "folds", "cases", "Dice (all cases)"] and len(rows[0]) == len(rows[1])
    assert _escaped("T1^2") == r"T1\textasciicircum{}2"
    assert r"My\_Trainer\_\_nnUNetPlans\_\_2d" in latex and r"$\pm$" in latex and latex.count(r"\\") == 2
    assert "{booktabs}" in latex and latex.splitlines()[3].count("&") == 7, "a page is narrow"
