"""Splits from the chat: patients stay together, rare labels are spread, trainings that began are left alone."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, find_dataset
from nnunet_mcp.nnunet.models import trained_folds
from nnunet_mcp.nnunet.preprocessed import DatasetNote, dataset_note_file
from nnunet_mcp.nnunet.splits import TrainedCases, digest as digest_of, split_to_make
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import RunRecord
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.patients import Patient, by_pattern, spread
from nnunet_mcp.tools.training import training
from nnunet_mcp.tools.training.checks import Preparation
from tests.kit.lab import FEW, Answer, Lab, ToolRefused
from tests.kit.phantom import write_phantom
from tests.kit.planned import plan, preprocess, train
from tests.kit.tiny import ask, digest, image, make_dataset, record_of, save

Fold = dict[str, list[str]]
CASES = [f"p{number // 2}_{'ab'[number % 2]}" for number in range(12)]


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    """Twelve cases of six patients: p0_a, p0_b, p1_a and so on."""
    settings.create_folders()
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny", cases=12)
    for number, name in enumerate(CASES):
        old = f"case_{number:03d}"
        (raw / "imagesTr" / f"{old}_0000.nii.gz").rename(raw / "imagesTr" / f"{name}_0000.nii.gz")
        (raw / "labelsTr" / f"{old}.nii.gz").rename(raw / "labelsTr" / f"{name}.nii.gz")
    return find_dataset(settings.folders, 1)


@pytest.fixture
def split(settings: Settings, files: DatasetFiles) -> Callable[..., Answer]:
    def call(**arguments: Any) -> Answer:
        return ask(settings, "nnunet_split_dataset", **{"dataset_id": 1, "stratify": False, **arguments})

    return call


def written(files: DatasetFiles) -> list[Fold]:
    found: list[Fold] = json.loads(files.own_splits_file.read_text(encoding="utf-8"))
    return found


def put(path: Path, folds: list[Fold]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(folds), encoding="utf-8")


@pytest.mark.parametrize("arguments", [{}, {"folds": 10, "seed": 7}, {"stratify": True}])
def test_without_patients_and_rare_labels_the_folds_are_nnunets_own(
    files: DatasetFiles, split: Callable[..., Answer], arguments: dict[str, Any]
) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    split(write=True, **arguments)

    asked = {"n_splits": arguments.get("folds", 5), "seed": arguments.get("seed", 12345)}
    assert written(files) == generate_crossval_split(sorted(CASES), **asked)


def test_a_look_writes_nothing_and_proposes_the_call_that_does(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    before = digest(files.raw)

    found = split(patients="{patient}_*", folds=3)

    assert digest(files.raw) == before and not found["written"]
    call = "nnunet_split_dataset(dataset_id=1, folds=3, patients='{patient}_*', stratify=false, write=true)"
    assert call in found["next_step"] and "Ask the person" in found["next_step"]
    assert (found["cases"], found["patients"], found["count"]) == (12, 6, 3)
    assert found["grouped"][0] == "p0: p0_a, p0_b"
    assert "Some names begin alike (p0_a, p0_b)" in split(folds=3)["notes"][0] and "notes" not in found
    sizes = [(fold["training"], fold["validation"], fold["patients"]) for fold in found["folds"]]
    assert sizes == [(8, 4, 2)] * 3
    assert "split" not in ask(settings, "nnunet_datasets")["datasets"][0]


TABLES = {
    "two columns": "\n".join(f"{case},{case[:2]}" for case in CASES),
    "named columns, Excel": "﻿Age;Patient;Case\r\n" + "\r\n".join(f"1;{case[:2]};{case}.nii.gz" for case in CASES),
    "tabs": "subject\tname\n" + "\n".join(f"{case[:2]}\t{case}" for case in [*CASES, "not_in_the_dataset"]),
}


@pytest.mark.parametrize("patients", ["{patient}_{any}", "p{patient}_*", *TABLES])
def test_a_patient_is_never_on_both_sides(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer], tmp_path: Path, patients: str
) -> None:
    if patients in TABLES:
        table = settings.folder("raw") / "patients.csv"
        table.write_text(TABLES[patients], encoding="utf-8", newline="")
        patients = str(table)

    found = split(patients=patients, write=True)

    folds = written(files)
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(CASES)
    for fold in folds:
        assert sorted(fold["train"] + fold["val"]) == sorted(CASES)
        assert not {case[:2] for case in fold["train"]} & {case[:2] for case in fold["val"]}
    told = ask(settings, "nnunet_datasets")["datasets"][0]["split"]
    assert told == f"5 folds, {found['made']}" and "kept together" in told


@pytest.mark.parametrize(
    ("patients", "why"),
    [
        ("{patient}_c", r"does not fit 12 of 12 cases: p0_a, p0_b, p1_a and 9 more"),
        ("{patient}*", r"all cases are of one patient, 'p'"),
        ("{patient}_{patient}", r"must hold \{patient\} once"),
        ("{case}_{patient}", r"must hold \{patient\} once"),
        ("*" * 30 + "{patient}", r"at most 3 \*"),
        ("/etc/passwd", r"no table in an allowed folder"),
        ("-rf", r"no table in an allowed folder"),
        ("FOLDER", r"no table in an allowed folder"),
        ("no,patients\n", r"names no patient for 12 of 12 cases: p0_a"),
        ("p0_a,x\np0_a,y\n", r"gives p0_a to two patients, x, y"),
        ("p0_a\np0_b\n", r"no table with the columns case and patient"),
        ("", r"no table with the columns case and patient"),
    ],
)
def test_what_names_no_patient_for_every_case_is_refused(
    settings: Settings, split: Callable[..., Answer], patients: str, why: str
) -> None:
    if patients == "FOLDER":
        patients = str(settings.folder("raw"))
    elif "\n" in patients or not patients:
        table = settings.folder("raw") / "patients.csv"
        table.write_text(patients, encoding="utf-8")
        patients = str(table)
    with pytest.raises(ToolRefused, match=why):
        split(patients=patients, write=True)


def test_all_names_together_may_take_no_longer_than_one_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_mcp.tools.data.import_patterns.PATIENCE_S", 0.2)
    names = ["a" * 90 + str(number) for number in range(60)]  # each takes some 20 ms

    with pytest.raises(Refused, match="takes too long to compare"):
        by_pattern(names, "*a*a*a{patient}b")


def test_a_rare_label_is_in_every_fold_where_it_can_be_and_its_cases_are_told(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    description = json.loads((files.raw / "dataset.json").read_text(encoding="utf-8"))
    description["labels"] |= {"tumour": 2, "cyst": 3}
    (files.raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    block = (image() > 0.5).astype(numpy.uint8)
    for case, value in {"p0_a": 2, "p1_b": 2, "p4_a": 2, "p5_b": 2, "p2_a": 3}.items():
        label = block.copy()
        label[0, 0, 0] = value
        save(files.raw / "labelsTr" / f"{case}.nii.gz", label)

    found = split(folds=4, stratify=True, write=True)
    grouped = split(folds=3, patients="{patient}_*", stratify=True)

    assert [fold["labels"]["tumour"] for fold in found["folds"]] == [1, 1, 1, 1]
    assert sum(fold["labels"]["cyst"] for fold in found["folds"]) == 1
    assert "cannot be in each of 4 folds" in found["notes"][0] and "cyst (1 case)" in found["notes"][0]
    assert all("block" not in fold["labels"] for fold in found["folds"])
    assert [len(fold["val"]) for fold in written(files)] == [3, 3, 3, 3]
    assert all(fold["labels"]["tumour"] >= 1 and fold["validation"] == 4 for fold in grouped["folds"])


def test_whole_patients_of_very_different_size_and_several_rare_labels_are_spread_evenly() -> None:
    rare = {"a": range(0, 12), "b": range(8, 20), "c": (3, 30, 31, 32)}
    patients = [
        Patient(
            f"p{number:02d}",
            tuple(f"p{number:02d}_{scan}" for scan in range(1 + number % 4)),
            frozenset(label for label, numbers in rare.items() if number in numbers),
        )
        for number in range(40)
    ]

    held = spread(patients, 4, seed=1)

    of = {case: patient for patient in patients for case in patient.cases}
    assert Counter(case for fold in held for case in fold) == Counter(of.keys())
    for label in rare:
        assert {len({of[case].name for case in fold if label in of[case].labels}) for fold in held} <= {
            len(list(rare[label])) // 4
        }
    assert max(map(len, held)) - min(map(len, held)) <= 3
    assert held != spread(patients, 4, seed=2) and held == spread(patients, 4, seed=1)


def test_a_fixed_validation_set_is_one_fold(files: DatasetFiles, split: Callable[..., Answer]) -> None:
    found = split(patients="{patient}_*", validation=["p3", "p5_a", "p5_b"], write=True)

    assert (found["count"], found["folds"][0]["validation"]) == (1, 4)
    assert [fold["val"] for fold in written(files)] == [["p3_a", "p3_b", "p5_a", "p5_b"]]
    with pytest.raises(Refused, match=r"has 1 folds, so there is no fold 1"):
        plan(files, fold="1")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"validation": ["p0_a", "stranger"]}, r"validation names no cases of the dataset: stranger"),
        (
            {"validation": ["p0_a"], "patients": "{patient}_*"},
            r"would have the others: p0\. Name the patients",
        ),
        ({"validation": CASES}, r"none is left to train on"),
        ({"validation": ["p0_a"], "folds": 3}, r"validation is one fixed fold, and folds makes several"),
        ({"folds": 13}, r"has 12 cases, too few for 13 folds\. Use at most folds=12"),
        ({"folds": 7, "patients": "{patient}_*"}, r"has 6 patients, too few for 7 folds\. Use at most folds=6"),
        ({"folds": 1}, r"folds: Input should be greater than or equal to 2"),
        ({"dataset_id": 9}, r"There is no dataset 009"),
    ],
)
def test_what_cannot_be_split_so_is_refused_with_what_can(
    files: DatasetFiles, split: Callable[..., Answer], arguments: dict[str, Any], why: str
) -> None:
    with pytest.raises(ToolRefused, match=why):
        split(write=True, **arguments)

    assert not files.own_splits_file.exists()


def test_fold_7_of_ten_can_be_trained_and_fold_7_of_five_is_refused_with_the_number_there_is(
    files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    with pytest.raises(Refused, match=r"has 5 folds, so there is no fold 7.*nnunet_split_dataset"):
        plan(files, fold="7")

    split(folds=10, write=True)

    assert [spec.name for spec in plan(files, fold="7").stages] == ["preprocess", "train_fold_7"]
    every = [spec.name for spec in plan(files, fold="all").stages]
    assert every == ["preprocess", *(f"train_fold_{number}" for number in range(10)), "cross_validation"]


def test_a_split_is_not_changed_under_a_training_that_began(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    split(folds=3, write=True)
    carry_over(files)
    before, folds = digest(files.raw), written(files)
    fold = train(files, "1", "latest")
    write_model(fold.cases_file, TrainedCases.model_validate(folds[1]))

    with pytest.raises(ToolRefused, match=r"models that began with another split: nnUNetTrainer.*3d_fullres/fold_1"):
        split(folds=4, write=True)

    assert digest(files.raw) == before
    assert "cannot be kept" in split(folds=4)["notes"][-1]
    assert split(folds=3, write=True)["written"], "the same split again changes nothing"
    fold.cases_file.unlink()  # as nnUNetv2_train leaves it
    with pytest.raises(ToolRefused, match=r"fold_1"):
        split(folds=4, write=True)


def carry_over(files: DatasetFiles) -> None:
    """The split beside the preprocessed data, as the worker puts it there."""
    text = files.own_splits_file.read_text(encoding="utf-8")
    files.preprocessed.mkdir(parents=True, exist_ok=True)
    files.splits_file.write_text(text, encoding="utf-8")
    write_model(dataset_note_file(files), DatasetNote(raw_identity="", own_splits=digest_of(text)))


def test_a_split_is_not_changed_under_a_run_that_is_about_to_begin(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    record = record_of(settings)
    record_run(StateDir.of(settings), record, ["any"], repeat_window_s=0)

    with pytest.raises(ToolRefused, match=rf"Run {record.run_id} is active on Dataset001_Tiny"):
        split(write=True)

    assert not files.own_splits_file.exists()


def test_a_training_does_not_begin_with_a_split_that_was_renewed_while_it_was_planned(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_of_it = training.record_of

    def meanwhile(ready: Preparation) -> RunRecord:
        split(folds=3, write=True)
        return record_of_it(ready)

    monkeypatch.setattr(training, "record_of", meanwhile)
    request = TrainingRequest(dataset_id=1, configuration="2d", fold="4", device="cpu")

    with pytest.raises(Refused, match=r"was changed while this training was planned"):
        training.prepare_run(request, settings)
    assert not list(StateDir.of(settings).run_ids())


def test_a_split_of_ones_own_is_kept_and_its_faults_are_told(
    settings: Settings, files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    faulty = [
        {"train": ["p0_a", "p1_a", "p9_a"], "val": ["p0_a", "p0_b"]},
        {"train": [], "val": ["p2_a", "p2_b"]},
        {"train": ["p3_a"], "val": ["p3_b"]},
    ]
    put(files.own_splits_file, faulty)

    line = ask(settings, "nnunet_datasets")["datasets"][0]

    said = " ".join(line["problems"])
    assert "fold 0 has cases both in training and in validation: p0_a" in said
    assert "fold 0 names cases that the dataset does not have: p9_a" in said
    assert "fold 1 has no case in training" in said and "nnunet_split_dataset(dataset_id=1)" in said
    assert line["split"] == "3 folds, of a splits_final.json that was put into the raw folder"
    for fold, why in {"0": "both in training", "1": "has no case in training"}.items():
        put(files.own_splits_file, [{**part, "train": part["train"][:2]} for part in faulty])
        with pytest.raises(Refused, match=why):
            plan(files, fold=fold)
    assert any("5 of 12 cases are in no fold" in note for note in plan(files, fold="2").notes)
    found = split(patients="{patient}_*", write=True)
    assert "fold 2 has cases of the same patient in training and in validation: p3" in " ".join(found["notes"])
    kept = next(files.raw.glob("splits_before_*.json"))
    assert (
        any(str(kept) in note for note in found["notes"])
        and json.loads(kept.read_text(encoding="utf-8"))[2] == faulty[2]
    )
    split(folds=3, write=True)
    assert len(list(files.raw.glob("splits_before_*.json"))) == 1, "one that the tool made needs no copy"


def test_the_split_beside_the_raw_data_wins_over_nnunets_own_but_not_over_the_persons(
    files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    preprocess(files)
    put(files.splits_file, generate_crossval_split(sorted(CASES)))
    split(folds=10, write=True)
    found = split_to_make(files)
    assert found is not None and len(found) == 10
    assert plan(files, fold="7").stages[0].detail == "the split has changed since"
    with pytest.raises(Refused, match=r"has 5 folds.* with 10 folds: leave no_preprocessing out"):
        plan(files, fold="7", no_preprocessing=True)
    assert any("with 10 folds" in note for note in plan(files, fold="1", no_preprocessing=True).notes)

    put(files.splits_file, [{"train": CASES[2:], "val": CASES[:2]}])
    files.own_splits_file.unlink()
    with pytest.raises(ToolRefused, match=r"another split, which was put there by hand"):
        split(folds=10, write=True)


def test_a_fold_beside_folds_of_another_split_is_refused_before_it_trains(
    files: DatasetFiles, split: Callable[..., Answer]
) -> None:
    preprocess(files)
    files.splits_file.unlink()
    split(folds=3, write=True)
    carry_over(files)
    first = written(files)
    write_model(train(files, "0", "latest").cases_file, TrainedCases.model_validate(first[0]))
    assert plan(files, fold="1").targets
    put(files.own_splits_file, [first[1], first[0], first[2]])

    with pytest.raises(Refused, match=r"3d_fullres/fold_0 began with another split than fold 1 would have"):
        plan(files, fold="1")

    assert plan(files, fold="1", overwrite=True).targets
    assert plan(files, fold="1", configuration="2d").targets, "another model has no such folds"


def test_folds_are_in_the_order_of_their_numbers(settings: Settings, files: DatasetFiles) -> None:
    put(files.splits_file, [{"train": CASES[1:], "val": CASES[:1]}] * 12)
    for fold in ("10", "2", "0"):
        train(files, fold, "final")

    assert trained_folds(files.model("nnUNetTrainer", "nnUNetPlans", "3d_fullres")) == ("0", "2", "10")
    assert ask(settings, "nnunet_datasets")["datasets"][0]["trained"][0]["folds"] == ["0", "2", "10"]


@pytest.mark.heavy
def test_fold_7_of_ten_trains_on_the_split_that_was_made_in_the_chat(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "work", FEW)
    raw = lab.folder / "raw" / "Dataset067_Folds"
    write_phantom(raw, cases=10, shape=(24, 28, 24))
    lab.call("nnunet_split_dataset", dataset_id=67, folds=10, stratify=False, write=True)

    result = lab.train(dataset_id=67, configuration="2d", fold="7", trainer="OneStepTrainer", device="cpu")

    assert result["status"] == "success", result
    assert (result["fold"], result["cross_validation"]) == ("7", "1 of 10 folds")
    folds = json.loads((raw / "splits_final.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in result["worst_cases"]] == folds[7]["val"]
    preprocessed = lab.folder / "preprocessed" / raw.name / "splits_final.json"
    assert json.loads(preprocessed.read_text(encoding="utf-8")) == folds
    with pytest.raises(ToolRefused, match=r"models that began with another split: OneStepTrainer__\S*/fold_7\."):
        lab.call("nnunet_split_dataset", dataset_id=67, folds=3, stratify=False, write=True)


def test_a_fold_of_one_or_two_cases_is_told_to_measure_little(split: Callable[..., Answer]) -> None:
    assert "A fold validates 2 cases only" in " ".join(split(folds=6)["notes"])
    assert "cases only" not in " ".join(split(folds=4)["notes"])
