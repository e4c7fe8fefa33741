"""Weights from elsewhere: read as data only, whichever numpy wrote them, and named where they do not fit."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch

from nnunet_mcp.nnunet.datasets import FoldFiles
from nnunet_mcp.nnunet.splits import TrainedCases
from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.training.checkpoints import shared_cases
from nnunet_mcp.worker.weights import load_weights, read_checkpoint, refuse_other_architecture
from tests.kit.lab import write_evil_checkpoint


@dataclass
class Layer:
    """As much of a tensor as is looked at."""

    shape: tuple[int, ...]


OWN = {
    "encoder.0.weight": Layer((32, 1, 3, 3)),
    "encoder.1.weight": Layer((64, 32, 3, 3)),
    "x.seg_layers.0": Layer((3, 9)),
}


def test_weights_of_the_same_architecture_fit_whatever_the_labels() -> None:
    refuse_other_architecture(OWN, {**OWN, "x.seg_layers.0": Layer((7, 9))})


def test_a_layer_of_another_shape_or_a_missing_one_is_named_with_both_shapes() -> None:
    with pytest.raises(StageFailure) as refused:
        refuse_other_architecture(OWN, {"encoder.0.weight": Layer((16, 1, 3, 3))})

    failure = refused.value.failure
    assert "2 of 2 layers" in failure.cause
    assert "encoder.0.weight: (32, 1, 3, 3) here, (16, 1, 3, 3) there" in failure.evidence
    assert "encoder.1.weight: (64, 32, 3, 3) here, missing there" in failure.evidence


class Network(torch.nn.Module):
    """Two layers that are transferred and one that produces the labels, with nnU-Net's names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(3, 3)
        self.decoder = torch.nn.Module()
        self.decoder.seg_layers = torch.nn.ModuleList([torch.nn.Linear(3, classes)])


def test_a_transfer_is_counted_in_the_network_and_names_what_was_left_out(tmp_path: Path) -> None:
    source = tmp_path / "Dataset050_Old" / "fold_0" / "checkpoint_final.pth"
    source.parent.mkdir(parents=True)
    torch.save({"network_weights": Network(2).state_dict()}, source)
    trainer = SimpleNamespace(was_initialized=True, network=Network(3))

    told = load_weights(trainer, source)

    assert told.startswith(f"Transfer: 2 of 4 tensors of the network were loaded from {source}; left out: ")
    assert "decoder.seg_layers.0.bias, decoder.seg_layers.0.weight (segmentation layers begin at random)" in told


def test_validation_cases_that_the_pretrained_model_knows_are_told(tmp_path: Path) -> None:
    for fold, train, val in (("source", ("a", "b"), ("c",)), ("target", ("c",), ("a", "d"))):
        cases = TrainedCases(train=train, val=val)
        (tmp_path / fold).mkdir()
        FoldFiles(tmp_path / fold).cases_file.write_text(cases.model_dump_json(), encoding="utf-8")

    (note,) = shared_cases(FoldFiles(tmp_path / "target"), tmp_path / "source" / "checkpoint_final.pth")

    assert "1 of the 2 validation cases (a)" in note
    assert shared_cases(FoldFiles(tmp_path / "source"), tmp_path / "source" / "checkpoint_final.pth") == []


def test_a_checkpoint_that_was_cut_is_called_damaged_with_its_size_and_what_can_serve(tmp_path: Path) -> None:
    for name in ("fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth", "fold_0/checkpoint_best.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save({"network_weights": {"layer": torch.zeros(5000)}}, tmp_path / name)
    cut, whole = (tmp_path / f"fold_{n}" / "checkpoint_final.pth" for n in (0, 1))
    cut.write_bytes(cut.read_bytes()[:5000])

    with pytest.raises(StageFailure) as refused:
        read_checkpoint(cut)

    failure = refused.value.failure
    assert "damaged" in failure.cause and "has 5,000 bytes" in failure.evidence
    assert f"{whole.stat().st_size:,}" in failure.evidence
    assert failure.remedy.startswith("checkpoint_best.pth beside it can be read")


def as_before_numpy_2(checkpoint: Path, target: Path) -> None:
    """The same checkpoint as nnU-Net wrote it with numpy 1, where these functions had another module."""
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(target, "w") as older:
        for entry in source.infolist():
            content = source.read(entry).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            older.writestr(entry.filename.replace(checkpoint.stem, target.stem, 1), content)


def test_a_checkpoint_from_before_numpy_2_is_read_like_any_other(tmp_path: Path) -> None:
    logged = {"mean_fg_dice": [numpy.float64(0.5)], "per_class": [numpy.array([0.25, 0.75])]}
    torch.save({"network_weights": {"layer": torch.zeros(2)}, "logging": logged}, tmp_path / "new.pth")
    as_before_numpy_2(tmp_path / "new.pth", tmp_path / "older.pth")

    content = read_checkpoint(tmp_path / "older.pth")

    assert b"numpy.core.multiarray" in (tmp_path / "older.pth").read_bytes()
    assert content["logging"]["mean_fg_dice"] == [0.5]
    assert content["logging"]["per_class"][0].tolist() == [0.25, 0.75]


def test_a_checkpoint_that_would_run_code_runs_nothing_and_the_refusal_says_what(tmp_path: Path) -> None:
    write_evil_checkpoint(tmp_path / "evil.pth", tmp_path / "evidence")

    with pytest.raises(StageFailure) as refused:
        read_checkpoint(tmp_path / "evil.pth")

    assert "it would call" in refused.value.failure.evidence and "open" in refused.value.failure.evidence
    assert not (tmp_path / "evidence").exists()
