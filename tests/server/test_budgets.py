"""How much a model has to read: each tool's answer at its largest stays within a bound."""

import json
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome, SearchOutcome
from nnunet_mcp.schemas.records import (
    BestConfiguration,
    Candidate,
    CaseMetrics,
    ClassMetrics,
    Metrics,
    StageSpec,
    StageState,
)
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset, record_of, stage

LABELS = [f"a structure with quite a long name {number}" for number in range(40)]
CASES = [f"patient_{number:05d}_of_the_second_hospital" for number in range(900)]
NUMBERS = Metrics(dice=0.123456789012345, iou=0.123456789012345, validation_loss=-0.123456789012345)


def outcome(cases: list[str]) -> ModelOutcome:
    """A fold that measured forty structures in these cases."""
    dice: dict[str, float | None] = dict.fromkeys(LABELS, 0.123456789012345)
    return ModelOutcome(
        ok=True,
        model_path="/data/nnUNet_results/Dataset098_Large/nnUNetTrainer__nnUNetPlans__2d/fold_0",
        metrics=NUMBERS,
        per_class=tuple(ClassMetrics(label=name, dice=value, iou=value) for name, value in dice.items()),
        cases=tuple(CaseMetrics(case=case, dice=0.123456789012345, per_class=dice) for case in cases),
    )


@pytest.fixture
def large(settings: Settings) -> str:
    """A cross-validation of 900 cases with forty structures, thirty more runs, and a log of long lines."""
    make_dataset(settings.folder("raw"), "Dataset098_Large")
    stages = [stage(f"train_fold_{fold}") for fold in range(5)]
    specs = (*stages, stage("cross_validation", *(spec.name for spec in stages)))
    for number in range(31):
        request = {"dataset_id": 98, "configuration": "2d", "fold": "all", "npz": bool(number % 2)}
        run_id = f"d098-2d-all-{number:04d}"
        record = record_of(settings, *specs, run_id=run_id, dataset_name="Dataset098_Large", request=request)
        run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
        for spec in specs:
            write_model(run.stage(spec.name).state_file, StageState(status="success"))
    for fold, spec in enumerate(specs):
        write_model(run.stage(spec.name).outcome_file, outcome(CASES[180 * fold :][:180] or CASES))
    run.stage("train_fold_0").log_file.write_text(
        "".join("ValueError: " + "x" * 5000 + "\n" for _ in range(500)), "utf-8"
    )
    return run.run_id


@pytest.mark.parametrize(
    ("tool", "arguments", "characters"),
    [
        ("nnunet_results", {"run_id": "RUN"}, 18_000),
        ("nnunet_progress", {"run_id": "RUN"}, 1_200),
        ("nnunet_logs", {"run_id": "RUN", "stage": "train_fold_0"}, 16_000),
        ("nnunet_runs", {}, 8_000),
        ("nnunet_cancel", {"run_id": "RUN"}, 500),
        ("nnunet_datasets", {}, 3_000),
        ("nnunet_dashboard", {}, 1_500),
        ("nnunet_system", {}, 3_000),
        ("nnunet_preflight", {"dataset_id": 98, "configuration": "2d", "device": "cpu"}, 4_000),
    ],
)
def test_no_answer_is_longer_than_its_bound(
    settings: Settings, large: str, tool: str, arguments: dict[str, Any], characters: int
) -> None:
    given = {name: large if value == "RUN" else value for name, value in arguments.items()}

    assert len(json.dumps(ask(settings, tool, **given), separators=(",", ":"))) <= characters


def test_of_nine_hundred_datasets_thirty_are_told_and_the_others_named(settings: Settings) -> None:
    for number in range(1, 901):
        (settings.folder("preprocessed") / f"Dataset{number:03d}_A_study_with_a_long_name").mkdir(parents=True)

    answer = ask(settings, "nnunet_datasets")

    assert (len(answer["datasets"]), len(answer["others"])) == (30, 200)
    assert "670 more" in answer["next_step"] and len(json.dumps(answer)) < 20_000


def test_datasets_with_many_labels_are_listed_in_short_and_told_alone_in_full(settings: Settings) -> None:
    for number in range(100, 130):
        folder = make_dataset(settings.folder("raw"), f"Dataset{number}_TotalSegmentator", cases=1)
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        labels = {"background": 0, **{f"{LABELS[n % 40]} {n}": n + 1 for n in range(117)}}
        (folder / "dataset.json").write_text(json.dumps({**content, "labels": labels}), encoding="utf-8")

    listed = ask(settings, "nnunet_datasets")
    alone = ask(settings, "nnunet_datasets", dataset_id=100, full=True)

    assert listed["datasets"][0]["labels"][-1] == "… and 112 more" and len(json.dumps(listed)) < 20_000
    assert len(alone["datasets"][0]["labels"]) == 118 and len(json.dumps(alone)) < 12_000


def test_an_unknown_id_is_told_with_some_of_the_known_ones(settings: Settings) -> None:
    for number in range(1, 901):
        (settings.folder("preprocessed") / f"Dataset{number:03d}_A_study_with_a_long_name").mkdir(parents=True)

    with pytest.raises(ToolRefused, match="and 880 more") as caught:
        ask(settings, "nnunet_datasets", dataset_id=950)
    assert len(str(caught.value)) < 1_500


def test_the_result_of_a_search_is_not_longer_than_its_bound(settings: Settings) -> None:
    model = "nnUNetTrainer_250epochs__nnUNetResEncUNetLPlans__3d_cascade_fullres"
    name = f"ensemble___{model}___{model}___0_1_2_3_4"
    best = BestConfiguration(
        name=name,
        models=(f"/data/nnUNet_results/Dataset098_Large/{model}",) * 2,
        dice=0.123456789012345,
        dice_postprocessed=0.123456789012345,
        candidates=(Candidate(name=name, dice=0.123456789012345),) * 20,
        postprocessing=tuple(f"keep only the largest component of {label}" for label in LABELS),
        instructions="nnUNetv2_predict -d Dataset098_Large -i INPUT_FOLDER -o OUTPUT_FOLDER_MODEL_1\n" * 20,
        instructions_file="/data/nnUNet_results/Dataset098_Large/inference_instructions.txt",
    )
    spec = StageSpec(name="find_best", kind="find_best", configuration="best")
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings, spec), [], repeat_window_s=0)
    write_model(run.stage(spec.name).state_file, StageState(status="success"))
    write_model(
        run.stage(spec.name).outcome_file,
        SearchOutcome(**{**outcome(CASES).model_dump(exclude={"kind"}), "best": best}),
    )

    found = ask(settings, "nnunet_results", run_id=run.run_id)

    assert len(found["best"]["candidates"]) == 20 and "nnunet_predict(dataset_id=" in found["next_step"]
    assert len(json.dumps(found, separators=(",", ":"))) <= 28_000
