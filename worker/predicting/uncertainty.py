"""How sure a model is of each case, from what nnU-Net has in hand while it predicts; in the space of the network.

Two numbers from 0 (sure) to 1:

- `entropy`: the mean entropy of the probabilities over the voxels that are predicted as a structure. Its relation with
  the Dice: Mehrtash et al., IEEE Transactions on Medical Imaging 39 (2020), 3868-3878.
- `disagreement`, of several folds: 1 - the mean Dice between their own segmentations. Roy et al., NeuroImage 195
  (2019), 11-22; a strong baseline among many scores: Zenk et al., Medical Image Analysis 101 (2025), 103392.

A record of each case lies below the folder of the predictions, written before its segmentation is: whatever ends the
prediction, a case that is there has its numbers.

    uncertainty/<model>/<case>.json     predict, or predict_1 and predict_2 of an ensemble
    uncertainty.csv                     every case, the most uncertain first
"""

import csv
import io
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import make_folder, read_model, write_model, write_text
from ...schemas.records import CaseUncertainty
from ...texts import no_formula, numbered, some
from .. import nnunet_seam
from ..nnunet_seam import PREDICTOR

FOLDER, TABLE = "uncertainty", "uncertainty.csv"


def segmented(logits: Any, *, regions: bool) -> Any:
    """The labels (x, y, z) that logits (channels, x, y, z) stand for; of regions a mask of each (channels, x, y, z).

    Source: nnunetv2 2.8.1, utilities/label_handling/label_handling.py:144-183: argmax, or a probability above 0.5.
    """
    return logits > 0 if regions else logits.argmax(0)


def entropy(logits: Any, *, regions: bool) -> tuple[float, bool]:
    """Mean normalised entropy (0-1) where a structure is predicted, and whether nothing is predicted anywhere.

    Where nothing is, it is that of the most uncertain voxel: 1 where the model was about to predict something.
    """
    found = segmented(logits, regions=regions)
    inside = found.any(0) if regions else found > 0
    planes = logits.unbind(1)  # one at a time, as float32 takes twice the memory of nnU-Net's half precision
    of_voxels = _of_regions if regions else _of_labels
    if not inside.any():
        return max(float(of_voxels(plane.flatten(1)).max()) for plane in planes), True
    sums = [float(of_voxels(plane[:, mask]).sum()) for plane, mask in zip(planes, inside, strict=True)]
    return sum(sums) / int(inside.sum()), False


def _of_labels(logits: Any) -> Any:
    """Entropy (voxels) of the softmax of logits (channels, voxels), as a share of the greatest that there can be."""
    from torch.special import entr

    return entr(logits.float().softmax(0)).sum(0) / math.log(len(logits))


def _of_regions(logits: Any) -> Any:
    """The same of regions, which may overlap: the mean of the entropies of each one's yes or no."""
    from torch.special import entr

    yes = logits.float().sigmoid()
    return (entr(yes) + entr(1 - yes)).mean(0) / math.log(2)


def disagreement(segmentations: Sequence[Any], *, regions: bool) -> float:
    """1 - the mean Dice of all pairs (0-1), of segmentations as `segmented` returns them."""
    of_pair = _dice_of_regions if regions else _dice_of_labels
    return 1 - statistics.fmean(of_pair(one, other) for one, other in combinations(segmentations, 2))


def _dice_of_labels(one: Any, other: Any) -> float:
    classes = 1 + int(max(one.max(), other.max()))
    shared, *sizes = (part.flatten().bincount(minlength=classes)[1:] for part in (one[one == other], one, other))
    return _mean_dice(shared, sum(sizes))


def _dice_of_regions(one: Any, other: Any) -> float:
    shared, *sizes = (mask.flatten(1).sum(1) for mask in (one & other, one, other))
    return _mean_dice(shared, sum(sizes))


def _mean_dice(shared: Any, sizes: Any) -> float:
    """Over the structures that at least one of both has; 1 where neither has any."""
    there = sizes > 0
    return float((2 * shared[there] / sizes[there]).mean()) if there.any() else 1.0


