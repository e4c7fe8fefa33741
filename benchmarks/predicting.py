"""A prediction on this machine's CPU: nnU-Net's command and nnunet-mcp, one fold and five, small and large images.

    PYTHONPATH=. python benchmarks/predicting.py --source <MSD task> [--configuration 3d_fullres] [--work FOLDER]

Both predict the same images with the same model, alternating, at the same niceness, with nnU-Net's defaults: from the
command, or from the tool call, to the end. Every voxel has to be equal. The five folds are five files of the same
weights, which takes as long as five trained ones. A large image is a small one repeated along each axis. In FOLDER the
trained model is kept, and found again.

Then one process predicts what has labels: which share of its time the convolutions take, and what bf16 changes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy

from tests.kit.lab import Lab, msd_subset

DATASET = "Dataset004_Benchmark"
ONE, FIVE = "results", "results_of_five"
REPEATED = 2  # the edge of a large image in small ones
SHARES = Path(__file__).with_name("predicting_shares.py")


class Subject:
    """A trained model, the images for it, and the two ways to predict them."""

    def __init__(self, lab: Lab, configuration: str, trainer: str) -> None:
        self.lab, self.configuration, self.trainer = lab, configuration, trainer
        self.raw = lab.folder / "raw" / DATASET

    def model(self, results: str = "results") -> Path:
        """The folder of the trained model, or of its copy with five folds."""
        return self.lab.folder / results / DATASET / f"{self.trainer}__nnUNetPlans__{self.configuration}"

    def train(self, source: Path, cases: int) -> None:
        """Train fold 0, if the workspace does not have it, and make a model of five such folds."""
        if not self.model(FIVE).is_dir():
            subset = msd_subset(source, self.lab.folder.parent / "Task04_Subset", cases)
            self.lab.call("nnunet_prepare_dataset", source=str(subset), dataset_id=4, name="Benchmark")
            how = {"configuration": self.configuration, "trainer": self.trainer}
            result = self.lab.train(dataset_id=4, fold="0", device="cpu", timeout_s=7200, **how)
            if result["status"] != "success":
                raise SystemExit(f"the training failed: {result['failure']}")
            shutil.copytree(self.model(), self.model(FIVE))
            for fold in "1234":
                shutil.copytree(self.model() / "fold_0", self.model(FIVE) / f"fold_{fold}")

    def images(self, folder: Path, cases: int, *, repeated: int = 1) -> Path:
        """A folder with the first cases, each image repeated along each axis."""
        folder.mkdir()
        for path in sorted((self.raw / "imagesTr").iterdir())[:cases]:
            image = nibabel.load(path)
            whole = numpy.tile(numpy.asarray(image.dataobj), (repeated,) * 3)
            nibabel.save(nibabel.Nifti1Image(whole, image.affine), folder / path.name)
        return folder

    def unseen(self, source: Path, folder: Path, cases: int) -> Path:
        """A folder like a raw dataset's, with cases of the task that the model was not trained with."""
        known = {path.name for path in (self.raw / "labelsTr").iterdir()}
        others = [path for path in sorted((source / "labelsTr").glob("*.nii.gz")) if path.name not in known][:cases]
        for part in ("imagesTr", "labelsTr"):
            (folder / part).mkdir(parents=True)
        for label in others:
            shutil.copy(label, folder / "labelsTr")
            image = folder / "imagesTr" / label.name.replace(".nii.gz", "_0000.nii.gz")
            shutil.copy(source / "imagesTr" / label.name, image)
        return folder

    def theirs(self, images: Path, output: Path, results: str) -> float:
        """Seconds of nnU-Net's command."""
        command = shutil.which("nnUNetv2_predict", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        which = ["-d", "4", "-c", self.configuration, "-tr", self.trainer, "-f", *("01234" if results == FIVE else "0")]
        arguments = [str(command), *which, "-device", "cpu", "-i", str(images), "-o", str(output)]
        environment = {**self.lab.environment, "nnUNet_results": str(self.lab.folder / results)}
        began = time.perf_counter()
        subprocess.run(arguments, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began

    def ours(self, images: Path, output: Path, results: str) -> float:
        """Seconds from the tool call to the result."""
        began = time.perf_counter()
        which = {"model": str(self.model(results)), "images": str(images), "output": str(output)}
        started = self.lab.call("nnunet_predict", **which, device="cpu")
        result = self.lab.finish(started["run_id"], timeout_s=7200)
        if result["status"] != "success":
            raise SystemExit(f"the prediction failed: {result['failure']}")
        return time.perf_counter() - began


def equal(one: Path, other: Path) -> bool:
    """Whether both folders have the same segmentations, voxel by voxel."""
    names = sorted(path.name for path in one.glob("*.nii.gz"))
    same = [numpy.array_equal(*(nibabel.load(folder / name).dataobj for folder in (one, other))) for name in names]
    return bool(names) and all(same)


def alternate(subject: Subject, sets: dict[str, tuple[Path, str]], rounds: int, folder: Path) -> None:
    """Both ways once in each round, the other one first in every second round, and the medians."""
    print("| images | nnU-Net's command, s | nnunet-mcp, s | ratio of the medians | voxels |\n|---|---:|---:|---:|---|")
    for title, (images, results) in sets.items():
        ways: list[Callable[[Path, Path, str], float]] = [subject.theirs, subject.ours]
        found: dict[Any, list[float]] = {way: [] for way in ways}
        same = True
        for number in range(rounds):
            outputs = {way: folder / f"{images.name}_{number}_{way.__name__}" for way in ways}
            for way in ways[:: -1 if number % 2 else 1]:
                found[way].append(way(images, outputs[way], results))
            same = same and equal(*outputs.values())
        theirs, ours = (found[way] for way in ways)
        ratio = statistics.median(ours) / statistics.median(theirs)
        told = "identical" if same else "DIFFERENT"
        print(f"| {title} | {spread(theirs)} | {spread(ours)} | {ratio:.2f} | {told} |", flush=True)
    print(f"\nLoad of the last minute: {os.getloadavg()[0]:.0f}.\n", flush=True)


def spread(seconds: list[float]) -> str:
    return ", ".join(f"{one:.1f}" for one in seconds)


def shares(subject: Subject, unseen: Path) -> None:
    """Let a process of its own predict labelled cases, in float32 and in bf16."""
    script = [sys.executable, str(SHARES), str(subject.model()), str(unseen)]
    subprocess.run(script, env=subject.lab.environment, check=True)


def main() -> None:
    """Alternate them and print the ratios, then where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--trainer", default="EpochsTrainer")
    parser.add_argument("--work", type=Path, help="a folder for the model; omitted: a temporary one")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder) / "lab"
        extra = {"NNUNET_MCP_ALLOWED_DIRS": f"{work}{os.pathsep}{folder}", "NNUNET_MCP_NICE": "0"}
        subject = Subject(Lab(work / "work", extra), options.configuration, options.trainer)
        subject.train(options.source, options.cases)
        small = subject.images(Path(folder) / "small", options.cases)
        few = subject.images(Path(folder) / "few", options.cases // 4)
        large = subject.images(Path(folder) / "large", 2, repeated=REPEATED)
        print(f"{options.configuration}, {options.rounds} rounds\n")
        sets = {
            f"{options.cases} small, one fold": (small, ONE),
            f"{options.cases // 4} small, five folds": (few, FIVE),
            "2 large, one fold": (large, ONE),
        }
        alternate(subject, sets, options.rounds, Path(folder))
        shares(subject, subject.unseen(options.source, Path(folder) / "unseen", options.cases))


if __name__ == "__main__":
    main()
