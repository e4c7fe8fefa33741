"""The output folder of a prediction: marked as one model's, resumable, and holding nothing but its predictions."""

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ...allowed_paths import readable_file
from ...files import read_model, write_model, write_text
from ...locks import held, lock_name
from ...nnunet.models import Model
from ...nnunet.output_paths import same_output
from ...nnunet.postprocessing import read_steps
from ...nnunet.predictions import (
    NOTE,
    PARTS,
    PredictionNote,
    TrainedOn,
    cases_to_predict,
    inputs_of,
    note_file,
    note_of,
    part_folder,
    refuse_foreign,
)
from ...nnunet.summary import Summary
from ...schemas.jobs import PredictionJob
from ...schemas.outcomes import PredictedOutcome, PredictionOutcome
from ...texts import NAMED, fold_name, numbered, some, told
from ..scoring import Pair, Wanted, remarks_of, score_all, summary_of
from ..stage import Job, StageFailure
from ..truncated_images import readable_whole
from . import uncertainty
from .checks import Seen, flat_notes, look_at_all
from .geometry import geometry_notes
from .inputs import Files, Inputs, original_files

UNUSABLE = "Correct or remove these images, then predict again: what is predicted is kept."
INPUTS = "inputs"  # among the parts, and removed with them


def paths_of(files: Files) -> list[Path]:
    """All files of a case."""
    return [Path(path) for file in files for path in file.paths]


