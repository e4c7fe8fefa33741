"""Which postprocessing improves the Dice: what nnU-Net determines and writes, with fewer reads and nothing in between.

nnU-Net tries to keep only the largest component of the whole foreground, then of each label or region. For each try it
reads every prediction and writes it anew, reads that and the label again, and looks at all voxels for each number. Here
a try happens in memory, and only the voxels that it removes are counted again. Labels are tried together, because none
changes another's voxels: one pass over the cases in place of one for each label. Regions overlap, and are tried one
after the other.

Source: nnunetv2 2.8.1, postprocessing/remove_connected_components.py:52-244.
"""

import multiprocessing
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from .progress import Reporter
from .scoring import FEW, Key, Scored, Wanted, summary_of

Step = Key | list[Key]  # as postprocessing.pkl keeps it; the labels of a list count as one structure
Numbers = dict[Key, dict[str, Any]]  # nnU-Net's of a case, by label or region
Dice = dict[Key, float]  # the mean over all cases
Better = Callable[[Dice, Dice, Any], bool]
# Where nnU-Net has the segmentations of a try while it works; its last summary.json names them there.
WHOLE, EACH = "keep_largest_fg", "keep_largest_perClassOrRegion"


@dataclass(frozen=True)
class Case:
    """The files of a case, and how they are read and measured."""

    prediction: str
    reference: str
    reader: Any
    classes: tuple[Key, ...]
    ignored: int | None

    def measured(self, steps: Sequence[Step], tries: Sequence[Step]) -> list[Numbers]:
        """The numbers after these steps, and after each further one of these tries."""
        image, truth = (
            self.reader.read_seg(file)[0][0].astype(numpy.int32) for file in (self.prediction, self.reference)
        )
        for step in steps:
            _keep_largest(image, step)
        counts = self._counts(truth, image)
        found = [self._numbers(counts)]
        somewhere = _box(image != 0)
        image, truth = image[somewhere], truth[somewhere]
        for step in tries:
            where, gone = _removed(image, step)
            moved = self._counts(truth[where][gone][None], image[where][gone][None])
            after = counts - moved
            after[:, 0] += moved.sum(1)
            found.append(self._numbers(after))
        return found

    def _counts(self, truth: Any, image: Any) -> Any:
        """How many voxels have each pair of labels (true, predicted); labels that nobody declared are background."""
        declared = [label for one in self.classes for label in _labels(one)]
        size = 1 + max([*declared, self.ignored or 0])
        found = numpy.zeros(size * size, dtype=numpy.int64)
        for planes in zip(truth, image, strict=True):
            there = (planes[0] != 0) | (planes[1] != 0)
            rows, columns = (
                numpy.where((one < 0) | (one >= size), 0, one) for one in (plane[there] for plane in planes)
            )
            found += numpy.bincount(rows * size + columns, minlength=size * size)
        found[0] += truth.size - found.sum()
        return found.reshape(size, size)

    def _numbers(self, counts: Any) -> Numbers:
        """The numbers of each class, as nnU-Net has them (2.8.1, evaluation/evaluate_predictions.py:88-118)."""
        if self.ignored is not None:
            counts = counts.copy()
            counts[self.ignored] = 0
        found: Numbers = {}
        for one in self.classes:
            labels = _labels(one)
            tp, n_ref, n_pred = counts[labels][:, labels].sum(), counts[labels].sum(), counts[:, labels].sum()
            fp, fn = n_pred - tp, n_ref - tp
            some = tp + fp + fn > 0
            found[one] = {
                "Dice": 2 * tp / (2 * tp + fp + fn) if some else numpy.nan,
                "IoU": tp / (tp + fp + fn) if some else numpy.nan,
                **{"FP": fp, "TP": tp, "FN": fn, "TN": counts.sum() - tp - fp - fn, "n_pred": n_pred, "n_ref": n_ref},
            }
        return found

    def write(self, steps: Sequence[Step], target: Path) -> None:
        """Write the prediction after these steps into a folder."""
        image, properties = self.reader.read_seg(self.prediction)
        for step in steps:
            _keep_largest(image[0], step)
        self.reader.write_seg(image[0], str(target / Path(self.prediction).name), properties)


def _labels(step: Step) -> list[int]:
    return [label for part in step for label in _labels(part)] if isinstance(step, list | tuple) else [int(step)]


def _box(mask: Any) -> tuple[slice, ...]:
    """The smallest part of an image that holds all of a mask."""
    axes = [numpy.flatnonzero(mask.any(tuple({*range(mask.ndim)} - {axis}))) for axis in range(mask.ndim)]
    return tuple(slice(axis[0], axis[-1] + 1) if axis.size else slice(0, 0) for axis in axes)


def _removed(image: Any, step: Step) -> tuple[tuple[slice, ...], Any]:
    """What is not the largest component of these labels: a mask, and the part of the image that it is of.

    Components touch by a corner and equally large ones stay, as in nnU-Net's function (acvl_utils 0.2.6,
    morphology/morphology_helper.py:29 and 58), which compares each component with all others.
    """
    from skimage.measure import label

    mask = numpy.isin(image, _labels(step))
    where = _box(mask)
    mask = mask[where]
    components = label(mask)  # type: ignore[no-untyped-call]
    sizes = numpy.bincount(components.ravel(), minlength=1)
    sizes[0] = 0
    return where, mask & (sizes[components] < sizes.max())


def _keep_largest(image: Any, step: Step) -> None:
    where, gone = _removed(image, step)
    image[where][gone] = 0


