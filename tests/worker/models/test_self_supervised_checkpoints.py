"""A checkpoint of nnssl is read as data, and its adaptation plan names only what nnU-Net builds."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunet_mcp.calls import argument
from nnunet_mcp.errors import Refused
from nnunet_mcp.worker.self_supervised import read_pretrained
from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.training.checkpoints import load_checkpoint
from tests.kit.lab import write_evil_checkpoint
from tests.tools.training.test_self_supervised import CONFIGURATION, PLAN

NETWORK = PLAN["architecture_plans"]


def write(path: Path, plan: object) -> Path:
    torch.save({"network_weights": {"encoder.stem": torch.zeros(2)}, "nnssl_adaptation_plan": plan}, path)
    return path


def test_what_nnunet_reads_of_it_is_kept(tmp_path: Path) -> None:
    found = read_pretrained(write(tmp_path / "a.pth", {**PLAN, "trainer_name": "os.system"}))

    assert found is not None and found.patch == [192, 192, 64] and list(found.tensors) == ["encoder.stem"]
    assert found.plan == {**PLAN, "pretrain_plan": {"configurations": {"onemmiso": CONFIGURATION}}}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"architecture_plans": {**NETWORK, "arch_class_name": "os.system"}}, "arch_class_name is 'os.system'"),
        ({"architecture_plans": {**NETWORK, "arch_class_name": "NoSkipResEncL"}}, "it must be one of"),
        ({"architecture_plans": {**NETWORK, "arch_kwargs": {"n_stages": 99}}}, "n_stages is 99"),
        ({"key_to_encoder": "../encoder"}, "key_to_encoder is '../encoder'"),
        ({"keys_to_in_proj": []}, "keys_to_in_proj is []"),
        ({"recommended_downstream_patchsize": [70_000, 160, 160]}, "recommended_downstream_patchsize"),
        ({"pretrain_plan": {"configurations": {}}}, "pretrain_plan.configurations is {}"),
        (
            {"pretrain_plan": {"configurations": {"a": {"patch_size": [1, 1, 1], "spacing": [1.0, -1.0, 1.0]}}}},
            "spacing",
        ),
        ({"pretrain_num_input_channels": None}, "pretrain_num_input_channels is None"),
    ],
)
def test_an_adaptation_plan_that_nnunet_must_not_have_is_refused(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        read_pretrained(write(tmp_path / "a.pth", {**PLAN, **keys}))

    assert said in refused.value.text and "not as nnssl writes it" in refused.value.text


def test_one_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    write_evil_checkpoint(tmp_path / "evil.pth", tmp_path / "evidence")

    with pytest.raises(StageFailure, match="cannot be read safely"):
        read_pretrained(tmp_path / "evil.pth")
    assert not (tmp_path / "evidence").exists()


def test_a_checkpoint_of_nnunets_own_is_none_of_them(tmp_path: Path) -> None:
    torch.save({"network_weights": {}, "init_args": {}}, tmp_path / "own.pth")

    assert read_pretrained(tmp_path / "own.pth") is None


def test_a_fold_that_would_begin_without_the_weights_of_its_plans_is_refused() -> None:
    """As the folds of a resumed cross-validation that had not begun; a fold that goes on needs no weights."""
    trainer = SimpleNamespace(use_pretrained_weights=True, adaptation_info={"checkpoint_path": "/there/a.pth"})
    job: Any = None

    with pytest.raises(StageFailure, match="without the pretrained weights") as refused:
        load_checkpoint(trainer, job, resume=False, validate=False, weights=None)

    assert refused.value.failure.evidence == "/there/a.pth"
    assert refused.value.failure.remedy == f"Train it with {argument(pretrained_weights='/there/a.pth')}."
    assert trainer.use_pretrained_weights is False  # else it would read that file itself