class Uncertainty:
    """Measures every case that a predictor of nnU-Net's predicts, and writes its record."""

    def __init__(self, predictor: Any, output: Path, model: str) -> None:
        self._folder = output / FOLDER / model
        make_folder(self._folder)
        self._regions = bool(predictor.label_manager.has_regions)
        self._case, self._folds = "", list[Any]()
        nnunet_seam.replace_on(predictor, f"{PREDICTOR}.predict_from_data_iterator", self._predict)
        nnunet_seam.replace_on(predictor, f"{PREDICTOR}.predict_logits_from_preprocessed_data", self._predict_case)
        if len(predictor.list_of_parameters) > 1:
            nnunet_seam.replace_on(predictor, f"{PREDICTOR}.predict_sliding_window_return_logits", self._predict_fold)

    def _predict(self, method: Callable[..., Any], cases: Iterable[Any], *more: Any, **named: Any) -> Any:
        return method(self._noted(cases), *more, **named)

    def _noted(self, cases: Iterable[Any]) -> Iterator[Any]:
        for case in cases:
            self._case = Path(case["ofile"]).name
            yield case

    def _predict_case(self, method: Callable[..., Any], data: Any) -> Any:
        self._folds = []
        logits = method(data)
        self.measure(self._case, logits, self._folds)
        return logits

    def _predict_fold(self, method: Callable[..., Any], data: Any) -> Any:
        import torch

        logits = method(data)
        found = segmented(logits, regions=self._regions)
        self._folds.append(found.to("cpu", torch.bool if self._regions else torch.int16))
        return logits

    def measure(self, case: str, logits: Any, folds: Sequence[Any]) -> None:
        """Write the record of a case, from its logits and from what its folds `segmented`."""
        found, nothing = entropy(logits, regions=self._regions)
        differ = disagreement(folds, regions=self._regions) if len(folds) > 1 else None
        record = CaseUncertainty(case=case, entropy=found, disagreement=differ, nothing_predicted=nothing)
        write_model(self._folder / f"{case}.json", record)


def forget(output: Path, cases: Iterable[str]) -> None:
    """Remove the records of cases that are to be predicted again."""
    for folder in (output / FOLDER).glob("*/"):
        for case in cases:
            (folder / f"{case}.json").unlink(missing_ok=True)


def ranked(output: Path, cases: Iterable[str]) -> tuple[CaseUncertainty, ...]:
    """What is known of these cases, the most uncertain first; of an ensemble the mean of its models."""
    folders = sorted((output / FOLDER).glob("*/"))
    known = ([read_model(folder / f"{case}.json", CaseUncertainty) for folder in folders] for case in cases)
    return tuple(sorted((_mean([*filter(None, each)]) for each in known if any(each)), key=_order))


def _order(one: CaseUncertainty) -> tuple[bool, float, str]:
    """Cases without any structure first: the Dice of one that has some is 0. Then by the folds, else by entropy."""
    score = one.entropy if one.disagreement is None else one.disagreement
    return not one.nothing_predicted, -score, one.case


def _mean(found: Sequence[CaseUncertainty]) -> CaseUncertainty:
    differ = [one.disagreement for one in found if one.disagreement is not None]
    return CaseUncertainty(
        case=found[0].case,
        entropy=statistics.fmean(one.entropy for one in found),
        disagreement=statistics.fmean(differ) if differ else None,
        nothing_predicted=all(one.nothing_predicted for one in found),
    )


def remarks(known: Sequence[CaseUncertainty], predicted: Iterable[str]) -> Iterator[str]:
    """What the ranking does not say by itself."""
    if empty := [one.case for one in known if one.nothing_predicted]:
        yield f"Nothing is predicted in {numbered(len(empty), 'case')} ({some(empty)}): is nothing there?"
    if lacking := sorted({*predicted} - {one.case for one in known}):
        yield (
            f"How uncertain {some(lacking)} are is not known: they were predicted without it. "
            f"{argument(overwrite=True)} predicts every case again."
        )


def write_table(output: Path, cases: Sequence[CaseUncertainty]) -> None:
    """A line for each case in uncertainty.csv, in this order."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["rank", "case", "disagreement", "entropy", "nothing_predicted"])
    for rank, one in enumerate(cases, 1):
        table.writerow([rank, no_formula(one.case), one.disagreement, one.entropy, int(one.nothing_predicted)])
    write_text(output / TABLE, text.getvalue())