@dataclass
class Search:
    """The steps found so far, and the numbers of each case after them."""

    cases: Sequence[Case]
    numbers: list[Numbers]
    processes: int
    reporter: Reporter
    steps: list[Step] = field(default_factory=list)
    place: str = ""  # of the last step
    done: int = 0

    def attempt(self, tries: Sequence[tuple[Step, tuple[Key, ...]]], better: Better, place: str) -> None:
        """Measure further steps, each with the classes that it may change, and keep those that are better."""
        steps = [step for step, _ in tries]
        found = list(self.each(partial(Case.measured, steps=tuple(self.steps), tries=steps)))
        now = [numbers for numbers, *_ in found]
        for number, (step, classes) in enumerate(tries, 1):
            measured = [{key: one[number][key] for key in classes} for one in found]
            after = [one | changed for one, changed in zip(now, measured, strict=True)]
            if better(self.dice(after), self.dice(self.numbers), step):
                self.numbers = now = after
                self.steps.append(step)
                self.place = place

    def dice(self, numbers: Sequence[Numbers]) -> Dice:
        """As in nnU-Net's summary.json: a case without the class does not count, NaN where none has it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return {key: float(numpy.nanmean([one[key]["Dice"] for one in numbers])) for key in self.cases[0].classes}

    def summary(self, numbers: Sequence[Numbers], place: Path | None = None) -> dict[str, Any]:
        """What nnU-Net writes into summary.json."""
        scores = [
            Scored(
                case.prediction,
                {
                    "metrics": one,
                    "reference_file": case.reference,
                    "prediction_file": str(place / Path(case.prediction).name) if place else case.prediction,
                },
            )
            for case, one in zip(self.cases, numbers, strict=True)
        ]
        return summary_of(scores, Wanted(self.cases[0].classes))

    def each(self, work: Callable[[Case], Any]) -> Iterator[Any]:
        """What the work finds of every case in order, in several processes where that pays."""
        processes = min(self.processes, len(self.cases) // FEW)
        if processes < 2:
            yield from self._told(map(work, self.cases))
            return
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            yield from self._told(pool.imap(work, self.cases))

    def _told(self, found: Iterable[Any]) -> Iterator[Any]:
        for one in found:
            yield one
            self.done += 1
            self.reporter.tick(done=self.done)
            self.reporter.stop_here()


def determine_postprocessing(
    folder_predictions: str,
    folder_ref: str,
    plans_file_or_dict: str,
    dataset_json_file_or_dict: str,
    num_processes: int,
    keep_postprocessed_files: bool,
    *,
    reporter: Reporter,
) -> None:
    """In place of nnU-Net's function in its search, which has measured the predictions before."""
    from batchgenerators.utilities.file_and_folder_operations import load_json
    from nnunetv2.evaluation.evaluate_predictions import load_summary_json
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    assert keep_postprocessed_files
    plans, predictions = PlansManager(plans_file_or_dict), Path(folder_predictions)
    labels = plans.get_label_manager(load_json(dataset_json_file_or_dict))
    classes: tuple[Key, ...] = tuple(labels.foreground_regions if labels.has_regions else labels.foreground_labels)
    measured = load_summary_json(str(predictions / "summary.json"))["metric_per_case"]
    reader, files = plans.image_reader_writer_class(), [str(one["prediction_file"]) for one in measured]
    cases = [Case(one, str(Path(folder_ref) / Path(one).name), reader, classes, labels.ignore_label) for one in files]
    before = [one["metrics"] for one in measured]

    rounds = [[(one, classes)] for one in classes] if labels.has_regions else [[(one, (one,)) for one in classes]]
    rounds = rounds if len(classes) > 1 else []
    reporter.say("determining the postprocessing", done=0, total=len(cases) * (2 + len(rounds)))
    search = Search(cases, before, num_processes, reporter)
    search.attempt([(labels.foreground_labels, classes)], _nowhere_worse, WHOLE)
    for tries in rounds:
        search.attempt(tries, _better_itself, EACH)
    _leave(search, predictions, before)


def _nowhere_worse(after: Dice, before: Dice, _: Step) -> bool:
    mean = [float(numpy.mean(list(dice.values()))) for dice in (after, before)]
    return mean[0] > mean[1] and not any(after[key] < before[key] for key in after)


def _better_itself(after: Dice, before: Dice, step: Key) -> bool:
    return after[step] > before[step]


def _leave(search: Search, predictions: Path, before: Sequence[Numbers]) -> None:
    """Write what nnU-Net leaves: the predictions after postprocessing with their numbers, and the steps."""
    from batchgenerators.utilities.file_and_folder_operations import save_json, save_pickle
    from nnunetv2.evaluation.evaluate_predictions import label_or_region_to_key, save_summary_json
    from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    target = predictions / "postprocessed"
    target.mkdir(exist_ok=True)
    if search.steps:
        list(search.each(partial(Case.write, steps=tuple(search.steps), target=target)))
        summary = search.summary(search.numbers, target / "temp" / search.place)
        save_summary_json(summary, str(target / "summary.json"))
    else:
        for path in filter(Path.is_file, predictions.iterdir()):
            shutil.copy(path, target / path.name)
    functions = [remove_all_but_largest_component_from_segmentation] * len(search.steps)
    arguments = [{"labels_or_regions": step} for step in search.steps]
    save_pickle((functions, arguments), str(predictions / "postprocessing.pkl"))
    content: dict[str, Any] = {}
    for name, numbers in (("input_folder", before), ("postprocessed", search.numbers)):
        found = search.summary(numbers)
        mean = {label_or_region_to_key(key): values for key, values in found["mean"].items()}
        content[name] = {"foreground_mean": found["foreground_mean"], "mean": mean}
    content |= {"postprocessing_fns": [one.__name__ for one in functions], "postprocessing_kwargs": arguments}
    recursive_fix_for_json_export(content)
    save_json(content, str(predictions / "postprocessing.json"))
