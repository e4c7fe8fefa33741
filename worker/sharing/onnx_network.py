"""The network of one fold as ONNX, for programs without PyTorch; `recipe.py` has what nnU-Net does around it.

ONNX Runtime has to find what PyTorch finds in a tile, or nothing is written.
"""

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...calls import argument
from ...nnunet.models import Model
from ...texts import SAID_LENGTH, clean
from .. import nnunet_seam
from ..nnunet_seam import FINDS_TRAINERS
from ..self_supervised import telling_the_patch
from ..stage import StageFailure
from ..weights import nothing_but_data_is_loaded

NEEDED = ("onnx", "onnxscript", "onnxruntime")  # PyTorch's exporter takes the first two, the check the third
INSTALL = "pip install 'nnunet-mcp[onnx]'"
INPUT, OUTPUT, OPSET = "image", "logits", 18
# Of the largest logit. nnU-Net adds logits up in half precision (nnunetv2 2.8.1, predict_from_raw_data.py:620), whose
# step is 0.001 of a number; differences below that are lost there, too.
TOLERANCE = 1e-3
SEED = 0


def refuse_without_onnx() -> None:
    """Check that the packages of the extra are there, before anything is written.

    Raises:
        StageFailure: they are not; with the line that installs them.
    """
    if lacking := [package for package in NEEDED if find_spec(package) is None]:
        raise StageFailure(
            "ONNX is an optional extra and not installed", f"{', '.join(lacking)} not found", f"Install it: {INSTALL}."
        )


def loaded(model: Model, fold: str) -> Any:
    """nnU-Net's predictor with the network of one fold, on the CPU.

    Raises:
        StageFailure: its checkpoint holds more than data, or it reads the segmentations of another model.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    with (
        nothing_but_data_is_loaded(model.folder, unless=False),
        nnunet_seam.replaced(FINDS_TRAINERS, telling_the_patch(model.folder)),
    ):
        predictor.initialize_from_trained_model_folder(str(model.folder), (fold,), model.fold(fold).final.name)
    if predictor.configuration_manager.previous_stage_name is not None:
        raise StageFailure(
            "a cascade is no single network",
            f"it also reads what {predictor.configuration_manager.previous_stage_name} predicts",
            f"Export it without onnx in {argument(include=None)}.",
        )
    predictor.network.eval()
    return predictor


def write_onnx(network: Any, shape: tuple[int, ...], target: Path) -> float:
    """Write a network that takes any number of tiles of this shape (channels, patch); returns by how much the logits of
    a tile differ from PyTorch's, as a part of the largest.

    Raises:
        StageFailure: PyTorch cannot write this network, or ONNX Runtime finds other logits. Nothing is left.
    """
    import torch

    # a batch of one would be taken for a constant
    tiles = torch.randn((2, *shape), generator=torch.Generator().manual_seed(SEED))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                network, (tiles,), str(target), dynamo=True, external_data=False, opset_version=OPSET,
                input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=({0: torch.export.Dim("tiles")},),
            )  # fmt: skip
        difference = _difference(network, target, tiles[:1])
    except Exception as error:  # the exporter raises whatever an operator of the network leads to
        target.unlink(missing_ok=True)
        raise _no_onnx(network, str(error) or type(error).__name__) from error
    if not difference <= TOLERANCE:  # NaN, too
        target.unlink()
        raise _no_onnx(network, f"the logits of a tile differ by {difference:.2g} of the largest from PyTorch's")
    return difference


def shape_of(predictor: Any) -> tuple[int, ...]:
    """Channels and patch of the tiles that nnU-Net gives its network."""
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    plans, found = predictor.plans_manager, predictor.configuration_manager
    return (determine_num_input_channels(plans, found, predictor.dataset_json), *found.patch_size)


def _difference(network: Any, target: Path, tiles: Any) -> float:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([OUTPUT], {INPUT: tiles.numpy()})[0])
    with torch.no_grad():
        wanted = network(tiles)
    if found.shape != wanted.shape:
        raise ValueError(f"ONNX Runtime gives logits of the shape {tuple(found.shape)}, PyTorch {tuple(wanted.shape)}")
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=torch.finfo(torch.float32).tiny))


def _no_onnx(network: Any, why: str) -> StageFailure:
    return StageFailure(
        f"this network ({type(network).__name__}) cannot be written as ONNX",
        clean(why.strip().splitlines()[0], SAID_LENGTH),
        f"Nothing was written. Export it without onnx in {argument(include=None)}.",
    )
