"""Which postprocessing improves the Dice: nnU-Net's function against ours, in CPU seconds, with the same files left.

    PYTHONPATH=. python benchmarks/postprocessing.py --source <MSD task> [--cases 20] [--enlarge 1 3]

The predictions are the true labels with noise on them; --enlarge repeats every voxel along each axis. Each side
runs in a Python of its own with one process for the cases, so that CPU seconds count everything, also what nnU-Net's
pools import anew.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy
from scipy.ndimage import gaussian_filter

from nnunet_mcp.worker.scoring import Scored, Wanted, summary_of

LABELS = {"background": 0, "Anterior": 1, "Posterior": 2}
CLASSES = (1, 2)
THEIRS = """
import sys
from nnunetv2.postprocessing.remove_connected_components import determine_postprocessing
determine_postprocessing(*sys.argv[1:], 1, True)
"""
OURS = """
import sys
from pathlib import Path
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.worker.best_postprocessing import determine_postprocessing
from nnunet_mcp.worker.progress import Silent
determine_postprocessing(*sys.argv[1:], 1, True, reporter=Silent(StageDir(Path("none")), Path("none")))
"""


def prepare(folder: Path, source: Path, cases: int, enlarge: int) -> list[str]:
    """Predictions that the search has measured; returns the arguments of both functions."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics, save_summary_json
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    reader, random, scores = SimpleITKIO(), numpy.random.default_rng(0), []
    predictions, truth = folder / "predictions", folder / "truth"
    for part in (predictions, truth):
        part.mkdir()
    entries = json.loads((source / "dataset.json").read_text("utf-8"))["training"][:cases]
    for name in (Path(entry["label"]).name for entry in entries):
        label, properties = reader.read_seg(str(source / "labelsTr" / name))
        label = numpy.kron(label[0], numpy.ones((enlarge,) * 3, numpy.uint8))
        noise = gaussian_filter(random.normal(size=(3, *label.shape)), (0, 2, 2, 2)) * 18
        found = (noise + 3 * numpy.stack([label == value for value in LABELS.values()])).argmax(0)
        files = str(truth / name), str(predictions / name)
        for image, file in zip((label, found), files, strict=True):
            reader.write_seg(image, file, properties)
        scores.append(Scored(name, compute_metrics(*files, reader, list(CLASSES))))
    save_summary_json(summary_of(scores, Wanted(CLASSES)), str(predictions / "summary.json"))
    description: dict[str, Any] = {"labels": LABELS, "channel_names": {"0": "MRI"}, "file_ending": ".nii.gz"}
    plans = {"dataset_name": "Dataset004_Search", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO"}
    for file, content in {"plans.json": {**plans, "configurations": {}}, "dataset.json": description}.items():
        (predictions / file).write_text(json.dumps(content), "utf-8")
    return [str(predictions), str(truth), str(predictions / "plans.json"), str(predictions / "dataset.json")]


def seconds(program: str, arguments: list[str]) -> tuple[float, dict[str, bytes]]:
    """CPU seconds of the program and all its processes, and the files that it leaves; they are removed again."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    folder = Path(arguments[0])
    files = {str(path): path.read_bytes() for path in sorted(folder.rglob("*.*")) if path.is_file()}
    shutil.rmtree(folder / "postprocessed")
    for name in ("postprocessing.json", "postprocessing.pkl"):
        (folder / name).unlink()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, files


def main() -> None:
    """Print a line for each size of the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--enlarge", type=int, nargs="*", default=[1, 3])
    options = parser.parse_args()
    print("| cases | voxels along an axis, times | nnU-Net's, CPU s | ours, CPU s | ratio |")
    print("|---:|---:|---:|---:|---:|")
    for cases, enlarge in [(1, 1), *((options.cases, times) for times in options.enlarge)]:
        with tempfile.TemporaryDirectory() as folder:
            arguments = prepare(Path(folder), options.source, cases, enlarge)
            (theirs, wanted), (ours, found) = (seconds(program, arguments) for program in (THEIRS, OURS))
        if wanted != found:
            raise SystemExit("they left different files")
        print(f"| {cases} | {enlarge} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
