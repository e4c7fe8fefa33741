"""The output folder of a prediction: marked as one model's, resumable, and holding nothing but its predictions."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...allowed_paths import readable_file
from ...calls import argument
from ...files import read_model, write_model, write_text
from ...nnunet.models import Model
from ...nnunet.output_paths import same_output
from ...nnunet.postprocessing import read_steps
from ...nnunet.predictions import (
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
from ...schemas.outcomes import CaseUncertainty, PredictionOutcome
from ...texts import fold_name, numbered, some
from .. import uncertainty
from ..scoring import Pair, Wanted, remarks_of, score_all, summary_of
from ..stage import Job
from ..truncated_images import readable_whole
from .prediction_geometry import geometry_notes
from .prediction_inputs import Files, Inputs, original_files, refuse_other_pictures

OF_PICTURES = "NaturalImage2DIO"  # nnU-Net's reader of grey and coloured pictures
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
        if asked := self.asked.originals:
            self.originals = original_files(Path(asked.folder), asked.cases, job.settings)
            self.images = {case: paths_of(files) for case, files in self.originals.items()}
        else:
            self.images = cases_to_predict(Path(self.asked.images), self.trained)
        self.cases = list(self.images)
        self._refuse_links_elsewhere()
        self.steps = read_steps(Path(self.asked.postprocessing)) if self.asked.postprocessing else ()
        self.kept = 0

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
        self.kept = len(self.there(self.path))

    def _sign(self) -> None:
        """Remove cases that are to be overwritten or that were predicted from other images, then write the note.

        Raises:
            Refused: while the run was waiting, the folder became another's, or the model was trained again.
        """
        note, overwrite = note_of(self.asked), self.asked.overwrite
        refuse_foreign(self.path, note, overwrite=overwrite)
        before = read_model(note_file(self.path), PredictionNote)
        known = before.cases if before else {}
        inputs = inputs_of(self.images)
        changed = [case for case, made_of in inputs.items() if known.get(case) != made_of]
        for folder in (self.path, *(self.path / PARTS).glob("*/")):
            self.remove(folder, [*known, *inputs] if overwrite else changed)
        uncertainty.forget(self.path, [*known, *inputs] if overwrite else changed)
        write_model(note_file(self.path), note.model_copy(update={"cases": {**known, **inputs}}))

    def there(self, folder: Path) -> list[str]:
        """The cases that have a segmentation in a folder."""
        return [case for case in self.cases if (folder / f"{case}{self.ending}").is_file()]

    @property
    def missing(self) -> list[str]:
        """The cases that the output folder still lacks."""
        there = set(self.there(self.path))
        return [case for case in self.cases if case not in there]

    def inputs(self, cases: Sequence[str]) -> list[list[str]]:
        """What nnU-Net is to read for each of these cases; images under their own names are converted first.

        Raises:
            StageFailure: images cannot be used; the message names their cases.
        """
        found = self._converted(cases) if self.originals else [list(map(str, self.images[case])) for case in cases]
        if self.models[0].plans.get("image_reader_writer") == OF_PICTURES:
            self.job.reporter.say("looking at the pictures", total=len(cases))
            refuse_other_pictures(dict(zip(cases, found, strict=True)), len(self.trained.channels))
        return found

    def _converted(self, cases: Sequence[str]) -> list[list[str]]:
        reporter, total = self.job.reporter, len(cases)
        made = Inputs(part_folder(self.path, INPUTS), self.ending, len(self.trained.channels), self.job.settings)
        reporter.say("converting the images", total=total)
        return made.make({case: self.originals[case] for case in cases}, lambda done: reporter.tick(done=done))

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
        uncertain = uncertainty.ranked(self.path, self.cases) if self.asked.uncertainty else ()
        if uncertain:
            uncertainty.write_table(self.path, uncertain)
        notes = (*self._notes(), *left_out, *self._doubts(uncertain))
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        return PredictionOutcome(
            ok=True,
            model_path=" + ".join(self.asked.models),
            metrics=metrics.metrics(None) if metrics else None,
            per_class=metrics.per_class() if metrics else (),
            cases=metrics.cases() if metrics else (),
            predictions=str(self.path),
            uncertain=uncertain,
            notes=notes,
        )

    def _notes(self) -> tuple[str, ...]:
        said = [f"{numbered(len(self.cases), 'case')}, {self._folds()}."]
        said += [f"{self.kept} of them were there already and were kept."] if self.kept else []
        return (*said, *geometry_notes(self.models[0], self._first_channels()))

    def _doubts(self, uncertain: Sequence[CaseUncertainty]) -> Iterator[str]:
        """What the ranking of the cases does not say by itself."""
        if empty := [one.case for one in uncertain if one.nothing_predicted]:
            yield f"Nothing is predicted in {numbered(len(empty), 'case')} ({some(empty)}): is nothing there?"
        if self.asked.uncertainty and (lacking := sorted({*self.cases} - {one.case for one in uncertain})):
            yield (
                f"How uncertain {some(lacking)} are is not known: they were predicted without it. "
                f"{argument(overwrite=True)} predicts every case again."
            )

    def _first_channels(self) -> dict[str, Path]:
        """The first image of each case as nnU-Net has read it; of those kept from an earlier run, the original."""
        converted = part_folder(self.path, INPUTS)
        read = {case: converted / f"{case}_0000{self.ending}" for case in self.images}
        return {case: path if path.is_file() else self.images[case][0] for case, path in read.items()}

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
        files = {case: Path(self.asked.labels) / f"{case}{self.ending}" for case in self.cases}
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
