"""A split from the chat with more folds than nnU-Net's five, trained for real."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import FEW, Lab, ToolRefused
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.heavy
QUICK: dict[str, Any] = {"dataset_id": 67, "configuration": "2d", "trainer": "OneStepTrainer", "device": "cpu"}


def test_fold_7_of_ten_trains_on_the_split_that_was_made_in_the_chat(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "work", FEW)
    raw = lab.folder / "raw" / "Dataset067_Folds"
    write_phantom(raw, cases=10, shape=(24, 28, 24))
    lab.call("nnunet_split_dataset", dataset_id=67, folds=10, stratify=False, write=True)

    result = lab.train(fold="7", **QUICK)

    assert result["status"] == "success", result
    assert (result["fold"], result["cross_validation"]) == ("7", "1 of 10 folds")
    folds = json.loads((raw / "splits_final.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in result["worst_cases"]] == folds[7]["val"]
    preprocessed = lab.folder / "preprocessed" / raw.name / "splits_final.json"
    assert json.loads(preprocessed.read_text(encoding="utf-8")) == folds
    with pytest.raises(ToolRefused, match=r"1 folds were trained on another split: OneStepTrainer__.*fold_7"):
        lab.call("nnunet_split_dataset", dataset_id=67, folds=3, stratify=False, write=True)
