"""A network that cannot be written as ONNX is refused in words, and nothing is left."""

from pathlib import Path

import pytest
import torch

from nnunet_mcp.worker.sharing import onnx_network
from nnunet_mcp.worker.sharing.onnx_network import refuse_without_onnx, write_onnx
from nnunet_mcp.worker.stage import StageFailure


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


def test_without_the_extra_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_network, "NEEDED", ("onnx_that_is_not_here",))

    with pytest.raises(StageFailure, match=r"onnx_that_is_not_here not found.*pip install 'nnunet-mcp\[onnx\]'"):
        refuse_without_onnx()
