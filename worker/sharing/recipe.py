"""What nnU-Net does before and after its network, as JSON: enough to predict with the ONNX file in any language.

Sources: nnunetv2 2.8.1, preprocessing/preprocessors/default_preprocessor.py:36-84, preprocessing/normalization/
default_normalization_schemes.py, inference/predict_from_raw_data.py and sliding_window_prediction.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ...nnunet.postprocessing import LARGEST, Step
from .onnx_network import INPUT, OUTPUT, TOLERANCE

STEPS = (
    "read the channels of a case as float32 with axes z, y, x, in the order of `channels`",
    "transpose the axes by transpose_forward; the spacing as well",
    "crop to the box around the voxels that are not 0 in at least one channel",
    "normalise each channel as it says",
    "resample to spacing with `resampling.image` (2d: slice by slice, along y and x); of an axis with n voxels, "
    "round(old / new * n) come out, where old and new are the spacings",
    "pad with 0 on both sides to at least patch_size, an odd voxel at the end",
    "run the network on tiles of patch_size: along an axis of length L with the patch p and the step s, there are "
    "n = ceil((L - p) / (p * s)) + 1 tiles, which begin at round((L - p) / (n - 1) * i) for i = 0 ... n - 1 (at 0 if n "
    "is 1); round takes halves to the even number",
    "take the mean of each tile's logits and those of its mirror images along every combination of mirror_axes (axes "
    "of the tile)",
    "multiply each tile's logits by the gaussian, add them up, divide by the sum of the gaussians; both sums are in "
    "float16",
    "take the padding off",
    "resample the logits to the cropped image's grid with `resampling.logits`",
    "turn them into labels as `output` says",
    "put them into the uncropped image, 0 outside, and transpose by transpose_backward",
    "apply the steps of postprocessing in their order",
)
SCHEMES = {
    "CTNormalization": "clip to percentile_00_5 and percentile_99_5, subtract mean, divide by std",
    "ZScoreNormalization": "subtract the mean of the case's own cropped channel, divide by its standard deviation (at "
    "least 1e-8)",
    "NoNormalization": "nothing",
    "RescaleTo01Normalization": "subtract the minimum of the case's channel, divide by the maximum of that",
    "RGBTo01Normalization": "divide by 255",
}
MASKED = "; all that only where at least one channel is not 0 or the hole in such a part is"
NUMBERS = ("mean", "std", "percentile_00_5", "percentile_99_5")


def recipe(predictor: Any, file: str, name: Mapping[str, str], steps: tuple[Step, ...], difference: float) -> Any:
    """The JSON beside `file`. `name`: how the model was trained; `steps`: the postprocessing; `difference`: as
    `write_onnx` found it."""
    plans, found = predictor.plans_manager, predictor.configuration_manager
    return {
        "format": "nnunet-mcp-onnx/1",
        "model": dict(name),
        "network": {
            "file": file,
            "input": {"name": INPUT, "axes": ["tile", "channel", *"zyx"[-len(found.patch_size) :]]},
            "output": {"name": OUTPUT, "channels": predictor.label_manager.num_segmentation_heads},
            "check": {"greatest_difference_of_a_logit": difference, "tolerance": TOLERANCE, "part_of": "largest logit"},
        },
        "steps": STEPS,
        "channels": list(_channels(predictor)),
        "reader": plans.plans.get("image_reader_writer"),
        "file_ending": predictor.dataset_json.get("file_ending"),
        "transpose_forward": list(plans.transpose_forward),
        "transpose_backward": list(plans.transpose_backward),
        "spacing": list(found.spacing),
        "resampling": {"image": _resampling(found, "data"), "logits": _resampling(found, "probabilities")},
        "sliding_window": {
            "patch_size": list(found.patch_size),
            "step_size": predictor.tile_step_size,
            "mirror_axes": list(predictor.allowed_mirroring_axes or ()),
            "gaussian": {
                "sigma": "patch_size / 8",
                "of": "a 1 at patch_size // 2",
                "scaled_to": 10,
                "zeros": "smallest",
            },
        },
        "output": _output(predictor),
        "postprocessing": [{"function": LARGEST, "labels": step} for step in steps],
    }


def _channels(predictor: Any) -> Iterator[dict[str, Any]]:
    named = predictor.dataset_json.get("channel_names") or predictor.dataset_json.get("modality") or {}
    measured = predictor.plans_manager.foreground_intensity_properties_per_channel
    found = predictor.configuration_manager
    for number, (scheme, masked) in enumerate(zip(found.normalization_schemes, found.use_mask_for_norm, strict=True)):
        known = measured.get(str(number), {}) if scheme == "CTNormalization" else {}
        yield {
            "name": named.get(str(number), str(number)),
            "normalization": scheme,
            "meaning": SCHEMES.get(scheme, "") + (MASKED if masked and scheme == "ZScoreNormalization" else ""),
            **{key: known[key] for key in NUMBERS if key in known},
        }


def _resampling(found: Any, what: str) -> dict[str, Any]:
    written = found.configuration
    return {"function": written.get(f"resampling_fn_{what}"), **(written.get(f"resampling_fn_{what}_kwargs") or {})}


def _output(predictor: Any) -> dict[str, Any]:
    labels = predictor.label_manager
    if labels.has_regions:
        return {
            "labels": predictor.dataset_json["labels"],
            "regions_class_order": list(labels.regions_class_order),
            "meaning": "a region where its logit is greater than 0; written in this order, later ones over earlier",
        }
    return {"labels": predictor.dataset_json["labels"], "meaning": "the channel with the largest logit is the label"}
