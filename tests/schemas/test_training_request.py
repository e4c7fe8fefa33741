"""The parameters of nnunet_training: what the user's documentation promises, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask

DOCUMENTED: dict[str, Any] = {
    "configuration": "3d_fullres",
    "fold": "all",
    "trainer": None,
    "plans_identifier": None,
    "num_gpus": None,
    "device": None,
    "pretrained_weights": None,
    "continue_training": False,
    "validation_only": False,
    "val_best": False,
    "disable_checkpointing": False,
    "npz": False,
    "use_compressed": False,
    "verify_dataset_integrity": True,
    "no_preprocessing": False,
}
OWN: dict[str, Any] = {
    "changes": (),
    "bf16": False,
    "overwrite": False,
    "note": None,
    "after": None,
    "engine": None,
    "slurm": (),
}


def test_the_parameters_are_the_documented_ones_and_seven_more() -> None:
    assert sorted(TrainingRequest.model_fields) == sorted(["dataset_id", *DOCUMENTED, *OWN])


def test_only_the_dataset_is_required_and_the_rest_has_the_documented_defaults() -> None:
    assert TrainingRequest(dataset_id=50).model_dump() == {"dataset_id": 50, **DOCUMENTED, **OWN}
    with pytest.raises(ValidationError, match="dataset_id"):
        TrainingRequest.model_validate({})


@pytest.mark.parametrize("spelling", [50, "50", "050", " 50 ", "Dataset050", "Dataset050_Prostate", "050_Prostate"])
def test_a_dataset_is_found_by_number_and_by_folder_name(spelling: object) -> None:
    assert TrainingRequest.model_validate({"dataset_id": spelling}).dataset_id == 50


@pytest.mark.parametrize("spelling", [0, 1000, -1, 1.5, None, True, "", "fifty", "Task050_Prostate", "50/../51"])
def test_what_is_no_dataset_id_is_refused(spelling: object) -> None:
    with pytest.raises(ValidationError, match="dataset_id"):
        TrainingRequest.model_validate({"dataset_id": spelling})


@pytest.mark.parametrize(
    ("spelling", "fold"), [(0, "0"), (4, "4"), ("0", "0"), (11, "11"), ("all", "all"), ("full", "full")]
)
def test_a_fold_is_a_number_a_text_all_or_full(spelling: object, fold: str) -> None:
    assert TrainingRequest.model_validate({"dataset_id": 1, "fold": spelling}).fold == fold


@pytest.mark.parametrize("spelling", [1000, "1000", -1, "-1", "00", "٣", True, False, 0.5, "All", "", [0]])
def test_what_is_no_fold_is_refused(spelling: object) -> None:
    with pytest.raises(ValidationError, match="fold"):
        TrainingRequest.model_validate({"dataset_id": 1, "fold": spelling})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"continue_training": True, "fold": "0"}, {"pretrained_weights": "model.pth"}),
        ({"continue_training": True}, {"validation_only": True}),
        ({"continue_training": True}, {"overwrite": True}),
        ({"continue_training": True}, {"disable_checkpointing": True}),
        ({"validation_only": True}, {"pretrained_weights": "model.pth"}),
        ({"validation_only": True}, {"overwrite": True}),
        ({"validation_only": True}, {"disable_checkpointing": True}),
        ({"val_best": True}, {"disable_checkpointing": True}),
        ({"overwrite": True}, {"disable_checkpointing": True}),
        ({"num_gpus": 2}, {"device": "cpu"}),
        ({"num_gpus": 2}, {"device": "mps"}),
        ({"bf16": True}, {"device": "cuda"}),
        ({"bf16": True}, {"device": "mps"}),
    ],
)
def test_a_contradiction_names_both_parameters_and_a_way_out(first: dict[str, Any], second: dict[str, Any]) -> None:
    TrainingRequest.model_validate({"dataset_id": 1, **first})
    with pytest.raises(ValidationError) as caught:
        TrainingRequest.model_validate({"dataset_id": 1, **first, **second})

    message = str(caught.value)
    assert next(iter(first)) in message and next(iter(second)) in message
    assert any(way in message for way in ("Leave", "use ", "Use "))


def test_all_contradictions_are_named_at_once() -> None:
    with pytest.raises(ValidationError, match=r"(?s)continue_training and overwrite.*val_best and disable_check"):
        TrainingRequest(dataset_id=1, continue_training=True, overwrite=True, val_best=True, disable_checkpointing=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"configuration": "3d"},
        {"configuration": "3d_lowres_bs2"},
        {"configuration": "3d_fullres_../x"},
        {"configuration": "3d_fullres_" + "x" * 60},
        {"device": "gpu"},
        {"num_gpus": 0},
        {"trainer": "--help"},
        {"trainer": "a.b"},
        {"plans_identifier": "../plans"},
        {"plans_identifier": "-p"},
        {"plans_identifier": "a/b"},
        {"pretrained_weights": "x" * 5000},
    ],
)
def test_values_out_of_range_and_names_that_are_no_names_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(arguments))):
        TrainingRequest.model_validate({"dataset_id": 1, **arguments})


@pytest.mark.parametrize(
    ("typed", "meant"), [("folds", "fold"), ("epoch_trainer", "trainer"), ("continue", "continue_training")]
)
def test_an_unknown_argument_is_refused_with_the_one_that_was_meant(settings: Settings, typed: str, meant: str) -> None:
    with pytest.raises(ToolRefused, match=f"{typed}: unknown argument; did you mean '{meant}'"):
        ask(settings, "nnunet_training", dataset_id=1, **{typed: "0"})


def test_a_wrong_value_is_quoted_and_nothing_is_started(settings: Settings) -> None:
    with pytest.raises(ToolRefused, match=r"(?s)nothing was started.*fold.*got 'seven'"):
        ask(settings, "nnunet_training", dataset_id=1, fold="seven")

    assert not (settings.state_dir / "runs").exists()
