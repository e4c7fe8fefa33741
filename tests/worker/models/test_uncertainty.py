"""How uncertain a case is, against numbers by hand and by SciPy; the ranking is in tools/models/test_predict.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from scipy.stats import entropy as scipys

from nnunet_mcp.files import read_model
from nnunet_mcp.schemas.records import CaseUncertainty
from nnunet_mcp.worker.predicting.uncertainty import Uncertainty, disagreement, entropy, segmented

SURE = 50.0
# Per fold, logits (2 classes, 1, 1, 4 voxels): background, then a structure where the number is positive.
Voxels = list[float]


def logits(*structures: Voxels) -> torch.Tensor:
    """Of a background of zeros and these structures along one line of voxels, in nnU-Net's half precision."""
    return torch.tensor([[0.0] * len(structures[0]), *structures]).half()[:, None, None]


@pytest.mark.parametrize(
    ("structures", "expected", "nothing"),
    [
        pytest.param([[-SURE, -SURE, SURE, SURE]], 0.0, False, id="sure"),
        pytest.param([[-SURE, -SURE, 0.004, SURE]], 0.5, False, id="one of two voxels at even odds"),
        pytest.param([[0.0, 0.0, SURE, SURE]], 0.0, False, id="what is no structure does not count"),
        pytest.param([[-SURE, -SURE, -SURE, -0.004]], 1.0, True, id="nothing, but almost"),
        pytest.param([[-SURE] * 4], 0.0, True, id="nothing at all"),
        pytest.param([[SURE] * 4, [SURE] * 4], 0.630930, False, id="two of three classes at even odds"),
    ],
)
def test_entropy_is_that_of_the_voxels_that_are_predicted(
    structures: list[Voxels], expected: float, nothing: bool
) -> None:
    found, empty = entropy(logits(*structures), regions=False)

    assert found == pytest.approx(expected, abs=1e-4)
    assert empty == nothing


@pytest.mark.parametrize("regions", [False, True])
def test_entropy_is_scipys_of_nnunets_probabilities(regions: bool) -> None:
    random = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    yes = random.sigmoid().numpy()
    each = scipys(numpy.stack([yes, 1 - yes]), base=2).mean(0) if regions else scipys(random.softmax(0).numpy(), base=3)
    where = (yes > 0.5).any(0) if regions else random.argmax(0).numpy() > 0

    assert entropy(random, regions=regions)[0] == pytest.approx(each[where].mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        pytest.param([[[1, 1, -1, -1]], [[1, 1, -1, -1]]], 0.0, id="the same"),
        pytest.param([[[1, 1, -1, -1]], [[-1, -1, 1, 1]]], 1.0, id="elsewhere"),
        pytest.param([[[1, 1, -1, -1]], [[1, -1, -1, -1]]], 1 / 3, id="half of it"),
        pytest.param([[[-1] * 4], [[-1] * 4]], 0.0, id="nothing in both"),
        pytest.param([[[-1] * 4], [[1, 1, 1, 1]]], 1.0, id="nothing in one"),
        pytest.param([[[1, 1, -1, -1], [-1] * 4], [[1, 1, -1, -1], [-1, -1, -1, 1]]], 0.5, id="a class in one only"),
        pytest.param([[[1, 1, -1, -1]], [[1, 1, -1, -1]], [[-1, -1, 1, 1]]], 2 / 3, id="all pairs of three"),
    ],
)
@pytest.mark.parametrize("regions", [False, True])
def test_folds_disagree_by_what_their_dice_lacks(folds: list[list[Voxels]], expected: float, regions: bool) -> None:
    each = [segmented(logits(*fold)[1 if regions else 0 :], regions=regions) for fold in folds]

    assert disagreement(each, regions=regions) == pytest.approx(expected)


def predictor_of(folds: list[torch.Tensor]) -> Any:
    """nnU-Net's own, whose network gives each fold's logits in turn."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    class Predictor(nnUNetPredictor):  # type: ignore[misc]
        """Without images and files."""

        def predict_sliding_window_return_logits(self, data: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = next(self.turns)
            return found.clone()

        def predict_from_data_iterator(self, cases: Any, save: bool) -> list[torch.Tensor]:
            return [self.predict_logits_from_preprocessed_data(case["data"]) for case in cases]

    predictor: Any = Predictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.network, predictor.turns = torch.nn.Identity(), iter(folds * 2)
    predictor.list_of_parameters, predictor.label_manager = [{} for _ in folds], SimpleNamespace(has_regions=False)
    return predictor


@pytest.mark.parametrize("count", [1, 2])
def test_each_case_is_measured_on_the_way_and_the_logits_stay_as_they_are(tmp_path: Path, count: int) -> None:
    folds = [logits([1.0, 1.0, -1.0, -1.0]), logits([1.0, -1.0, -1.0, -1.0])][:count]
    predictor = predictor_of(folds)
    Uncertainty(predictor, tmp_path, "predict")

    cases = [{"data": torch.zeros(1), "ofile": f"/output/{name}"} for name in ("a", "b.c")]
    found = predictor.predict_from_data_iterator(cases, False)

    assert [bool((one == sum(folds) / count).all()) for one in found] == [True, True]
    records = [read_model(tmp_path / f"uncertainty/predict/{name}.json", CaseUncertainty) for name in ("a", "b.c")]
    assert [one and one.case for one in records] == ["a", "b.c"]
    assert [one and one.disagreement for one in records] == [pytest.approx(1 / 3) if count == 2 else None] * 2
