"""A fold keeps to its cases, and folds of other cases are never put together; no training here."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles, find_dataset
from nnunet_mcp.nnunet.models import model_of
from nnunet_mcp.nnunet.preprocessed import DatasetNote, dataset_note_file
from nnunet_mcp.nnunet.splits import TrainedCases, split_to_make, trained_cases, usual_split
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.runs.provenance import compose_provenance
from nnunet_mcp.schemas.records import RunRecord, StageSpec
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.ready import ready_to_train
from nnunet_mcp.worker.stage import Job, StageFailure
from nnunet_mcp.worker.steps import cross_validation
from nnunet_mcp.worker.steps.preprocess import Preprocessing
from nnunet_mcp.worker.training.hooks import settle_cases
from tests.kit.planned import CONFIGURATIONS, plan, preprocess, train
from tests.kit.tiny import image, make_dataset, record_of, save

LARGE = (*CONFIGURATIONS, "3d_lowres", "3d_cascade_fullres")
CASES = [f"case_{number:03d}" for number in range(10)]


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    """Ten preprocessed cases, with the split that the worker makes."""
    make_dataset(settings.folder("raw"), "Dataset001_Tiny", cases=10)
    found = find_dataset(settings.folders, 1)
    preprocess(found, configurations=LARGE)
    found.fingerprint_file.touch()
    found.splits_file.unlink()
    work(found, settings)
    return found


@pytest.fixture
def job(files: DatasetFiles, settings: Settings) -> Callable[..., Job]:
    """The stage of a run on these files."""
    return lambda name="preprocess", **fields: job_of(files, settings, name, **fields)


def job_of(files: DatasetFiles, settings: Settings, name: str, fold: str = "all") -> Job:
    kinds: Any = {"preprocess": "preprocess", "cross_validation": "cross_validation"}
    count = len(json.loads(files.splits_file.read_text(encoding="utf-8"))) if files.splits_file.is_file() else 5
    folds = (f"train_fold_{number}" for number in range(count))
    stages = [
        StageSpec(name=one, kind=kinds.get(one, "train"), configuration="3d_fullres", fold=one[-1])
        for one in ("preprocess", *folds, "cross_validation")
    ]
    request = {"dataset_id": 1, "configuration": "3d_fullres", "fold": fold}
    record: RunRecord = record_of(settings, *stages, request=request, planner="ExperimentPlanner")
    run = RunDir(settings.state_dir / "runs" / record.run_id)
    run.stage(name).path.mkdir(parents=True, exist_ok=True)
    write_model(run.run_file, record)
    found = Job.of(str(run.path), name)
    if found.spec.kind == "train":
        found.fold.path.mkdir(parents=True, exist_ok=True)
    return found


def work(files: DatasetFiles, settings: Settings) -> None:
    """The preprocess stage, where the split is all that is to be done."""
    Preprocessing(job_of(files, settings, "preprocess")).carry_out()


def folds_of(cases: list[str], count: int) -> list[dict[str, list[str]]]:
    held_out = [cases[number::count] for number in range(count)]
    return [{"train": [case for case in cases if case not in val], "val": val} for val in held_out]


def put_split(path: Path, split: list[dict[str, list[str]]]) -> None:
    path.write_text(json.dumps(split), encoding="utf-8")


def split_there(files: DatasetFiles) -> list[dict[str, list[str]]]:
    found: list[dict[str, list[str]]] = json.loads(files.splits_file.read_text(encoding="utf-8"))
    return found


def add_case(files: DatasetFiles, name: str) -> None:
    save(files.raw / "imagesTr" / f"{name}_0000.nii.gz", image())
    save(files.raw / "labelsTr" / f"{name}.nii.gz", image())


def drop_cases(files: DatasetFiles, cases: list[str]) -> None:
    for case in cases:
        (files.raw / "imagesTr" / f"{case}_0000.nii.gz").unlink()
        (files.raw / "labelsTr" / f"{case}.nii.gz").unlink()


def begin(fold: FoldFiles, files: DatasetFiles, number: int) -> None:
    """The note that a training leaves when it begins."""
    write_model(fold.cases_file, TrainedCases.model_validate(split_there(files)[number]))


def names(found: Any) -> list[str]:
    return [spec.name for spec in found.stages]


@pytest.mark.parametrize("count", [5, 7, 23, 100])
def test_the_usual_split_is_nnunets(count: int) -> None:
    from nnunetv2.utilities.crossval_split import generate_crossval_split

    cases = [f"c{number:03d}" for number in range(count)]
    ours = usual_split(cases)

    assert ours is not None
    assert [{"train": list(fold.train), "val": list(fold.val)} for fold in ours] == generate_crossval_split(cases)
    assert usual_split(cases[:4]) is None


def test_a_split_of_the_users_own_that_comes_later_is_taken_and_wins_over_ours(
    files: DatasetFiles, settings: Settings
) -> None:
    assert plan(files, fold="0").stages[0].reused
    put_split(files.own_splits_file, folds_of(CASES, 3))

    found = plan(files, fold="all")

    assert (found.stages[0].reused, found.stages[0].detail) == (False, "the split has changed since")
    assert names(found) == ["preprocess", "train_fold_0", "train_fold_1", "train_fold_2", "cross_validation"]
    work(files, settings)
    assert split_there(files) == folds_of(CASES, 3)
    assert plan(files, fold="0").stages[0].reused
    with pytest.raises(Refused, match=r"has 3 folds, so there is no fold 4"):
        plan(files, fold="4")

    put_split(files.own_splits_file, folds_of(CASES, 2))
    work(files, settings)
    assert split_there(files) == folds_of(CASES, 2)


def test_the_own_split_of_a_dataset_in_the_older_style_is_taken_too(settings: Settings) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset002_Older", style="documented")
    put_split(raw / "splits_final.json", folds_of(CASES[:5], 2))

    found, _ = ready_to_train(settings, 2)

    assert found.raw != raw
    split = split_to_make(found)
    assert split is not None and len(split) == 2


def test_two_splits_of_the_users_own_that_differ_are_refused_before_nnunet_stops_at_them(files: DatasetFiles) -> None:
    put_split(files.splits_file, folds_of(CASES, 3))
    put_split(files.own_splits_file, folds_of(CASES, 2))

    with pytest.raises(Refused, match=r"differ, and both are yours. Remove the one"):
        plan(files, fold="0")
    put_split(files.own_splits_file, folds_of(CASES, 3)[:2])
    assert plan(files, fold="0").stages[0].reused, "more folds are no contradiction to nnU-Net either"


@pytest.mark.parametrize("text", ["[]", "{}", "no json", '[{"train": ["case_000"]}]'])
def test_a_file_that_is_no_split_is_refused(files: DatasetFiles, text: str) -> None:
    files.own_splits_file.write_text(text, encoding="utf-8")

    with pytest.raises(Refused, match=r"is no split of nnU-Net"):
        plan(files, fold="0")


def test_our_split_goes_when_the_dataset_gets_too_small_for_it(files: DatasetFiles, settings: Settings) -> None:
    drop_cases(files, CASES[3:])
    with pytest.raises(Refused, match=r"3 training cases"):
        plan(files, fold="0")
    assert plan(files, fold="full").stages[0].detail == "the raw data have changed since"

    Preprocessing(job_of(files, settings, "preprocess"))._renew_split(note_of(files))

    assert not files.splits_file.exists()


def note_of(files: DatasetFiles) -> DatasetNote:
    return DatasetNote.model_validate_json(dataset_note_file(files).read_bytes())


def test_finished_folds_of_other_cases_are_not_reused_and_the_old_cases_can_be_gone_on_with(
    files: DatasetFiles,
) -> None:
    for fold in "0123":
        begin(train(files, fold, "final", "summary"), files, int(fold))
    add_case(files, "new")

    with pytest.raises(Refused, match=r"fold_0 validates.*overwrite=true.*no_preprocessing=true goes on"):
        plan(files, fold="all")
    assert len(plan(files, fold="all", overwrite=True).targets) == 5
    found = plan(files, fold="all", no_preprocessing=True)
    assert [spec.name for spec in found.stages if spec.reused] == [f"train_fold_{fold}" for fold in range(4)]


def test_a_fold_of_an_old_split_is_named_though_another_fold_now_holds_its_cases_out(files: DatasetFiles) -> None:
    begin(train(files, "0", "final", "summary"), files, 0)
    split = split_there(files)
    put_split(files.own_splits_file, [split[1], split[0], *split[2:]])

    with pytest.raises(Refused, match=r"fold_0 validates .*Two ways on: overwrite=true"):
        plan(files, fold="all")


def test_a_fold_that_was_trained_on_other_cases_is_not_reused_though_it_validated_the_same(files: DatasetFiles) -> None:
    fold = train(files, "0", "final", "summary")
    cases = split_there(files)[0]
    write_model(fold.cases_file, TrainedCases(train=tuple(cases["train"][1:]), val=tuple(cases["val"])))

    with pytest.raises(Refused, match=rf"trained on other cases than the split says: {cases['train'][0]} differ"):
        plan(files, fold="all")


def test_a_fold_that_nnunets_own_commands_trained_is_known_by_what_it_validated(files: DatasetFiles) -> None:
    train(files, "0", "final", "summary")
    assert "train_fold_0" in [spec.name for spec in plan(files, fold="all").stages if spec.reused]

    put_split(files.splits_file, folds_of(CASES, 5))

    for request in ({"fold": "all"}, {"fold": "0", "validation_only": True}):
        with pytest.raises(Refused, match=r"fold_0 validates .* but the split says case_000, case_005"):
            plan(files, **request)


def test_a_single_fold_goes_on_with_the_cases_that_it_began_with_and_that_is_said(files: DatasetFiles) -> None:
    begin(train(files, "0", "latest"), files, 0)
    put_split(files.splits_file, folds_of(CASES, 5))

    notes = plan(files, fold="0", continue_training=True).notes

    assert any("goes on with the cases that it began with" in note for note in notes)


def test_a_training_whose_cases_are_gone_cannot_go_on(files: DatasetFiles) -> None:
    begin(train(files, "0", "latest"), files, 0)
    for path in files.preprocessed.glob("*/case_003.pkl"):
        path.unlink()
    drop_cases(files, ["case_003"])

    with pytest.raises(Refused, match=r"not preprocessed: case_003. .*overwrite=true"):
        plan(files, fold="0", continue_training=True)


def test_a_split_that_names_unknown_cases_or_validates_one_twice_is_refused(files: DatasetFiles) -> None:
    split = folds_of(CASES, 3)
    put_split(files.own_splits_file, [{"train": ["stranger"], "val": CASES[:2]}, *split[1:]])
    with pytest.raises(Refused, match=r"1 cases that are not in the raw dataset folder: stranger"):
        plan(files, fold="0")

    put_split(files.own_splits_file, [split[0], split[0], split[2]])
    with pytest.raises(Refused, match=r"folds 0 and 1 both validate case_000.*one by one"):
        plan(files, fold="all")
    assert names(plan(files, fold="1"))[-1] == "train_fold_1"


@pytest.mark.parametrize("count", [3, 10])
def test_a_cascade_and_all_have_as_many_folds_as_the_split(files: DatasetFiles, count: int) -> None:
    put_split(files.splits_file, folds_of(CASES, count))

    cascade = plan(files, configuration="3d_cascade_fullres", fold="0")
    every = plan(files, fold="all")

    assert names(cascade)[1:] == [*(f"lowres_fold_{fold}" for fold in range(count)), "train_fold_0"]
    assert names(every)[1:] == [*(f"train_fold_{fold}" for fold in range(count)), "cross_validation"]


def test_a_cascade_whose_cases_no_fold_predicts_is_refused(files: DatasetFiles) -> None:
    put_split(files.splits_file, folds_of(CASES, 3)[:2])

    with pytest.raises(Refused, match=r"no fold of splits_final.json validates case_002, case_005, case_008"):
        plan(files, configuration="3d_cascade_fullres", fold="0")


def test_lowres_folds_of_other_cases_do_not_predict_for_a_cascade(files: DatasetFiles) -> None:
    train(files, "0", "final", "summary", configuration="3d_lowres")
    put_split(files.splits_file, folds_of(CASES, 5))

    with pytest.raises(Refused, match=r"3d_lowres fold_0 validates.*configuration='3d_lowres', fold='all'"):
        plan(files, configuration="3d_cascade_fullres", fold="0")


def test_a_lowres_fold_that_is_trained_by_hand_at_the_moment_is_left_alone(
    files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnunet_mcp.tools.training.folds.trained_by_hand_now", lambda path: "3d_lowres" in str(path))

    with pytest.raises(Refused, match=r"3d_lowres/fold_0 is being trained by an nnUNetv2_train"):
        plan(files, configuration="3d_cascade_fullres", fold="0")


def trainer_of(files: DatasetFiles, number: int) -> SimpleNamespace:
    """What nnU-Net's trainer answers: it reads the split again each time."""

    def do_split() -> tuple[list[str], list[str]]:
        fold = split_there(files)[number]
        return fold["train"], fold["val"]

    data = files.preprocessed / "nnUNetPlans_3d_fullres"
    return SimpleNamespace(preprocessed_dataset_folder=str(data), do_split=do_split, local_rank=0, is_ddp=False)


