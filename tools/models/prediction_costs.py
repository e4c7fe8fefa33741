"""What a prediction will take: minutes, disk and memory, by the headers of its images and by what ran here before."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from ...files import stamp
from ...image_headers import Size, size_of
from ...nnunet.datasets import DatasetFiles
from ...nnunet.models import Model
from ...prediction_work import FLOAT, Network, fitting_workers
from ...runs.engines import engine_of
from ...runs.layout import RunDir, StateDir
from ...runs.machine.capacity import usable_memory
from ...runs.machine.disk import refuse_without_room
from ...runs.speed import RUNS_LOOKED_AT, pass_of_training
from ...runs.store import newest_runs
from ...schemas.jobs import PredictionJob, PredictStep
from ...schemas.model_name import ModelName
from ...schemas.outcomes import PredictedOutcome, PredictionOutcome, PredictionPace
from ...schemas.records import RunRecord
from ...settings import Settings
from ...texts import clean
from .prediction_images import Chosen

MOST_HEADERS = 200  # reading one takes a tenth of a millisecond
PACES = 5  # earlier predictions that count
SPREAD = 1.5  # between two predictions of a model, by what else the machine does
# A training computes its patches without reading, resampling and writing whole images.
FASTER, SLOWER = 2.0, 4.0
START_S = 15.0  # an idle machine imports PyTorch and nnU-Net in so long
# Labels take hundredths of a byte per voxel in compressed formats; softmax of noise was seen to take 0.9 of its floats.
OF_LABELS, OF_SOFTMAX = 0.05, 0.9
COMPRESSED = (".gz", ".png", ".tif", ".tiff")


@dataclass(frozen=True)
class Pace:
    """Seconds of one pass of a network, as a range, and what that rests on."""

    expected: float
    low: float
    high: float
    basis: str


@dataclass
class PredictionCosts:
    """The costs of a recorded prediction that has not started yet."""

    record: RunRecord
    job: PredictionJob
    images: Chosen
    settings: Settings
    todo: int = field(init=False)
    sizes: dict[str, Size] = field(init=False)

    def __post_init__(self) -> None:
        files = DatasetFiles(self.record.folders, self.record.dataset_name)
        self.ending = str(Model(files, Path(self.job.models[0]), ()).description.get("file_ending"))
        steps = [step for step in self.job.steps.values() if step.part == 0]  # one per model: its parts share the cases
        networks = ((step, Model(files, Path(step.model), step.folds).network) for step in steps)
        self.networks = [(step, network) for step, network in networks if network is not None]
        self.known = len(self.networks) == len(steps)
        cases = [case for case in self.images.cases if self.job.overwrite or not self._is_there(case)]
        self.todo = len(cases)
        some = dict.fromkeys(cases[:: max(1, math.ceil(len(cases) / MOST_HEADERS))])
        some |= dict.fromkeys(sorted(cases, key=self._bytes)[-1:])  # so that the largest one is among them
        self.sizes = {case: size for case in some if (size := size_of(self.images.first_file(case))) is not None}

    def _is_there(self, case: str) -> bool:
        return (Path(self.job.output) / f"{case}{self.ending}").is_file()

    def _bytes(self, case: str) -> int:
        found = stamp(str(self.images.first_file(case)))
        return found[1] if found else 0

    def told(self) -> str:
        """Minutes, disk and memory in words; what is not known is left out or said.

        Raises:
            Unavailable: the disk has no room for the segmentations.
        """
        if not self.todo:
            return (
                "Every case is there already: the run only checks them, and predicts again those whose images have "
                "changed."
            )
        if not self.known:
            return ""
        return " ".join(filter(None, (self._minutes(), self._disk(), self._memory())))

    def _each(self, network: Network) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
        """Some of the images, or in their place the median one of the training: case, shape, and as the network sees
        it."""
        for case, size in self.sizes.items():
            yield case, size.shape, network.resampled(size.shape, size.spacing)
        if not self.sizes:
            usual = tuple(round(length) for length in network.usual_shape)
            yield "", usual, usual

    def _all(self, of_some: float) -> float:
        """Of all cases, from the sum of those whose size is known."""
        return of_some * self.todo / (len(self.sizes) or 1)

    def _minutes(self) -> str:
        low = expected = high = 0.0
        bases: dict[str, None] = {}
        parts, lanes = self._parts()
        turns = math.ceil(parts / lanes)
        for step, network in self.networks:
            each = (network.passes(seen, step.step_size, step.mirroring) for _, _, seen in self._each(network))
            passes = self._all(sum(each))
            if (pace := self._pace(step)) is None:
                return "Minutes are not known: this model has neither trained nor predicted on this device yet."
            low, expected, high = (
                had + turns * (START_S + passes / parts * one)
                for had, one in ((low, pace.low), (expected, pace.expected), (high, pace.high))
            )
            bases[f"{passes:,.0f} passes of the network at {pace.expected:.2g} s, {pace.basis}"] = None
        side = f" in {parts} parts, {lanes} at a time" if parts > 1 else ""
        guess = "" if self.sizes else ", for images like the training's median"
        return f"About {_time(expected)} ({_time(low)} to {_time(high)}){side}: {' and '.join(bases)}{guess}."

    def _parts(self) -> tuple[int, int]:
        """How many parts have cases to predict, and how many of them can predict at the same time."""
        parts = min(int(self.job.options.get("parts", 1)), self.todo)
        return parts, engine_of(self.record).lanes(self.record, parts, self.settings)

    def _pace(self, step: PredictStep) -> Pace | None:
        found = list(islice(self._earlier(step), PACES))
        if found:
            seconds = [pace.seconds / pace.passes for _, pace in found]
            run, most = max(found, key=lambda one: one[1].passes)  # what it takes to begin weighs least there
            each = most.seconds / most.passes
            return Pace(each, min(seconds) / SPREAD, max(seconds) * SPREAD, f"as in {run.run_id}")
        name = ModelName.parse(Path(step.model).name)
        trained = pass_of_training(StateDir.of(self.settings), self.record, name)
        if trained is None:
            return None
        run_id, each = trained
        return Pace(each, each / FASTER, each * SLOWER, f"by the training {run_id}, without reading and writing")

    def _earlier(self, step: PredictStep) -> Iterator[tuple[RunDir, PredictionPace]]:
        """How this model predicted here before, newest first."""
        alike = ("device", "host", "engine")
        for run in newest_runs(StateDir.of(self.settings), limit=RUNS_LOOKED_AT):
            record = run.record()
            if record is None or any(getattr(record, key) != getattr(self.record, key) for key in alike):
                continue
            for name, other in record.job.steps.items() if isinstance(record.job, PredictionJob) else ():
                outcome = run.stage(name).outcome() if other.model == step.model else None
                if isinstance(outcome, PredictedOutcome | PredictionOutcome) and outcome.pace:
                    yield run, outcome.pace

    def _disk(self) -> str:
        network = self.networks[-1][1]
        voxels = self._all(sum(math.prod(shape) for _, shape, _ in self._each(network)))
        labels = voxels * (OF_LABELS if self.ending.endswith(COMPRESSED) else 1)
        softmax = sum(net.classes for step, net in self.networks if step.npz) * voxels * FLOAT * OF_SOFTMAX
        folder = next(path for path in (Path(self.job.output), *Path(self.job.output).parents) if path.is_dir())
        refuse_without_room({folder: labels})
        free = shutil.disk_usage(folder).free
        probabilities = f", with probabilities at most {_size(labels + softmax)}" if softmax else ""
        short = f"; only {_size(free)} are free" if free < labels + softmax else ""
        return f"Disk: {_size(labels)}{probabilities}{short}."

    def _memory(self) -> str:
        """Of the image that takes most, with one process that prepares and one that writes."""
        needs = {
            fitting_workers([memory], (1, 1), 0).needed: (case, shape)
            for step, network in self.networks
            for case, shape, seen in self._each(network)
            for memory in [network.memory(shape, seen, npz=step.npz, uncertainty=step.uncertainty)]
        }
        most = max(needs)
        case, shape = needs[most]
        image = (
            f"{clean(case)}, {' × '.join(map(str, shape))} voxels" if case else "an image like the training's median"
        )
        surely = "at most" if len(self.sizes) == self.todo else "about"  # where not every size is known
        said = f"Memory: {surely} {_size(most)} for {image}"
        if not engine_of(self.record).is_here:
            return f"{said}, in the job that predicts."
        free, (_, lanes) = usable_memory().available, self._parts()
        each = f", in each of {lanes} parts at a time" if lanes > 1 else ""
        return f"{said}{each}; {_size(free)} are free{', so this may fail' if lanes * most > free else ''}."


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


def _size(amount: float) -> str:
    if amount < 1e6:
        return "under 1 MB"
    return f"{amount / 1e9:.2g} GB" if amount >= 1e8 else f"{amount / 1e6:.0f} MB"
