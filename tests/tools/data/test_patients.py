"""Patients on both sides of a split are told before a training and in its result, with the call that mends it."""

from pathlib import Path

import pytest

from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.splits import FoldCases, patients_of, torn_patients
from nnunet_mcp.settings import Settings
from tests.kit.planned import preprocess, train
from tests.kit.tiny import ask, make_dataset

TORN = "in training and in validation of"
WAY = "nnunet_split_dataset(dataset_id=1, patients='{patient}_visit*')"


def dataset(settings: Settings, name: str = "pat{0:02}_visit{1}", patients: int = 3) -> Path:
    """Two cases of each patient."""
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny", cases=2 * patients)
    for number in range(2 * patients):
        old, new = f"case_{number:03d}", name.format(*divmod(number, 2))
        (raw / "imagesTr" / f"{old}_0000.nii.gz").rename(raw / "imagesTr" / f"{new}_0000.nii.gz")
        (raw / "labelsTr" / f"{old}.nii.gz").rename(raw / "labelsTr" / f"{new}.nii.gz")
    return raw


def warned(settings: Settings, fold: str = "0") -> tuple[str, str]:
    """What a look and a preflight say of patients."""
    (found,) = ask(settings, "nnunet_datasets", dataset_id=1, full=True)["datasets"]
    ahead = ask(settings, "nnunet_preflight", dataset_id=1, configuration="2d", fold=fold, device="cpu")
    both = found.get("warnings", ()), ahead.get("notes", ())
    look, notes = (" ".join(text for text in texts if TORN in text) for texts in both)
    return look, notes


def test_visits_of_a_patient_on_both_sides_are_told_with_the_call_that_keeps_them_together(settings: Settings) -> None:
    raw = dataset(settings)

    look, ahead = warned(settings)

    assert look.startswith("3 patients seem to have several cases, by their names, and 3 of them are in training")
    assert f"{TORN} 5 of 5 folds: pat00 (pat00_visit0, pat00_visit1)" in look and WAY in look
    assert f"{TORN} 1 of 1 fold" in ahead and WAY in ahead
    assert warned(settings, fold="full")[1] == ""

    ask(settings, "nnunet_split_dataset", dataset_id=1, patients="{patient}_visit*", folds=3, write=True)
    assert (raw / "splits_final.json").is_file() and warned(settings) == ("", "")


def test_the_start_and_the_result_repeat_the_warning(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnunet_mcp.runs.local.engine.LocalEngine.start", lambda *_: None)
    dataset(settings)

    started = ask(settings, "nnunet_training", dataset_id=1, configuration="2d", fold="0", device="cpu")

    for answer in (started, ask(settings, "nnunet_results", run_id=started["run_id"])):
        assert TORN in " ".join(answer["notes"]) and WAY in " ".join(answer["notes"])


def test_a_model_that_was_trained_by_hand_is_compared_with_the_same_warning(settings: Settings) -> None:
    dataset(settings)
    files = DatasetFiles(settings.folders, "Dataset001_Tiny")
    preprocess(files)
    for fold in ("0", "1"):
        train(files, fold, "final", "summary", configuration="2d")

    notes = " ".join(ask(settings, "nnunet_compare", dataset_id=1)["notes"])

    assert TORN in notes and WAY in notes


def test_cases_that_are_numbered_are_no_patients(settings: Settings) -> None:
    dataset(settings, "nuc_{0}{1}")

    assert warned(settings) == ("", "")


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"ms_{p}_slice{n:03}" for p in range(3) for n in range(30)], "{patient}_slice*"),
        ([f"x_p{p}_{side}" for p in range(3) for side in "ab"], "x_p{patient}_*"),
        ([f"training{p:02}_{n:02}" for p in range(4) for n in range(4)], "{patient}_*"),
        ([f"Image_{p:02}{side}" for p in range(3) for side in "LR"], ""),
        ([*(f"pat{p}_visit{n}" for p in range(3) for n in range(2)), "odd"], ""),
        ([f"hippocampus_{n:03}" for n in range(40)], None),
        ([f"site{s}_{n:03}" for s in range(3) for n in range(20)], None),
    ],
)
def test_a_pattern_is_offered_only_where_it_says_what_the_names_show(names: list[str], pattern: str | None) -> None:
    folds = tuple(FoldCases(train=tuple(names[1:]), val=(name,)) for name in names[:1])

    words, found = torn_patients(folds, names)

    assert bool(words) == (len(set(patients_of(names).values())) < len(names)) == (pattern is not None)
    assert found == (pattern or "")
