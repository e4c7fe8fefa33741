"""The evaluate stage: every pair of prediction and label is scored, then a folder with the numbers is put in place."""

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...files import make_folder, write_text
from ...nnunet.summary import Summary, finite, label_names, nan_mean
from ...schemas.jobs import EvaluationJob
from ...schemas.outcomes import EvaluationOutcome
from ...schemas.records import CaseMetrics, ClassMetrics, ClassSurface, Surfaces
from ...texts import no_formula, some, told
from ..pool_watch import end_when_a_pool_process_is_killed
from ..pools import import_in_server
from ..scoring import Key, Pair, Scored, Wanted, remarks_of, score_all, summary_of
from ..stage import Job, StageFailure
from ..surfaces import INSTALL, LIBRARY, can_measure
from .folders import replace_folder

SCORES = ["dice", "iou", "recall", "precision", "tp", "fp", "fn"]
COLUMNS = ["case", "class", *SCORES, "predicted_ml", "true_ml", "hd95_mm", "nsd"]


def carry_out(job: Job) -> EvaluationOutcome:
    """Score all cases, and write them with their means."""
    end_when_a_pool_process_is_killed(job.stage)
    import_in_server(LIBRARY)
    asked = job.typed(EvaluationJob)
    wanted = Wanted.of(asked.labels_named, tolerance_mm=asked.tolerance_mm if can_measure() else None)
    pairs = [
        Pair(case, f"{asked.predictions}/{prediction}", f"{asked.labels}/{label}")
        for case, (prediction, label) in asked.pairs.items()
    ]
    every = score_all(job, pairs, wanted)
    found = Evaluation(asked, wanted, [one for one in every if not one.fault])
    if not found.scores:
        raise StageFailure(
            "no case can be scored",
            told((one.case, one.fault) for one in every),
            "Name the predictions of these images and their labels, in the same voxels.",
        )
    if not found.keys:
        raise StageFailure("no class occurs", "every voxel is background", "Name the folders of the segmentations.")
    folder = job.files.evaluation(job.record.run_id)
    found.write(folder)
    return found.outcome(folder, [*remarks_of(every), *found.notes()])