def test_a_fold_keeps_its_cases_while_the_split_is_renewed(
    files: DatasetFiles, settings: Settings, job: Callable[..., Job]
) -> None:
    before = split_there(files)[0]
    first = settle_cases(trainer_of(files, 0), job("train_fold_0"))
    add_case(files, "new")
    Preprocessing(job_of(files, settings, "preprocess"))._renew_split(note_of(files))
    assert split_there(files)[0] != before

    resumed = settle_cases(trainer_of(files, 0), job("train_fold_0"))

    assert first == resumed == trained_cases(job("train_fold_0").fold)
    assert {"train": list(resumed.train), "val": list(resumed.val)} == before


def test_a_training_with_cases_that_are_not_preprocessed_ends_at_its_start(
    files: DatasetFiles, job: Callable[..., Job]
) -> None:
    (files.preprocessed / "nnUNetPlans_3d_fullres" / "case_004.pkl").unlink()

    with pytest.raises(StageFailure, match=r"1 cases of this fold are not preprocessed .*case_004"):
        settle_cases(trainer_of(files, 0), job("train_fold_0"))


def test_a_fold_that_the_split_has_lost_is_not_trained_on_a_random_one(
    files: DatasetFiles, job: Callable[..., Job]
) -> None:
    late, trainer = job("train_fold_1"), trainer_of(files, 1)
    put_split(files.splits_file, split_there(files)[:1])
    trainer.do_split = lambda: (CASES[1:], CASES[:1])  # as nnU-Net draws at random

    with pytest.raises(StageFailure, match=r"the split has 1 folds, so there is no fold 1"):
        settle_cases(trainer, late)
    assert trained_cases(late.fold) is None


