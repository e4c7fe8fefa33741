"""What two models were trained with, in words, and why: from the records of their runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.provenance import compose_provenance
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.settings import Settings
from tests.kit.tiny import ask, make_dataset, record_of

DATASET = "Dataset093_Told"
VERSIONS = {"nnunetv2": "2.8.1", "torch": "2.8.0"}
PLANS = json.loads((Path(__file__).parents[2] / "plans" / "default_with_cascade.json").read_text("utf-8"))
PLAN = PLANS["configurations"]["2d"]
NETWORK = PLAN["architecture"]


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    make_dataset(settings.folder("raw"), DATASET, cases=6)
    files = DatasetFiles(settings.folders, DATASET)
    files.preprocessed.mkdir(parents=True)
    _write(files.splits_file, [{"train": ["a"], "val": ["b"]}])
    _write(files.preprocessed / "dataset.json", {"labels": {"background": 0, "block": 1}})
    return files


def trained(
    settings: Settings,
    files: DatasetFiles,
    trainer: str,
    dice: float,
    *,
    plan: dict[str, Any] | None = None,
    ended: bool = True,
    versions: dict[str, str] = VERSIONS,
    device: str = "cpu",
    **request: Any,
) -> str:
    """A run that trained and validated fold 0 of this trainer on six cases, as it and its worker leave it on disk."""
    asked = {"dataset_id": 93, "configuration": "2d", "fold": "0", **request}
    given = {"trainer": trainer, "versions": versions, "device": device, "dataset_name": DATASET, "request": asked}
    record = record_of(settings, run_id=f"d093-2d-f0-{trainer.lower()}", **given)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    by_hand(files, trainer, dice, plan=plan).owner_file.write_text(run.run_id, "utf-8")
    if ended:
        write_model(run.provenance_file, compose_provenance(run, record))
    return run.run_id


def by_hand(files: DatasetFiles, trainer: str, dice: float, *, plan: dict[str, Any] | None = None) -> FoldFiles:
    """Such a fold without a run."""
    fold = FoldFiles(files.fold(trainer, "nnUNetPlans", "2d", "0"))
    fold.summary.parent.mkdir(parents=True)
    fold.final.write_bytes(b"")
    entries = [
        {"prediction_file": f"/x/{n}.nii.gz", "metrics": {"1": {"Dice": dice + n / 100, "IoU": 0.5}}} for n in range(6)
    ]
    means = {"foreground_mean": {"Dice": dice, "IoU": 0.5}, "mean": {}, "metric_per_case": entries}
    fold.summary.write_text(json.dumps(means), "utf-8")
    _write(fold.path.parent / "dataset.json", {"labels": {"background": 0, "block": 1}})
    _write(fold.path.parent / "plans.json", {**PLANS, "configurations": {"2d": {**PLAN, **(plan or {})}}})
    return fold


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), "utf-8")


def differs(settings: Settings, **arguments: Any) -> list[str]:
    first, second = ask(settings, "nnunet_compare", **arguments)["models"]
    assert "differs" not in first
    return list(second["differs"])


def test_what_was_asked_for_planned_and_installed_is_told_and_nothing_else(
    settings: Settings, files: DatasetFiles
) -> None:
    deeper = {**NETWORK["arch_kwargs"], "n_stages": 9, "strides": [[1, 1], *[[2, 2]] * 8]}
    runs = [
        trained(settings, files, "Base", 0.8),
        trained(
            settings,
            files,
            "Base_topk_bs4",
            0.7,
            plan={"batch_size": 4, "batch_dice": False, "architecture": {**NETWORK, "arch_kwargs": deeper}},
            versions={**VERSIONS, "torch": "2.9.0", "cuda": "12.8"},
            changes=["loss=dice_topk", "batch_size=4"],
            bf16=True,
            pretrained_weights="/models/checkpoint_final.pth",
        ),
    ]
    told = [
        "arguments: pretrained_weights /models/checkpoint_final.pth instead of none, bf16 yes instead of no",
        "changes: loss dice_topk instead of nnU-Net's, batch_size 4 instead of nnU-Net's",
        "plans: batch_size 4 instead of 12, batch_dice no instead of yes, n_stages 9 instead of 8, another strides",
        "versions: torch 2.9.0 instead of 2.8.0, cuda 12.8 instead of none",
    ]

    assert differs(settings, run_ids=runs) == told
    assert differs(settings, dataset_id=93) == told, "a dataset's models are traced to the runs that own their folds"


def test_data_and_split_that_changed_between_two_runs_are_told(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, files, "Base", 0.8)
    label = next((settings.folder("raw") / DATASET / "labelsTr").iterdir())
    label.write_bytes(label.read_bytes() + b"0")
    _write(files.splits_file, [{"train": ["b"], "val": ["a"]}])
    trained(settings, files, "Later", 0.7)

    assert differs(settings, dataset_id=93) == ["raw data: other files, sizes or times", "split: another one"]


def test_what_is_not_known_of_a_model_is_not_called_the_same(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, files, "Base", 0.8)
    forged = by_hand(files, "ByHand", 0.7, plan={"batch_size": 3})
    forged.owner_file.write_text("d093-2d-f0-base", "utf-8")

    assert differs(settings, dataset_id=93) == [
        "model: trainer ByHand instead of Base",
        "plans: batch_size 3 instead of 12",
        "not known: arguments, changes, raw data, dataset.json, split, versions",
    ]
    forged.owner_file.write_text("../../elsewhere", "utf-8")
    (forged.path.parent / "plans.json").write_text("{", "utf-8")
    assert differs(settings, dataset_id=93)[-1].startswith("not known: arguments, changes, plans, raw data")


def test_a_run_that_has_not_ended_says_nothing_of_its_data_yet(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, files, "Base", 0.8)
    trained(settings, files, "Going", 0.7, ended=False)

    assert differs(settings, dataset_id=93)[-1] == "not known: raw data, dataset.json, split"


def test_notes_are_a_column_where_any_run_has_one(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, files, "Base", 0.8)
    assert "note" not in ask(settings, "nnunet_compare", dataset_id=93)["table"]
    trained(settings, files, "Other", 0.7, note="=1+1 | fewer epochs")

    markdown, table, latex = (
        ask(settings, "nnunet_compare", dataset_id=93, table=name) for name in ("markdown", "csv", "latex")
    )

    head, _, base, other = markdown["table"].splitlines()
    assert head.endswith("| note |") and base.endswith("| – |") and other.endswith("| =1+1 \\| fewer epochs |")
    rows = list(csv.reader(io.StringIO(table["table"])))
    assert [row[-1] for row in rows] == ["note", "–", "'=1+1 | fewer epochs"], "no spreadsheet computes it"
    assert "fewer" not in latex["table"] and markdown["models"][1]["note"] == "=1+1 | fewer epochs"
    assert "note" not in markdown["models"][0]


def test_beside_what_differs_it_is_told_whether_the_dice_differs_by_more_than_chance(
    settings: Settings, files: DatasetFiles
) -> None:
    runs = [
        trained(settings, files, "Base", 0.8),
        trained(settings, files, "Changed", 0.7, changes=["loss=dice_topk"]),
    ]

    answer = ask(settings, "nnunet_compare", run_ids=runs)

    (found,) = answer["differences"]
    assert found["verdict"] == (
        "Changed__nnUNetPlans__2d is worse than Base__nnUNetPlans__2d by 0.1000 (n = 6 shared cases)"
    )
    assert answer["models"][1]["differs"] == ["changes: loss dice_topk instead of nnU-Net's"]
