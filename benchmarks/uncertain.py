"""Whether the cases that nnunet-mcp calls uncertain are those of low Dice, on held-out cases of real data.

    PYTHONPATH=. python benchmarks/uncertain.py --source <MSD task> [--work FOLDER] [--picture FILE.png]

Two folds of three are trained shortly on the first cases, and predict all others, whose labels are used only here. For
both numbers: Spearman's correlation with the Dice, and how often as strong a one came in 10,000 random orders (p); the
area under the ROC curve for finding the quarter of lowest Dice, where 0.5 is chance; and how many of that quarter are
among the ten first. With --work the folder and its trained model stay and are used again.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from scipy.stats import mannwhitneyu, spearmanr

from tests.kit.lab import Lab, msd_subset

# Minutes on two cores; SGD, as nnU-Net's, has learnt nothing by then.
SHORT = ("optimizer=adamw", "initial_lr=0.001", "epochs=4", "iterations=40", "val_iterations=2", "batch_size=8")
OPTIONS = ("uncertainty=on", "folds=0,1", "mirroring=off", "step_size=1")
ORDERS = 10_000
FIRST = 10
Array = numpy.ndarray[Any, Any]


def trained(folder: Path, source: Path, cases: int, changes: Sequence[str]) -> tuple[Lab, str]:
    """A workspace with two trained folds of three, and the folder of their model."""
    lab = Lab(folder / "work", {"NNUNET_MCP_ALLOWED_DIRS": f"{folder}:{source.parent}"})
    note = folder / "model.txt"
    if not note.is_file():
        subset = msd_subset(source, folder / source.name, cases)
        lab.call("nnunet_prepare_dataset", source=str(subset), dataset_id=4, name="Uncertain")
        lab.call("nnunet_split_dataset", dataset_id=4, folds=3, write=True)
        asked = {"dataset_id": 4, "configuration": "2d", "device": "cpu", "changes": changes}
        runs = [lab.train(timeout_s=3600, fold=fold, **asked) for fold in ("0", "1")]
        note.write_text(str(Path(runs[0]["model_path"]).parent), "utf-8")
    return lab, note.read_text("utf-8")


def held_out(folder: Path, source: Path, cases: int) -> Path:
    """The images that no fold has seen, under nnU-Net's names."""
    images = folder / "held_out"
    images.mkdir(exist_ok=True)
    entries = json.loads((source / "dataset.json").read_text("utf-8"))["training"][cases:]
    for name in (Path(entry["image"]).name for entry in entries):
        shutil.copy2(source / "imagesTr" / name, images / name.replace(".nii.gz", "_0000.nii.gz"))
    return images


def predicted(lab: Lab, model: str, images: Path, labels: Path) -> dict[str, Array]:
    """Dice, entropy and disagreement of every case, in one order."""
    asked = {"model": model, "images": str(images), "labels": str(labels), "options": OPTIONS}
    ended = lab.finish(lab.call("nnunet_predict", **asked, device="cpu")["run_id"])
    result = lab.call("nnunet_results", run_id=ended["run_id"], cases=1000)
    dice = {one["case"]: one["dice"] for one in result["worst_cases"]}
    columns = [(dice[one["case"]], one["entropy"], one["disagreement"]) for one in result["uncertain_cases"]]
    return dict(zip(("dice", "entropy", "disagreement"), numpy.array(columns).T, strict=True))


def judged(dice: Array, score: Array) -> list[str]:
    """The cells of a line: correlation, p, area under the curve, and the worst quarter among the first."""
    random = numpy.random.default_rng(0)
    found = spearmanr(score, dice).statistic
    orders = [spearmanr(random.permutation(score), dice).statistic for _ in range(ORDERS)]
    as_low = 1 + sum(one <= found for one in orders)
    worst = dice <= numpy.quantile(dice, 0.25)
    area = mannwhitneyu(score[worst], score[~worst]).statistic / (worst.sum() * (~worst).sum())
    first = worst[numpy.argsort(-score)[:FIRST]].sum()
    by_chance = FIRST * worst.mean()
    p = f"{as_low / (1 + ORDERS):.4f}"
    return [f"{found:.2f}", p, f"{area:.2f}", f"{first} of {worst.sum()} ({by_chance:.1f} by chance)"]


def draw(columns: dict[str, Array], picture: Path) -> None:
    """The Dice of each case over both numbers; the quarter of lowest Dice is marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(7.2, 3.0), sharey=True, layout="constrained")
    worst = columns["dice"] <= numpy.quantile(columns["dice"], 0.25)
    for axis, name in zip(axes, ("disagreement", "entropy"), strict=True):
        for which, colour in ((~worst, "#4477aa"), (worst, "#cc3311")):
            axis.scatter(columns[name][which], columns["dice"][which], s=16, color=colour)
        axis.set_xlabel(name)
    axes[0].set_ylabel("Dice")
    figure.savefig(picture, dpi=100)


def main() -> None:
    """Print the table, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=20, help="to train with")
    parser.add_argument("--changes", nargs="*", default=SHORT)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lab, model = trained(folder, options.source, options.cases, options.changes)
        images = held_out(folder, options.source, options.cases)
        columns = predicted(lab, model, images, options.source / "labelsTr")
    dice = columns["dice"]
    print(f"{len(dice)} held-out cases, Dice {dice.min():.3f} to {dice.max():.3f}, median {numpy.median(dice):.3f}\n")
    print(f"| ranked by | Spearman's ρ with the Dice | p | AUC | of the worst quarter among the first {FIRST} |")
    print("|---|---:|---:|---:|---:|")
    for name in ("disagreement", "entropy"):
        print(f"| {name} | {' | '.join(judged(dice, columns[name]))} |")
    if options.picture:
        draw(columns, options.picture)


if __name__ == "__main__":
    main()
