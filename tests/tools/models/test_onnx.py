"""Which networks can be written as ONNX; the others are refused in words, and nothing is left."""

import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.nnunet.models import model_at
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.sharing import onnx_network
from nnunet_mcp.worker.sharing.onnx_network import loaded, refuse_without_onnx, shape_of, write_onnx
from nnunet_mcp.worker.sharing.recipe import STEPS
from nnunet_mcp.worker.stage import StageFailure
from tests.kit.lab import ToolRefused
from tests.kit.strangers import make_model
from tests.kit.tiny import ask

ASKS = """from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans


class AsksForThePatch(nnUNetTrainer):
    @staticmethod
    def build_network_architecture(
        name, arguments, imported, input_patch_size, num_input_channels, num_output_channels, enable_deep_supervision
    ):
        assert list(input_patch_size) == [16, 16]
        return get_network_from_plans(
            name, arguments, imported, num_input_channels, num_output_channels, deep_supervision=enable_deep_supervision
        )
"""


class ByChance(torch.nn.Module):
    """Finds something else each time."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles + torch.rand_like(tiles)


class ByValue(torch.nn.Module):
    """Decides by the values in a tile, which a graph cannot."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return tiles if tiles.sum() > 0 else -tiles


@pytest.mark.heavy
@pytest.mark.parametrize(("network", "why"), [(ByChance, "the logits of a tile differ"), (ByValue, "")])
def test_a_network_that_onnx_does_not_hold_leaves_nothing(
    tmp_path: Path, network: type[torch.nn.Module], why: str
) -> None:
    pytest.importorskip("onnxruntime")

    with pytest.raises(StageFailure, match=rf"{network.__name__}\) cannot be written as ONNX.*{why}.*without onnx"):
        write_onnx(network(), (1, 8, 8), tmp_path / "x.onnx")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy  # imports nnU-Net
def test_the_recipe_says_where_nnunets_tiles_begin() -> None:
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    text = next(step for step in STEPS if step.startswith("run the network"))
    found = re.search(r"there are n = (.+?) tiles, which begin at (round.+?) for i = 0 ... n - 1", text)
    assert found is not None
    for length, patch, step in itertools.product((16, 17, 23, 40, 110), (16, 15), (0.5, 0.7, 1.0)):
        known: dict[str, Any] = {"ceil": math.ceil, "L": length, "p": patch, "s": step}
        n = eval(found[1], known)
        begins = [eval(found[2], {**known, "n": n, "i": i}) for i in range(n)] if n > 1 else [0]
        assert [begins] == compute_steps_for_sliding_window((length,), (patch,), step), (length, patch, step)


def test_without_the_extra_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_network, "NEEDED", ("onnx_that_is_not_here",))

    with pytest.raises(StageFailure, match=r"onnx_that_is_not_here not found.*pip install 'nnunet-mcp\[onnx\]'"):
        refuse_without_onnx()


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # of torch and of nnU-Net, as it loads such a trainer
def test_a_trainer_that_asks_for_the_patch_is_told_it_as_in_a_prediction(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of nnU-Net's main branch for checkpoints of nnssl do."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "asks.py").write_text(ASKS, encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))
    folder = make_model(settings.folder("results") / "Dataset007_Elsewhere" / "AsksForThePatch__nnUNetPlans__2d")
    of_trainer(folder, "AsksForThePatch")

    predictor = loaded(model_at(folder, settings.folders), "0")

    assert shape_of(predictor) == (1, 16, 16)


def test_a_cascade_and_a_trainer_that_is_not_here_are_refused_before_anything_is_exported(settings: Settings) -> None:
    results = settings.folder("results") / "Dataset007_Elsewhere"
    lowres, cascade = (
        make_model(results / f"nnUNetTrainer__nnUNetPlans__{name}", as_configuration(name))
        for name in ("3d_lowres", "3d_cascade_fullres")
    )
    theirs = make_model(results / "TheirTrainer__nnUNetPlans__2d")
    of_trainer(theirs, "TheirTrainer")

    for folder, said in ((cascade, "is a cascade.*without onnx"), (theirs, "class 'TheirTrainer' .* is not here")):
        with pytest.raises(ToolRefused, match=said):
            ask(settings, "nnunet_export_model", model=str(folder), include=["onnx"])
    assert lowres.is_dir() and not (results / "exports").exists()


def of_trainer(folder: Path, trainer: str) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(path, weights_only=False), "trainer_name": trainer}, path)


def as_configuration(name: str) -> Callable[[dict[str, Any]], None]:
    def change(plans: dict[str, Any]) -> None:
        plans["configurations"] = {name: plans["configurations"]["2d"]}

    return change