def test_a_folder_of_preprocessed_cases_that_was_deleted_as_damaged_is_made_anew(files: DatasetFiles) -> None:
    begin(train(files, "0", "latest"), files, 0)
    shutil.rmtree(files.preprocessed / "nnUNetPlans_3d_fullres")

    for arguments in ({"fold": "0", "continue_training": True}, {"fold": "1"}):
        first = plan(files, **arguments).stages[0]
        assert (first.kind, first.reused) == ("preprocess", False)


def test_the_provenance_tells_the_split_that_was_used_and_the_seed_that_was_set(
    files: DatasetFiles, settings: Settings, job: Callable[..., Job]
) -> None:
    def told(**request: Any) -> str:
        return compose_provenance(job("train_fold_0").run, record_of(settings, request=request)).seeds

    assert told() == "5 folds, as nnU-Net makes them, with seed 12345. Weights and batches are not seeded by nnU-Net."
    put_split(files.own_splits_file, folds_of(CASES, 3))  # after the training
    assert told(changes=["seed=7"]).startswith(
        "5 folds, as nnU-Net makes them, with seed 12345. seed=7 fixed the first"
    )
    put_split(files.splits_file, folds_of(CASES, 3))
    assert told().startswith("3 folds, of a splits_final.json that was put into the raw folder. Weights")
    assert told(fold="full") == "Weights and batches are not seeded by nnU-Net."