class PredictionFolder:
    """The output folder of a prediction as one of its stages sees it."""

    def __init__(self, job: Job) -> None:
        self.job, self.asked = job, job.typed(PredictionJob)
        self.path = Path(self.asked.output)
        self.models = [Model(job.files, Path(folder), self.asked.folds) for folder in self.asked.models]
        self.model = self.models[0].folder
        self.description = self.models[0].description
        self.ending = str(self.description["file_ending"])
        self.trained = TrainedOn.of(self.description)
        self.originals: dict[str, Files] = {}
        self.step = self.asked.steps.get(job.spec.name)
        earlier = ((step, job.run.stage(name).outcome()) for name, step in self.asked.steps.items())
        self.earlier = [
            (step, found) for step, found in earlier if isinstance(found, PredictedOutcome) and step != self.step
        ]
        left_out = {case: why for _, outcome in self.earlier for case, why in outcome.left_out.items()}
        left_out |= self._find_images()
        own = self._own_cases()
        self.images = {case: paths for case, paths in self.every.items() if case in own}
        self.left_out = {case: why for case, why in left_out.items() if case in own}
        self.cases = list(self.images)
        self._refuse_links_elsewhere()
        self.steps = read_steps(Path(self.asked.postprocessing)) if self.asked.postprocessing else ()
        self.kept = 0
        self.seen = Seen()
        self._taken: dict[str, list[str]] = {}

    def _find_images(self) -> dict[str, str]:
        """List the images again; returns those cases of the request, where it lists them, that are gone by now."""
        if asked := self.asked.originals:
            self.originals, gone = original_files(asked, self.job.settings)
            self.every = {case: paths_of(files) for case, files in self.originals.items()}
            return gone
        there = cases_to_predict(Path(self.asked.images), self.trained)
        order = self.asked.order or tuple(there)
        self.every = {case: there[case] for case in order if case in there}
        return {case: "its image is no longer there" for case in order if case not in there}

    def _own_cases(self) -> set[str]:
        """Those of the stage's part; of all that the request found, so that parts agree whatever happens to the images.

        Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:186.
        """
        asked = self.asked.originals
        every = list(asked.cases if asked else self.asked.order or self.every)
        return set(every[self.step.part :: self.step.parts] if self.step else every)

    @property
    def predicts_with(self) -> Model:
        """The model of this stage, which is the first one of a cascade or one of an ensemble."""
        assert self.step is not None
        return Model(self.job.files, Path(self.step.model), self.step.folds)

    @property
    def is_last_stage(self) -> bool:
        return self.job.spec == self.job.record.stages[-1]

    def _refuse_links_elsewhere(self) -> None:
        """Check the images and labels again: their links may lead elsewhere since the request.

        Raises:
            Refused: one of them lies outside the allowed folders, or is no file.
        """
        labels = [Path(self.asked.labels) / f"{case}{self.ending}" for case in self.cases] if self.asked.labels else []
        files = [path for paths in self.images.values() for path in paths if not self.originals]
        for path in (*files, *filter(os.path.lexists, labels)):
            readable_file(path, self.job.settings)

    def prepare(self) -> None:
        """Remove half-written files of an earlier kill; the run's first stage writes our note into the folder."""
        same_output(self.job.settings, self.path, self.models)
        self.path.mkdir(parents=True, exist_ok=True)
        if not self.job.spec.needs:  # cases that appear later are of this run itself
            self._sign()
        self.remove_torn(self.path, npz=False)
        for name, content in (("dataset.json", self.description), ("plans.json", self.models[0].plans)):
            write_text(self.path / name, json.dumps(content, indent=4))
        parts = [outcome.kept for step, outcome in self.earlier if step.output == self.asked.output]
        self.kept = sum(parts) if self.step is None and parts else len(self.there(self.path))

    def _sign(self) -> None:
        """Remove cases that are to be overwritten or that were predicted from other images, then write the note. What
        this run has predicted itself, in another part or before it was stopped, is not overwritten.

        Raises:
            Refused: while the run was waiting, the folder became another's, or the model was trained again.
        """
        note, run_id = note_of(self.asked), self.job.record.run_id
        with held(self.job.locks_dir / lock_name(f"predictions {self.path}")):
            before = read_model(note_file(self.path), PredictionNote)
            overwrite = self.asked.overwrite and (before is None or before.run != run_id)
            refuse_foreign(self.path, note, overwrite=overwrite)
            known = before.cases if before else {}
            inputs = inputs_of(self.every)
            changed = [case for case, made_of in inputs.items() if known.get(case) != made_of]
            gone = [*known, *inputs] if overwrite else changed
            for folder in (self.path, *(self.path / PARTS).glob("*/")):
                self.remove(folder, gone)
            uncertainty.forget(self.path, gone)
            signed = {"cases": {**known, **inputs}, "run": run_id}
            write_model(note_file(self.path), note.model_copy(update=signed))

    def there(self, folder: Path) -> list[str]:
        """The cases that have a segmentation in a folder."""
        return [case for case in self.cases if (folder / f"{case}{self.ending}").is_file()]

    @property
    def missing(self) -> list[str]:
        """The cases that the output folder still lacks and that can be predicted."""
        done = {*self.there(self.path), *self.left_out}
        return [case for case in self.cases if case not in done]

    def take_in(self) -> None:
        """Convert images under their own names, look at all, and leave out those that nnU-Net could not use.

        Raises:
            StageFailure: none is left; where there are several parts, the last stage says so.
        """
        cases, reporter, channels = self.missing, self.job.reporter, len(self.trained.channels)
        self._taken = {case: list(map(str, self.images[case])) for case in cases}
        if self.originals:
            reporter.say("converting the images", total=len(cases))
            own = f"{INPUTS}_{self.step.part}" if self.step else INPUTS
            made = Inputs(part_folder(self.path, own), self.ending, channels, self.job.settings)
            originals = {case: self.originals[case] for case in cases}
            self._taken, faults = made.make(originals, lambda done: reporter.tick(done=done))
            self.left_out |= faults
        reporter.say("looking at the images", total=len(self._taken))
        reader = str(self.models[0].plans.get("image_reader_writer"))
        self.seen = look_at_all(self._taken, reader, channels, lambda done: reporter.tick(done=done))
        self.left_out |= self.seen.faults
        if self.step is None or self.step.parts == 1:
            self.refuse_if_nothing_is_left()

    def flat_notes(self) -> list[str]:
        """What to say of single slices among the images that were taken in."""
        network = self.predicts_with.network
        return flat_notes(self.seen.shapes, network.usual_shape) if network and len(network.patch) == 3 else []

    def refuse_if_nothing_is_left(self) -> None:
        """Check that a case is predicted or can be.

        Raises:
            StageFailure: there is none; the message names some, with the reasons.
        """
        if not self.missing and not self.there(self.path):
            cause = f"none of {numbered(len(self.left_out), 'image')} can be used"
            raise StageFailure(cause, told(self.left_out.items()), "Correct these images, then predict again.")

    def inputs(self, cases: Sequence[str]) -> list[list[str]]:
        """What nnU-Net is to read for each of these cases that were taken in."""
        return [self._taken[case] for case in cases]

    def remove_torn(self, folder: Path, *, npz: bool) -> None:
        """Remove incomplete cases; nnU-Net writes the segmentation after the probabilities."""
        for case in self.there(folder):
            probabilities = folder / f"{case}.npz"
            if not readable_whole(folder / f"{case}{self.ending}") or (npz and not zipfile.is_zipfile(probabilities)):
                self.remove(folder, [case])

    def remove(self, folder: Path, cases: list[str]) -> None:
        """Remove the files of these cases."""
        for case in cases:
            for ending in (self.ending, ".npz", ".pkl"):
                (folder / f"{case}{ending}").unlink(missing_ok=True)

    def finish(self) -> PredictionOutcome:
        """Compute scores where there are labels, remove the folders of the parts, and return what was done."""
        metrics, left_out = self._score()
        notes = [*self._notes(), *left_out]
        uncertain = uncertainty.ranked(self.path, self.cases) if self.asked.uncertainty else ()
        if self.asked.uncertainty:
            uncertainty.write_table(self.path, uncertain)
            notes += uncertainty.remarks(uncertain, self.there(self.path))
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        return PredictionOutcome(
            ok=True,
            model_path=" + ".join(self.asked.models),
            metrics=metrics.metrics(None) if metrics else None,
            per_class=metrics.per_class() if metrics else (),
            cases=metrics.cases() if metrics else (),
            predictions=str(self.path),
            uncertain=uncertain,
            notes=tuple(notes),
        )

    def _notes(self) -> tuple[str, ...]:
        predicted = [case for case in self.cases if case not in self.left_out]
        said = [f"{numbered(len(predicted), 'case')}, {self._folds()}."]
        said += [f"{self.kept} of them were there already and were kept."] if self.kept else []
        if self.left_out:
            note = read_model(note_file(self.path), PredictionNote) or note_of(self.asked)
            write_model(note_file(self.path), note.model_copy(update={"left_out": self.left_out}))
            where = f" {NOTE} has all {len(self.left_out)}." if len(self.left_out) > NAMED else ""
            said.append(f"Not predicted: {told(self.left_out.items())}.{where} {UNUSABLE}")
        said += dict.fromkeys(note for _, outcome in self.earlier for note in outcome.notes)
        return (*said, *geometry_notes(self.models[0], self._first_channels()))

    def _first_channels(self) -> dict[str, Path]:
        """The first image of each case as nnU-Net has read it; of those kept from an earlier run, the original."""
        converted = (self.path / PARTS).glob(f"{INPUTS}_*/*_0000{self.ending}")
        read = {path.name.removesuffix(f"_0000{self.ending}"): path for path in converted}
        return {case: read.get(case, paths[0]) for case, paths in self.images.items()}

    def _folds(self) -> str:
        folds = self.asked.folds
        return f"folds {', '.join(folds)} ensembled" if len(folds) > 1 else f"fold {fold_name(folds[0])}"

    def _score(self) -> tuple[Summary | None, list[str]]:
        """nnU-Net's own evaluation of the cases that have labels, and which cases it leaves out."""
        if not self.asked.labels:
            return None, []
        from nnunetv2.evaluation.evaluate_predictions import save_summary_json
        from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

        labels = self.description.get("labels", {})
        files = {case: Path(self.asked.labels) / f"{case}{self.ending}" for case in self.there(self.path)}
        unlabelled = [case for case, label in files.items() if not label.is_file()]
        notes = [f"Not scored, no label: {some(unlabelled)}."] if unlabelled else []
        pairs = [
            Pair(case, str(self.path / label.name), str(label)) for case, label in files.items() if label.is_file()
        ]
        if not pairs:
            return None, notes
        reader = determine_reader_writer_from_dataset_json(self.description, pairs[0].prediction, verbose=False)
        wanted = Wanted.of(labels, reader=reader)
        every = score_all(self.job, pairs, wanted)
        scores, notes = [one for one in every if not one.fault], [*notes, *remarks_of(every)]
        if not scores:
            return None, notes
        summary = self.path / "summary.json"
        save_summary_json(summary_of(scores, wanted), str(summary))
        return Summary(summary, labels), notes
