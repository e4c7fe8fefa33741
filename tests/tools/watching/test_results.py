"""What nnunet_results says about a run that has ended, and what speaks against its numbers."""

import os
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import CaseMetrics, ClassMetrics, EngineRecord, Metrics, StageState
from nnunet_mcp.settings import Settings
from tests.kit.lab import Answer
from tests.kit.tiny import ask, record_of

RUN = "d001-2d-f0-tttt"
MODEL = "/results/Dataset001_Tiny/nnUNetTrainer__nnUNetPlans__2d/fold_0"
Scores = dict[str, tuple[float | None, int, int]]


def case(name: str, scores: Scores) -> CaseMetrics:
    """Per class: Dice, voxels predicted, voxels true."""
    dice = {label: value for label, (value, _, _) in scores.items()}
    known = [value for value in dice.values() if value is not None]
    voxels = {label: (predicted, true) for label, (_, predicted, true) in scores.items()}
    return CaseMetrics(case=name, dice=sum(known) / len(known), per_class=dice, voxels=voxels)


def finished(settings: Settings, cases: list[CaseMetrics], **fields: Any) -> tuple[Answer, Answer]:
    """What nnunet_results and nnunet_progress say of a fold that measured these cases."""
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings), [], repeat_window_s=0)
    means = {}
    for label in cases[0].per_class:
        known = [value for one in cases if (value := one.per_class[label]) is not None]
        means[label] = sum(known) / len(known)
    whole = sum(means.values()) / len(means)
    outcome = ModelOutcome(
        ok=True,
        model_path=MODEL,
        metrics=Metrics(dice=whole, iou=whole / 2, validation_loss=-0.123456789),
        per_class=tuple(ClassMetrics(label=label, dice=value, iou=value) for label, value in means.items()),
        cases=tuple(cases),
        **{"epochs_trained": 1000, "train_hours": 2.5, "checkpoint": "checkpoint_final.pth", **fields},
    )
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(run.stage("train_fold_0").state_file, StageState(status="success"))
    write_model(run.stage("train_fold_0").outcome_file, outcome)
    return ask(settings, "nnunet_results", run_id=RUN), ask(settings, "nnunet_progress", run_id=RUN)


def good(count: int) -> list[CaseMetrics]:
    return [case(f"case_{n}", {"lung": (0.9, 900, 1000), "lesion": (0.5, 20, 30)}) for n in range(count)]


UNSEEN = [
    case(name, {"Anterior": (0.0, 0, true), "Posterior": (0.5, 900, 1000)}) for name, true in (("a", 1400), ("b", 1600))
]
ELSEWHERE = [*good(9), case("case_9", {"lung": (0.9, 900, 1000), "lesion": (0.0, 40, 0)})]


@pytest.mark.parametrize(
    ("cases", "fields", "notes", "verdict"),
    [
        pytest.param(good(5), {"ema_pseudo_dice": 0.82}, [], "ok", id="nothing speaks against it"),
        pytest.param(
            UNSEEN,
            {"epochs_trained": 6, "voxel_mm3": 2.0},
            [
                "Anterior: Dice 0 in 2 of 2 cases: no voxel of it is predicted, 1,500 voxels (3 mL) a case are true.",
                "Only 6 epochs (nnU-Net's usual is 1000) and 2 cases: a first impression, not a measurement of the "
                "method.",
            ],
            "poor",
            id="a class that is predicted nowhere, after six epochs and in two cases",
        ),
        pytest.param(
            [case("case_0", {"tumour": (0.04, 50_000, 1000)})] * 5,
            {},
            ["tumour: Dice 0.040, hardly any overlap: 50,000 voxels a case are predicted, 1,000 voxels are true."],
            "poor",
            id="a network that has learnt nothing",
        ),
        pytest.param(
            [case("case_0", {f"bone {n}": (0.0, 0, 5) for n in range(117)})] * 5,
            {},
            [*(f"bone {n}: Dice 0 in 5 of 5 cases" for n in range(3)), "114 more classes of Dice 0."],
            "poor",
            id="a hundred classes that are missed",
        ),
        pytest.param(
            ELSEWHERE,
            {},
            ["lesion: Dice 0 in 1 of 10 cases (case_9): 40 voxels a case are predicted, 0 voxels are true."],
            "ok",
            id="a case with a lesion where there is none",
        ),
        pytest.param(
            good(5), {"ema_pseudo_dice": 0.95}, ["far under the last pseudo Dice (0.950"], "poor", id="patches"
        ),
    ],
)
def test_the_notes_say_what_speaks_against_the_numbers(
    settings: Settings, cases: list[CaseMetrics], fields: dict[str, Any], notes: list[str], verdict: str
) -> None:
    result, progress = finished(settings, cases, **fields)

    assert len(result["notes"]) == len(notes) and all(map(str.__contains__, result["notes"], notes)), result["notes"]
    assert progress["health"]["verdict"] == verdict
    if verdict == "poor":
        assert result["notes"][0][:60] in progress["health"]["detail"]
        assert "nnunet_results" in progress["next_step"] and "nnunet_predict" not in result["next_step"]
        assert ask(settings, "nnunet_runs")["runs"][0]["problem"].startswith("poor: ")
    else:
        assert f"Dice {result['metrics']['dice']:.4f} over {len(cases)} cases" in progress["health"]["detail"]


def test_a_result_says_how_it_was_made_where_it_lies_and_how_much_it_is(settings: Settings) -> None:
    result, _ = finished(settings, good(5))

    assert (result["trainer"], result["epochs"], result["train_hours"]) == ("nnUNetTrainer", 1000, 2.5)
    assert (result["cases"], result["checkpoint"]) == (5, "checkpoint_final.pth")
    assert result["complete"] and result["cross_validation"] == "1 of 5 folds"
    assert result["metrics"]["validation_loss"] == -0.123457
    assert None not in result.values() and str(result).count(MODEL) == 1

    split = settings.folder("preprocessed") / "Dataset001_Tiny" / "splits_final.json"
    split.parent.mkdir(parents=True)
    split.write_text('[{"train": ["a"], "val": ["b"]}]', "utf-8")
    assert ask(settings, "nnunet_results", run_id=RUN)["cross_validation"] == "a fixed validation set"


def test_every_case_comes_with_its_volumes_on_request(settings: Settings) -> None:
    measured = [case(f"case_{number}", {"liver": (number / 10, 900, 1000)}) for number in range(8)]
    absent = CaseMetrics(case="without", dice=None, per_class={"liver": None}, voxels={"liver": (0, 0)})
    usual, _ = finished(settings, [*reversed(measured), absent], voxel_mm3=3.0)

    every = ask(settings, "nnunet_results", run_id=RUN, cases=1000)["worst_cases"]

    assert [one["case"] for one in every] == [*(f"case_{number}" for number in range(8)), "without"]
    assert every[1]["per_class"] == {"liver": 0.1} and every[1]["ml"] == {"liver": [2.7, 3.0]}
    assert [one["case"] for one in usual["worst_cases"]] == [f"case_{number}" for number in range(5)]
    assert "ml" not in usual["worst_cases"][0] and "voxels" not in usual["worst_cases"][0]


def test_a_transfer_is_told_while_the_training_still_runs(settings: Settings) -> None:
    told = "Transfer: 60 of 64 tensors of the network were loaded from a.pth."
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings), [], repeat_window_s=0)
    write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    write_model(run.stage("train_fold_0").state_file, StageState(status="running"))
    run.stage("train_fold_0").write_notes("transfer", [told])

    answer = ask(settings, "nnunet_results", run_id=RUN)

    assert answer["status"] == "running" and told in answer["notes"]