class Evaluation:
    """The scores of all cases that could be compared, as nnU-Net writes them and with what it does not measure."""

    def __init__(self, asked: EvaluationJob, wanted: Wanted, scores: Sequence[Scored]) -> None:
        self.asked, self.wanted, self.scores = asked, wanted, scores
        self.summary = summary_of(scores, wanted) if scores else {}
        self.keys: list[Key] = list(self.summary.get("mean", ()))
        self.names = label_names(asked.labels_named)

    def name(self, key: Key) -> str:
        return self.names.get(str(key), str(key))

    def write(self, folder: Path) -> None:
        """nnU-Net's summary.json, the names of the classes, and a line for each case and class; all or nothing."""
        from nnunetv2.evaluation.evaluate_predictions import save_summary_json

        new = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(new, ignore_errors=True)
        make_folder(new)
        save_summary_json(self.summary, str(new / "summary.json"))
        write_text(new / "dataset.json", json.dumps({"labels": self.asked.labels_named}))
        with (new / "cases.csv").open("w", encoding="utf-8", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(COLUMNS)
            table.writerows(self._rows())
        replace_folder(new, folder)

    def _rows(self) -> Iterator[list[Any]]:
        for one, entry in zip(self.scores, self.summary["metric_per_case"], strict=True):
            for key, numbers in entry["metrics"].items():
                recall, precision = _recall(numbers), _precision(numbers)
                scores = [finite(numbers["Dice"]), finite(numbers["IoU"]), recall, precision]
                volumes = [one.voxel_ml and numbers[name] * one.voxel_ml for name in ("n_pred", "n_ref")]
                surface = one.surface.get(key)
                distances = [surface.hd95_mm, surface.nsd] if surface else [None, None]
                counts = [numbers[name] for name in ("TP", "FP", "FN")]
                yield [no_formula(one.case), no_formula(self.name(key)), *scores, *counts, *volumes, *distances]

    def outcome(self, folder: Path, notes: Iterable[str]) -> EvaluationOutcome:
        """The means, and every case, as results show them."""
        summary = Summary(folder / "summary.json", self.asked.labels_named)
        volumes = [one.voxel_ml for one in self.scores]
        known = [volume for volume in volumes if volume is not None]
        alike = len(known) == len(volumes) and max(known) <= 1.01 * min(known)
        by_name = {self.name(key): key for key in self.keys}
        return EvaluationOutcome(
            ok=True,
            metrics=summary.metrics(None),
            per_class=tuple(self._class(line, by_name[line.label]) for line in summary.per_class()),
            cases=tuple(map(self._case, summary.cases(), self.scores)),
            voxel_mm3=1000 * known[0] if alike else None,
            evaluation=str(folder),
            surface=self._surfaces(),
            notes=tuple(notes),
        )

    def _class(self, line: ClassMetrics, key: Key) -> ClassMetrics:
        cases = [entry["metrics"][key] for entry in self.summary["metric_per_case"]]
        mean, volumes = self.summary["mean"][key], [one.voxel_ml for one in self.scores]
        return line.model_copy(
            update={
                "counts": {name: mean[name.upper()] for name in ("tp", "fp", "fn")},
                "recall": nan_mean(map(_recall, cases)),
                "precision": nan_mean(map(_precision, cases)),
                "predicted_ml": _mean_ml(cases, "n_pred", volumes),
                "true_ml": _mean_ml(cases, "n_ref", volumes),
            }
        )

    def _case(self, line: CaseMetrics, one: Scored) -> CaseMetrics:
        each = one.voxel_ml
        ml = {name: (found[0] * each, found[1] * each) for name, found in line.voxels.items()} if each else {}
        surface = {self.name(key): found for key, found in one.surface.items() if found.nsd is not None}
        return line.model_copy(update={"case": one.case, "ml": ml, "surface": surface})

    def _surfaces(self) -> Surfaces | None:
        if self.wanted.tolerance_mm is None:
            return None
        return Surfaces(tolerance_mm=self.wanted.tolerance_mm, per_class=tuple(map(self._surface, self.keys)))

    def _surface(self, key: Key) -> ClassSurface:
        there = [one.surface[key] for one in self.scores if key in one.surface and one.surface[key].nsd is not None]
        hd95, nsd = ([getattr(found, name) for found in there] for name in ("hd95_mm", "nsd"))
        means = {"hd95_mm": nan_mean(hd95), "nsd": nan_mean(nsd)}
        return ClassSurface(label=self.name(key), **means, cases=len(there), without_hd95=hd95.count(None))

    def notes(self) -> Iterator[str]:
        """What is to be known of the numbers."""
        if self.wanted.tolerance_mm is None:
            yield f"No surface distances: the Python of nnU-Net has no MONAI. {INSTALL} adds it; then evaluate again."
        elif any(one.voxel_ml is None for one in self.scores):
            yield "Pictures and TIFF stacks without spacing have no size: hd95_mm and the tolerance count pixels."
        unmeasured = [f"{one.case} ({one.no_surface})" for one in self.scores if one.no_surface]
        if unmeasured:
            yield f"No surface distances of {some(unmeasured)}."
        alone = {line.label: line.without_hd95 for line in (map(self._surface, self.keys)) if line.without_hd95}
        if alone:
            yield (
                "Where only one of prediction and label has a class, nsd is 0, and hd95_mm is undefined and left out "
                f"of its mean: {told((label, f'{count} cases') for label, count in alone.items())}."
            )


def _recall(numbers: dict[str, Any]) -> float | None:
    return numbers["TP"] / numbers["n_ref"] if numbers["n_ref"] else None


def _precision(numbers: dict[str, Any]) -> float | None:
    return numbers["TP"] / numbers["n_pred"] if numbers["n_pred"] else None


def _mean_ml(cases: Sequence[dict[str, Any]], what: str, volumes: Sequence[float | None]) -> float | None:
    """The mean volume over all cases; null where one has none."""
    if None in volumes:
        return None
    return nan_mean(numbers[what] * (volume or 0.0) for numbers, volume in zip(cases, volumes, strict=True))
