"""The search of the best configuration against nnU-Net's command, alternating, on the same softmax of two models.

    PYTHONPATH=. python benchmarks/search.py --source <MSD task> [--cases 40] [--enlarge 1] [--rounds 2]

Nothing is trained: the validations of both models are the true labels with noise on them, in five folds. --enlarge
repeats every voxel so often along each axis. nnU-Net's command runs as it comes, with eight processes, and with as many
as there are cores. Ours is from the call to the result. All must find the same and leave the same postprocessing.json.
"""

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
from scipy.ndimage import gaussian_filter

from nnunet_mcp.worker.scoring import Scored, Wanted, summary_of
from tests.kit.lab import Lab, msd_subset

# What nnUNetv2_find_best_configuration does.
COMMAND = "from nnunetv2.evaluation.find_best_configuration import *; find_best_configuration_entry_point()"
CONFIGURATIONS, FOLDS = ("2d", "3d_fullres"), 5
LABELS = {"background": 0, "Anterior": 1, "Posterior": 2}


def prepare(folder: Path, source: Path, cases: int, enlarge: int) -> Lab:
    """A workspace in which two models are trained and validated, as far as the search can see."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    lab, reader = Lab(folder / "work", {"NNUNET_MCP_ALLOWED_DIRS": str(folder)}), SimpleITKIO()
    subset = msd_subset(source, folder / source.name, cases)
    lab.call("nnunet_prepare_dataset", source=str(subset), dataset_id=4, name="Search")
    raw, preprocessed, results = (
        lab.folder / name / "Dataset004_Search" for name in ("raw", "preprocessed", "results")
    )
    names = sorted(path.name.removesuffix(".nii.gz") for path in (raw / "labelsTr").iterdir())
    folds = [names[number::FOLDS] for number in range(FOLDS)]
    (preprocessed / "gt_segmentations").mkdir(parents=True)
    plans: dict[str, Any] = {
        "dataset_name": raw.name,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
    }
    plans["configurations"] = {name: {"architecture": {}} for name in CONFIGURATIONS}
    (preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans), "utf-8")
    shutil.copy(raw / "dataset.json", preprocessed / "dataset.json")
    split = [{"train": [name for name in names if name not in fold], "val": fold} for fold in folds]
    (preprocessed / "splits_final.json").write_text(json.dumps(split), "utf-8")
    for name in names:
        label, properties = reader.read_seg(str(raw / "labelsTr" / f"{name}.nii.gz"))
        large = numpy.kron(label[0], numpy.ones((enlarge,) * 3, numpy.uint8))
        for target in (raw / "labelsTr", preprocessed / "gt_segmentations"):
            reader.write_seg(large, str(target / f"{name}.nii.gz"), properties)
    for configuration in CONFIGURATIONS:
        model = results / f"nnUNetTrainer__nnUNetPlans__{configuration}"
        for number, fold in enumerate(folds):
            validate(model / f"fold_{number}", fold, preprocessed / "gt_segmentations", seed=len(configuration))
        for name in ("nnUNetPlans.json", "dataset.json"):
            shutil.copy(preprocessed / name, model / name.replace("nnUNetPlans", "plans"))
    return lab


def validate(fold: Path, cases: list[str], truth: Path, *, seed: int) -> None:
    """The files that a training with npz leaves of a fold."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    (folder := fold / "validation").mkdir(parents=True)
    (fold / "checkpoint_final.pth").write_bytes(b"")
    random, reader, scores = numpy.random.default_rng(seed), SimpleITKIO(), []
    for case in cases:
        label, properties = reader.read_seg(str(truth / f"{case}.nii.gz"))
        noise = gaussian_filter(random.normal(size=(3, *label[0].shape)), (0, 2, 2, 2)) * 18
        odds = numpy.exp(noise + 3 * numpy.stack([label[0] == value for value in LABELS.values()]))
        softmax = (odds / odds.sum(0)).astype(numpy.float32)
        numpy.savez_compressed(folder / f"{case}.npz", probabilities=softmax)
        (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties))
        reader.write_seg(softmax.argmax(0), str(folder / f"{case}.nii.gz"), properties)
        files = [str(where / f"{case}.nii.gz") for where in (truth, folder)]
        scores.append(Scored(case, compute_metrics(*files, reader, [1, 2])))
    save_summary_json(summary_of(scores, Wanted((1, 2))), str(folder / "summary.json"))


def ours(lab: Lab) -> None:
    result = lab.finish(lab.call("nnunet_find_best_configuration", dataset_id=4)["run_id"], timeout_s=3600)
    if result["status"] != "success":
        raise SystemExit(f"the run failed: {result['failure']}")


def theirs(lab: Lab, *words: str) -> None:
    command = [sys.executable, "-c", COMMAND, "4", "-c", *CONFIGURATIONS, *words]
    subprocess.run(command, env=lab.environment, check=True, stdout=subprocess.DEVNULL)


def found(lab: Lab) -> tuple[Any, ...]:
    """What was found, and what the best one's postprocessing.json says."""
    results = lab.folder / "results" / "Dataset004_Search"
    names = [results / "inference_information.json", *results.glob("**/postprocessing.json")]
    return tuple(json.loads(path.read_text("utf-8")) for path in names)


def main() -> None:
    """Alternate them; print the seconds and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--enlarge", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    ways: dict[str, Callable[[Lab], None]] = {
        "nnunet-mcp": ours,
        "nnU-Net's command": theirs,
        f"the same with -np {cores}": lambda lab: theirs(lab, "-np", str(cores)),
    }
    with tempfile.TemporaryDirectory() as folder:
        lab = prepare(Path(folder), options.source, options.cases, options.enlarge)
        print(f"{options.cases} cases, each axis {options.enlarge} times as long\n")
        print(f"| round | {', s | '.join(ways)}, s | ratios |\n|---:|---:|---:|---:|---:|", flush=True)
        for number in range(1, options.rounds + 1):
            times, answers = [], []
            for way in ways.values():
                begun = time.perf_counter()
                way(lab)
                times.append(time.perf_counter() - begun)
                answers.append(found(lab))
            if any(answer != answers[0] for answer in answers):
                raise SystemExit("they found different things")
            ratios = ", ".join(f"{times[0] / other:.2f}" for other in times[1:])
            print(f"| {number} | {' | '.join(f'{one:.1f}' for one in times)} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
