"""Pretrained weights that do not fit name the layers."""

from dataclasses import dataclass

import pytest

from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.weights import refuse_other_architecture


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
