"""A checkpoint of nnssl is recognised before anything starts, and the refusal says which nnU-Net can use it."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.nnunet.installed import installed
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset

# As nnssl writes it for OpenMind's models (adaptation_plan.json beside the published checkpoints).
PLAN = {
    "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None},
    "pretrain_plan": {"plans_name": "nnsslPlans", "configurations": {"onemmiso": {"patch_size": [192, 192, 64]}}},
    "pretrain_num_input_channels": 1,
    "recommended_downstream_patchsize": [160, 160, 160],
    "key_to_encoder": "encoder.stages",
    "key_to_stem": "encoder.stem",
    "keys_to_in_proj": ["encoder.stem.convs.0.conv", "encoder.stem.convs.0.all_modules.0"],
    "key_to_lpe": None,
}
TENSORS = {f"encoder.stages.{n}.weight": torch.zeros(4) for n in range(900)}


@pytest.fixture
def weights(settings: Settings) -> Path:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    path = settings.folder("results") / "it's OpenMind's" / "checkpoint_final.pth"
    path.parent.mkdir()
    torch.save({"network_weights": TENSORS, "citations": [], "nnssl_adaptation_plan": PLAN}, path)
    return path


@pytest.fixture
def nnunets_main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands of nnU-Net's main branch, as a package installs them."""
    folder = tmp_path / "site" / "nnunetv2_main-2.8.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nnunetv2-main\nVersion: 2.8.1\n", "utf-8")
    command = "nnUNetv2_train_pretrained = nnunetv2.run.run_training_from_pretrained:train_pretrained_entrypoint"
    (folder / "entry_points.txt").write_text(f"[console_scripts]\n{command}\n", "utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    installed.cache_clear()
    yield
    installed.cache_clear()


def refusal(settings: Settings, weights: Path, **more: Any) -> str:
    with pytest.raises(ToolRefused) as refused:
        ask(settings, "nnunet_training", dataset_id=1, device="cpu", pretrained_weights=str(weights), **more)
    return str(refused.value)


def test_a_training_on_it_is_refused_with_the_nnunet_that_can_and_its_commands(
    settings: Settings, weights: Path
) -> None:
    said = refusal(settings, weights, fold="3")

    assert "is a checkpoint of nnssl" in said and "main branch has it since July 2026, PyPI's 2.8.1 has not" in said
    (command,) = (line for line in said.splitlines() if line.startswith("nnUNetv2_preprocess_like_nnssl"))
    given = ["-d", "1", "-n", "PRETRAINED", "-pc", str(weights), "-am", "like_pretrained"]
    assert shlex.split(command)[1:] == given
    assert "nnUNetv2_train_pretrained 1 3d_fullres 3 -tr PretrainedTrainer -p ptPlans__PRETRAINED..." in said
    assert list(StateDir.of(settings).run_ids()) == []
    (problem,) = ask(settings, "nnunet_preflight", dataset_id=1, device="cpu", pretrained_weights=str(weights))[
        "problems"
    ]
    assert "is a checkpoint of nnssl" in problem


@pytest.mark.usefixtures("nnunets_main")
def test_where_the_installed_nnunet_can_nothing_else_is_to_be_installed(settings: Settings, weights: Path) -> None:
    said = refusal(settings, weights, fold="full")

    assert "of the installed nnU-Net does that" in said and "pip install" not in said
    assert "nnUNetv2_train_pretrained 1 3d_fullres all " in said


def test_what_only_mentions_nnssl_is_a_checkpoint_like_any_other(settings: Settings, weights: Path) -> None:
    plans = {"pretrain_info": {"of": "from the nnssl_adaptation_plan of OpenMind"}}
    torch.save({"network_weights": TENSORS, "init_args": {"plans": plans}}, weights)

    answer = ask(settings, "nnunet_preflight", dataset_id=1, device="cpu", pretrained_weights=str(weights))

    assert "nnssl" not in " ".join(answer.get("problems", ()))