def test_a_later_fold_of_a_run_does_not_train_on_another_split_than_the_first(
    files: DatasetFiles, job: Callable[..., Job]
) -> None:
    first = job("train_fold_0")
    settle_cases(trainer_of(files, 0), first)
    first.fold.owner_file.write_text(first.record.run_id, encoding="utf-8")
    split = split_there(files)
    put_split(files.splits_file, [split[1], split[0], *split[2:]])

    with pytest.raises(StageFailure, match=r"fold 1 would hold out cases that fold 0 of this run holds out"):
        settle_cases(trainer_of(files, 1), job("train_fold_1"))


def finish(files: DatasetFiles, folds: int) -> None:
    for fold in range(folds):
        train(files, str(fold), "final", "summary")


def test_folds_that_validated_the_same_case_make_no_cross_validation(
    files: DatasetFiles, job: Callable[..., Job]
) -> None:
    split = split_there(files)
    put_split(files.splits_file, [*split[:4], {"train": split[4]["train"], "val": split[0]["val"]}])
    finish(files, 5)

    with pytest.raises(StageFailure, match=r"folds 0 and 4 both validate .*overwrite=true"):
        cross_validation.carry_out(job("cross_validation"))


def test_a_fold_that_validated_less_than_it_holds_out_makes_no_cross_validation(
    files: DatasetFiles, job: Callable[..., Job]
) -> None:
    finish(files, 5)
    fold = model_of(job("cross_validation").record).fold("2")
    cases = split_there(files)[2]
    write_model(
        fold.cases_file, TrainedCases(train=tuple(cases["train"][:-1]), val=(*cases["val"], cases["train"][-1]))
    )

    with pytest.raises(StageFailure, match=rf"fold 2 validated other cases than it holds out: {cases['train'][-1]}"):
        cross_validation.carry_out(job("cross_validation"))


def test_a_cross_validation_says_which_cases_no_fold_validates(
    files: DatasetFiles, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def accumulate(_: object, merged: Path) -> None:
        merged.mkdir()
        summary = {"foreground_mean": {"Dice": 0.8, "IoU": 0.7}, "mean": {}, "metric_per_case": []}
        (merged / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    monkeypatch.setattr(cross_validation, "_accumulate", accumulate)
    put_split(files.splits_file, [{**fold, "val": fold["val"][:3]} for fold in folds_of(CASES, 3)])
    finish(files, 3)
    for fold in range(3):
        summary = model_of(job("cross_validation").record).fold(str(fold)).summary
        content = {**json.loads(summary.read_text(encoding="utf-8")), "mean": {}}
        summary.write_text(json.dumps(content), encoding="utf-8")

    notes = cross_validation.carry_out(job("cross_validation")).notes

    assert notes[0] == (
        "Metrics over the 9 validation cases of 3 folds of Dataset001_Tiny. 1 cases are validated by no fold: case_009."
    )
