"""A checkpoint of nnssl is recognised before anything starts, and the refusal says which nnU-Net can use it."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.installed import installed
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.planned import plan
from tests.kit.tiny import ask, make_dataset

CONFIGURATION = {"spacing": [1.0, 1.0, 1.0], "patch_size": [192, 192, 64]}
# As nnssl writes it for OpenMind's models (adaptation_plan.json beside the published checkpoints).
PLAN: dict[str, Any] = {
    "architecture_plans": {"arch_class_name": "ResEncL", "arch_kwargs": None, "arch_kwargs_requiring_import": None},
    "pretrain_plan": {"plans_name": "nnsslPlans", "configurations": {"onemmiso": CONFIGURATION}},
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
    """The commands of nnU-Net's main branch, as a package installs them, and the names of its trainers."""
    folder = tmp_path / "site" / "nnunetv2_main-2.8.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nnunetv2-main\nVersion: 2.8.1\n", "utf-8")
    command = "nnUNetv2_train_pretrained = nnunetv2.run.run_training_from_pretrained:train_pretrained_entrypoint"
    (folder / "entry_points.txt").write_text(f"[console_scripts]\n{command}\n", "utf-8")
    trainers = "class PretrainedTrainer(nnUNetTrainer): pass\nclass PretrainedTrainer_Primusx(nnUNetTrainer): pass\n"
    (folder.parent / "pretrained.py").write_text(trainers, "utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(folder.parent))
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
@pytest.mark.parametrize("network", ["ResEncL", "PrimusM"])
def test_where_the_installed_nnunet_can_it_is_planned_for_the_trainer_of_its_network(
    settings: Settings, weights: Path, network: str
) -> None:
    torch.save({"network_weights": TENSORS, "nnssl_adaptation_plan": plan_for(network)}, weights)
    trainer = "PretrainedTrainer" if network == "ResEncL" else "PretrainedTrainer_Primusx"

    first, again, changed = (
        plan(files_of(settings), pretrained_weights=str(weights), changes=changes)
        for changes in ((), (), ("epochs=2", "initial_lr=0.01"))
    )

    assert (first.trainer, changed.trainer) == (trainer, f"{trainer}_2epochs_lr1en2")
    assert first.plans_identifier == again.plans_identifier and first.plans_identifier.startswith("ptPlans_")
    assert (first.planner, first.source_plans) == (None, str(weights))
    assert f"trained by {trainer}." in first.notes[0] and "is a checkpoint of nnssl" in first.notes[0]


@pytest.mark.usefixtures("nnunets_main")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"configuration": "2d"}, "adapts for 3d_fullres alone"),
        ({"trainer": "nnUNetTrainerDiceLoss"}, "nnUNetTrainerDiceLoss starts from none"),
        ({"plans_identifier": "nnUNetPlans"}, "the plans nnUNetPlans adapt none"),
        ({"plans_identifier": "ptPlans__mine", "pretrained_weights": None}, "/there/a.pth"),
        ({"trainer": "PretrainedTrainer", "pretrained_weights": None}, "starts from a checkpoint of nnssl"),
        ({"changes": ["optimizer=adam"]}, "Leave optimizer out"),
        ({"changes": ["deep_supervision=on"]}, "Leave deep_supervision out"),
        ({"changes": ["patch_size=32x32x32"]}, "exclude each other"),
    ],
)
def test_what_does_not_go_with_it_is_refused_with_the_way_out(
    settings: Settings, weights: Path, arguments: dict[str, Any], said: str
) -> None:
    files = files_of(settings)
    files.preprocessed.mkdir(parents=True)
    info = {"checkpoint_path": "/there/a.pth", "pt_num_in_channels": 1, "pt_used_patchsize": [32, 32, 32]}
    keys = {name: PLAN[name] for name in ("key_to_encoder", "key_to_stem", "keys_to_in_proj", "key_to_lpe")}
    mine = {"pretrain_info": info | keys | {"pt_recommended_downstream_patchsize": [32, 32, 32]}, "configurations": {}}
    files.plans_file("ptPlans__mine").write_text(json.dumps(mine), encoding="utf-8")

    with pytest.raises(Refused) as refused:
        plan(files, **{"pretrained_weights": str(weights), **arguments})

    assert said in refused.value.text


def plan_for(network: str) -> dict[str, Any]:
    return {**PLAN, "architecture_plans": {**PLAN["architecture_plans"], "arch_class_name": network}}


def files_of(settings: Settings) -> DatasetFiles:
    return DatasetFiles(settings.folders, "Dataset001_Tiny")


def test_what_only_mentions_nnssl_is_a_checkpoint_like_any_other(settings: Settings, weights: Path) -> None:
    plans = {"pretrain_info": {"of": "from the nnssl_adaptation_plan of OpenMind"}}
    torch.save({"network_weights": TENSORS, "init_args": {"plans": plans}}, weights)

    answer = ask(settings, "nnunet_preflight", dataset_id=1, device="cpu", pretrained_weights=str(weights))

    assert "nnssl" not in " ".join(answer.get("problems", ()))
