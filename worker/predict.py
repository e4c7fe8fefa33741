"""The predict stage: nnU-Net's own predictor on a folder of images, case by case, skipping what is there."""

import os
import threading
from pathlib import Path
from typing import Any

from ..runs.files import read_json, write_model
from ..runs.predictions import PredictionNote, cases_to_predict, note_file
from ..runs.summary import Summary
from ..schemas.runs import Metrics, Outcome
from .stage import Job
from .train import set_threads
from .watch import end_when_a_pool_process_is_killed
from .whole_files import readable_whole

LOOK_S = 1.0
CHECKPOINT = "checkpoint_final.pth"


def carry_out(job: Job) -> Outcome:
    """Predict every case of the images' folder, and score them where there are labels."""
    end_when_a_pool_process_is_killed(job.stage)
    work = Prediction(job)
    work.prepare()
    work.predict()
    metrics = work.score()
    return Outcome(
        ok=True,
        model_path=str(work.model),
        metrics=metrics.metrics(None) if metrics else Metrics(dice=None, iou=None, validation_loss=None),
        per_class=metrics.per_class() if metrics else (),
        cases=metrics.cases() if metrics else (),
        predictions=str(work.output),
        notes=work.notes,
    )


class Prediction:
    """One folder being predicted."""

    def __init__(self, job: Job) -> None:
        asked: dict[str, Any] = job.record.request
        self.job, self.asked = job, asked
        self.images, self.output = Path(asked["images"]), Path(asked["output"])
        self.folds = tuple(map(str, asked["folds"]))
        self.model = job.files.model(job.record.trainer, job.record.plans_identifier, job.spec.configuration)
        self.description: dict[str, Any] = read_json(self.model / "dataset.json") or {}
        self.ending = str(self.description["file_ending"])
        self.cases = cases_to_predict(self.images, self.ending, len(self.description["channel_names"]))
        self.kept = 0

    @property
    def notes(self) -> tuple[str, ...]:
        said = f"{len(self.cases)} cases, folds {', '.join(self.folds)} ensembled."
        return (said, f"{self.kept} of them were there already and were kept.") if self.kept else (said,)

    def prepare(self) -> None:
        """Sign the output folder; remove what a kill left half written, or everything that is to be overwritten."""
        self.output.mkdir(parents=True, exist_ok=True)
        write_model(note_file(self.output), PredictionNote(model=str(self.model), folds=self.folds))
        for path in self._predicted():
            if self.asked["overwrite"] or not readable_whole(path):
                path.unlink()
        self.kept = len(self._predicted())

    def _predicted(self) -> list[Path]:
        paths = [self.output / f"{case}{self.ending}" for case in self.cases]
        return [path for path in paths if path.is_file()]

    def predict(self) -> None:
        """As nnUNetv2_predict with the same folds, steps and mirroring.

        Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:1016-1060.
        """
        import torch
        from nnunetv2.configuration import default_num_processes
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        set_threads(self.job.record.device)
        self.job.reporter.say("loading the model")
        device = torch.device(self.job.record.device)
        predictor = nnUNetPredictor(device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(self.model), self.folds, CHECKPOINT)
        self.job.reporter.say("predicting", done=self.kept, total=len(self.cases))
        with _Watched(self):
            predictor.predict_from_files(
                str(self.images),
                str(self.output),
                save_probabilities=bool(self.asked["npz"]),
                overwrite=False,
                num_processes_preprocessing=default_num_processes,
                num_processes_segmentation_export=default_num_processes,
            )

    def score(self) -> Summary | None:
        """nnU-Net's own evaluation of the cases that have labels."""
        if not self.asked["labels"]:
            return None
        from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2

        self.job.reporter.say("scoring")
        summary = self.output / "summary.json"
        files = (str(self.output / "dataset.json"), str(self.output / "plans.json"), str(summary))
        compute_metrics_on_folder2(str(self.asked["labels"]), str(self.output), *files, chill=True)
        return Summary(summary, self.description.get("labels", {}))

    def count(self) -> int:
        """How many cases are predicted."""
        return len(self._predicted())


class _Watched:
    """Reports finished cases while nnU-Net predicts, and ends the process when somebody asks for it."""

    def __init__(self, work: Prediction) -> None:
        self._work, self._over = work, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        reporter = self._work.job.reporter
        while not self._over.wait(LOOK_S):
            reporter.tick(done=self._work.count())
            if reporter.stop_requested():
                # nnU-Net's loop cannot be asked to stop. What is written is kept, and what is half written is
                # found and made again by the next prediction.
                write_model(self._work.job.stage.outcome_file, Outcome(ok=False, stopped=True))
                os._exit(1)
