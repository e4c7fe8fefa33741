"""What is told while nnU-Net validates a fold, with its predictor's methods played by our own."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_mcp.schemas.records import COMPILING, EXPORTING, VALIDATED, VALIDATING
from nnunet_mcp.settings import Settings
from nnunet_mcp.worker.stage import Job
from nnunet_mcp.worker.training.validation import validate
from tests.kit.tiny import training_job


@pytest.fixture
def job(settings: Settings) -> Job:
    return training_job(settings)


class Told:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.fields: dict[str, Any] = {}

    def say(self, phase: str, **fields: Any) -> None:
        self.enter(phase, **fields)

    def section(self, begins: float, ends: float) -> None:
        """Only the percentage depends on it."""

    def enter(self, phase: str, **fields: Any) -> None:
        self.fields.update(fields)
        if self.phases[-1:] != [phase]:
            self.phases.append(phase)

    def tick(self) -> None:
        assert self.phases[-1] in (VALIDATING, COMPILING)

    def stop_here(self) -> None:
        """Nobody asked."""


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """nnU-Net's class, whose volumes are two patches of nothing, and a pool that is busy at every other look."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module

    busy = iter([True, False] * 9)

    def volume(self: Any) -> None:
        for _ in range(2):
            self._internal_maybe_mirror_and_predict()

    monkeypatch.setattr(nnUNetPredictor, "predict_sliding_window_return_logits", volume)
    monkeypatch.setattr(nnUNetPredictor, "_internal_maybe_mirror_and_predict", lambda self: None)
    monkeypatch.setattr(module, "check_workers_alive_and_busy", lambda: next(busy))
    return SimpleNamespace(made=lambda: nnUNetPredictor.__new__(nnUNetPredictor), module=module)


def of_cases(predictor: Any, cases: int) -> Callable[[bool], None]:
    """As much of perform_actual_validation as tells something."""

    def perform(save_probabilities: bool) -> None:
        for _ in range(cases):
            while predictor.module.check_workers_alive_and_busy():
                pass
            predictor.made().predict_sliding_window_return_logits()

    return perform


def trainer(network: Any = None) -> Any:
    cases = ["a", "b"]
    told = {"num_epochs": 9, "network": network, "print_to_log_file": print}
    steps = {"num_iterations_per_epoch": 4, "num_val_iterations_per_epoch": 2}
    return SimpleNamespace(do_split=lambda: ([], cases), local_rank=0, is_ddp=False, **steps, **told)


@pytest.mark.heavy
def test_writing_is_told_apart_from_predicting_and_the_first_patch_compiles(job: Job, predictor: Any) -> None:
    import torch

    plain, compiled = Told(), Told()
    validate(trainer(torch.nn.Linear(1, 1)), job, plain, of_cases(predictor, 2), False)  # type: ignore[arg-type]
    validate(trainer(torch.compile(torch.nn.Linear(1, 1))), job, compiled, of_cases(predictor, 2), False)  # type: ignore[arg-type]

    assert plain.phases == [VALIDATING, EXPORTING, VALIDATING, EXPORTING, VALIDATING, EXPORTING, VALIDATED]
    assert compiled.phases[:5] == [VALIDATING, EXPORTING, VALIDATING, COMPILING, VALIDATING]
    assert plain.fields == {"done": 2, "total": 2, "epochs": 9, "iterations": 6}


@pytest.mark.heavy
def test_a_network_that_cannot_be_compiled_is_validated_without_and_says_so(
    job: Job, predictor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("nnUNet_compile", "t")
    plain = torch.nn.Linear(5, 3)
    of_a_fold = trainer(torch.compile(plain))
    used: list[Any] = []

    def patch(self: Any) -> None:
        self.network = getattr(self, "network", of_a_fold.network)
        self.network(torch.ones(1, 5))
        used.append(self.network)

    monkeypatch.setattr(nnUNetPredictor, "_internal_maybe_mirror_and_predict", patch)
    with torch.no_grad(), config.patch({"cpp.cxx": (None, "/bin/false")}):
        validate(of_a_fold, job, Told(), of_cases(predictor, 1), False)  # type: ignore[arg-type]

    assert used == [plain, plain]
    assert "without torch.compile" in job.stage.notes()[0]
    assert capfd.readouterr().out.count("without torch.compile") == 1
