"""Which share of a prediction the convolutions take, and what bf16 gives and costs. Run by predicting.py.

python benchmarks/predicting_shares.py <model folder> <raw dataset>
"""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nibabel
import numpy
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch.profiler import ProfilerActivity, profile

from nnunet_mcp.worker.resources import fit_this_process

Prepared = list[tuple[str, Any, dict[str, Any]]]


def shares(predictor: nnUNetPredictor, cases: Prepared) -> tuple[float, float]:
    """What the network, and what its convolutions take of the time from the prepared images to the logits."""
    inside, begun = [0.0], [0.0]

    def enter(*_: Any) -> None:
        begun[0] = time.perf_counter()

    def leave(*_: Any) -> None:
        inside[0] += time.perf_counter() - begun[0]

    hooks = predictor.network.register_forward_pre_hook(enter), predictor.network.register_forward_hook(leave)
    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _, data, _ in cases:
            predictor.predict_logits_from_preprocessed_data(data)
        whole = time.perf_counter() - began
    for hook in hooks:
        hook.remove()
    seconds = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    convolutions = sum(each for name, each in seconds.items() if "convolution" in name) / sum(seconds.values())
    return inside[0] / whole, float(convolutions)


def predict(predictor: nnUNetPredictor, cases: Prepared, *, bf16: bool) -> tuple[float, dict[str, Any]]:
    """CPU seconds from the prepared images to the logits, and the segmentations."""
    found, seconds = {}, 0.0
    for name, data, properties in cases:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            logits = predictor.predict_logits_from_preprocessed_data(data)
        seconds += time.process_time() - began
        how = (predictor.plans_manager, predictor.configuration_manager, predictor.label_manager)
        found[name] = convert_predicted_logits_to_segmentation_with_correct_shape(logits, *how, properties)
    return seconds, found


def prepare(predictor: nnUNetPredictor, raw: Path) -> Prepared:
    """The cases of a dataset as the network gets them."""
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    how = (predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json)
    cases = []
    for path in sorted((raw / "imagesTr").iterdir()):
        data, _, properties = preprocessor.run_case([str(path)], None, *how)
        cases.append((path.name.replace("_0000", ""), torch.from_numpy(data), properties))
    return cases


def dice(found: dict[str, Any], raw: Path) -> float:
    """Mean over cases and classes."""
    scores = []
    for name, predicted in found.items():
        label = numpy.asarray(nibabel.load(raw / "labelsTr" / name).dataobj).transpose()
        for value in sorted(set(numpy.unique(label)) - {0}):
            one, other = predicted == value, label == value
            scores.append(2 * (one & other).sum() / (one.sum() + other.sum()))
    return float(numpy.mean(scores))


def main() -> None:
    """Print the share, and a line for each precision."""
    model, raw = sys.argv[1], Path(sys.argv[2])
    fit_this_process("cpu")
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(model, ("0",))
    cases = prepare(predictor, raw)
    predict(predictor, cases[:1], bf16=False)
    network, convolutions = shares(predictor, cases[:2])
    precisions = {"float32": False, "bf16": True}
    results = {name: predict(predictor, cases, bf16=bf16) for name, bf16 in precisions.items()}
    same = results["float32"][1]
    print(f"From the prepared image to the logits, {network:.0%} of the time goes into the network; of the time of all")
    print(f"operations, {convolutions:.0%} into its convolutions.\n")
    print("| precision | CPU, s a case | Dice | voxels as in float32 |\n|---|---:|---:|---:|")
    for name, (seconds, found) in results.items():
        equal = sum((found[case] == same[case]).sum() for case in same) / sum(each.size for each in same.values())
        print(f"| {name} | {seconds / len(cases):.2f} | {dice(found, raw):.4f} | {equal:.4%} |")


if __name__ == "__main__":
    main()
