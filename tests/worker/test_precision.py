"""Mixed precision on the CPU: only where it was asked for, and only where the processor has bfloat16."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nnunet_mcp.errors import RunError
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.runs.local import engine
from nnunet_mcp.runs.machine.processor import computes_bfloat16
from nnunet_mcp.schemas.preflight import PreflightRequest
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.training.preflight import nnunet_preflight
from nnunet_mcp.tools.training.training import nnunet_training
from nnunet_mcp.worker.training.precision import precision_of
from tests.kit.tiny import make_dataset

REQUEST: dict[str, Any] = {"dataset_id": 97, "configuration": "2d", "fold": "0", "device": "cpu"}


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    make_dataset(settings.folder("raw"), "Dataset097_Precise")
    return DatasetFiles(settings.folders, "Dataset097_Precise")


def processor(monkeypatch: pytest.MonkeyPatch, *, has: bool) -> None:
    monkeypatch.setattr(engine, "computes_bfloat16", lambda: has)


@pytest.mark.parametrize(
    ("line", "has"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 fsrm", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("model name\t: bf16 by name alone", False),
    ],
)
def test_the_processors_own_flags_say_whether_it_has_bfloat16(tmp_path: Path, line: str, has: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n", encoding="utf-8")

    assert computes_bfloat16(cpuinfo) is has


def test_a_system_that_does_not_tell_its_flags_counts_as_without(tmp_path: Path) -> None:
    assert computes_bfloat16(tmp_path / "nothing") is False


def test_a_processor_without_it_is_refused_before_anything_starts(
    settings: Settings, files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, has=False)

    with pytest.raises(RunError, match=r"needs a CPU with bfloat16.*Leave bf16 out"):
        nnunet_training(TrainingRequest.model_validate({**REQUEST, "bf16": True}), settings)
    answer = nnunet_preflight(PreflightRequest.model_validate({**REQUEST, "bf16": True}), settings)
    assert not answer.possible and "Leave bf16 out" in " ".join(answer.problems)


def test_a_training_that_would_take_the_gpu_is_told_to_name_the_cpu(settings: Settings, files: DatasetFiles) -> None:
    on_gpus = settings.model_copy(update={"gpus": 1})

    with pytest.raises(RunError, match=r"this one runs on cuda\. Use device='cpu'"):
        nnunet_training(TrainingRequest.model_validate({**REQUEST, "device": None, "bf16": True}), on_gpus)


def test_a_preflight_offers_it_where_it_would_help(
    settings: Settings, files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def notes(**arguments: Any) -> str:
        answer = nnunet_preflight(PreflightRequest.model_validate({**REQUEST, **arguments}), settings)
        return str(for_agents(" ".join(answer.notes)))

    processor(monkeypatch, has=True)
    assert "bf16=true" in notes()
    assert "bf16=true" not in notes(bf16=True)
    processor(monkeypatch, has=False)
    assert "bf16=true" not in notes()


def test_only_the_network_computes_in_bfloat16_and_only_inside() -> None:
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.LeakyReLU(), torch.nn.Conv2d(8, 2, 3))
    seen: list[torch.dtype] = []
    network[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    images = torch.randn(2, 1, 16, 16)

    exact = network(images)
    with precision_of(network, bf16=True):
        mixed = network(images)
        mixed.sum().backward()
    again = network(images)

    assert seen == [torch.float32, torch.bfloat16, torch.float32]
    assert mixed.dtype == torch.float32 and torch.equal(exact, again)
    assert torch.allclose(exact, mixed, atol=0.02) and not torch.equal(exact, mixed)
    assert all(
        p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32 for p in network.parameters()
    )


def test_every_output_of_deep_supervision_comes_back_in_float32() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 1, 1)

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return [self.layer(images), self.layer(images[..., ::2, ::2])]

    network = Two()
    with precision_of(network, bf16=True):
        outputs = network(torch.randn(1, 1, 4, 4))

    assert [output.dtype for output in outputs] == [torch.float32, torch.float32]
