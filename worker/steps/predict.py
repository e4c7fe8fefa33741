"""A predict stage: nnU-Net's own predictor on a folder of images, case by case; finished cases are skipped."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...files import write_model
from ...nnunet.datasets import FoldFiles
from ...schemas.jobs import PredictStep
from ...schemas.outcomes import PredictedOutcome
from ...schemas.records import HANDING_OVER, PREDICTING, Outcome
from .. import nnunet_seam
from ..nnunet_seam import FINDS_TRAINERS, PREDICTOR
from ..pool_watch import end_when_a_pool_process_is_killed
from ..pools import start_server
from ..predicting.costs import PREPARE, WRITE, Costs
from ..predicting.folder import PredictionFolder
from ..predicting.pipeline import work_side_by_side
from ..predicting.uncertainty import Uncertainty
from ..resources import fit_this_process
from ..self_supervised import telling_the_patch
from ..stage import Job
from ..weights import nothing_but_data_is_loaded

LOOK_S = 1.0


def carry_out(job: Job) -> Outcome:
    """Predict every case that the output folder lacks. The last stage also computes scores if there are labels."""
    known: list[str] = []
    end_when_a_pool_process_is_killed(job.stage, known)
    folder = PredictionFolder(job)
    folder.prepare()
    folder.take_in()
    work = Prediction(folder, folder.asked.steps[job.spec.name])
    costs = Costs(folder.predicts_with, work.step, folder.seen)
    told = [*costs.fit_workers(work.cases), *folder.flat_notes()]
    known.append(costs.needs)
    begun = time.monotonic()
    work.predict()
    pace = costs.pace(work.cases, time.monotonic() - begun)
    if folder.is_last_stage:
        found = folder.finish()
        return found.model_copy(update={"pace": pace, "notes": (*found.notes, *told)})
    return PredictedOutcome(
        ok=True,
        model_path=work.step.model,
        left_out=folder.left_out,
        kept=folder.kept,
        pace=pace,
        notes=tuple(told),
    )


class Prediction:
    """One model that predicts the missing cases into its folder."""

    def __init__(self, folder: PredictionFolder, step: PredictStep) -> None:
        self.folder, self.step, self.job = folder, step, folder.job
        self.target = Path(step.output)
        self.cases = folder.missing

    def predict(self) -> None:
        """As nnUNetv2_predict with the same folds, steps and mirroring.

        Source: nnunetv2 2.8.1, inference/predict_from_raw_data.py:1016-1060.
        """
        self.folder.remove_torn(self.target, npz=self.step.npz)
        if not self.cases:
            return
        start_server()  # it imports on another core while this process does
        inputs = self.folder.inputs(self.cases)
        predictor = self._predictor()
        work_side_by_side(predictor)
        if self.step.uncertainty:
            one = "predict" if self.target == self.folder.path else self.target.name
            Uncertainty(predictor, self.folder.path, one)
        self.job.reporter.say(HANDING_OVER, done=self.count(), total=len(self.folder.cases))
        with _Watched(self, predictor):
            predictor.predict_from_files(
                inputs,
                [str(self.target / case) for case in self.cases],
                save_probabilities=self.step.npz,
                overwrite=False,
                num_processes_preprocessing=int(os.environ[PREPARE]),
                num_processes_segmentation_export=int(os.environ[WRITE]),
                folder_with_segs_from_prev_stage=self.step.previous,
            )

    def _predictor(self) -> Any:
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        fit_this_process(self.job.record.device)
        self.job.reporter.say("loading the model")
        device = torch.device(self.job.record.device)
        predictor = nnUNetPredictor(
            tile_step_size=self.step.step_size,
            use_mirroring=self.step.mirroring,
            device=device,
            perform_everything_on_device=device.type == "cuda",
            allow_tqdm=False,
        )
        model = Path(self.step.model)
        checkpoint = FoldFiles(model).checkpoint(self.step.checkpoint).name
        with (
            nothing_but_data_is_loaded(model, unless=self.folder.asked.trusted),
            nnunet_seam.replaced(FINDS_TRAINERS, telling_the_patch(model)),
        ):
            predictor.initialize_from_trained_model_folder(self.step.model, self.step.folds, checkpoint)
        return predictor

    def count(self) -> int:
        """How many cases are predicted, including those from before this run."""
        return self.folder.kept + len(set(self.folder.there(self.target)) & set(self.cases))


class _Watched:
    """Reports each pass through the network and each finished case while nnU-Net predicts. Ends the process if somebody
    asks for it."""

    def __init__(self, work: Prediction, predictor: Any) -> None:
        self._work, self._over = work, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._phase, self._passes = HANDING_OVER, 0
        nnunet_seam.replace_on(predictor, f"{PREDICTOR}.predict_sliding_window_return_logits", self._predict_volume)
        self._hook = predictor.network.register_forward_hook(self._pass)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._hook.remove()

    def _predict_volume(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._phase = PREDICTING
        try:
            return method(*args, **kwargs)
        finally:
            self._phase = HANDING_OVER

    def _pass(self, *_: Any) -> None:
        self._passes += 1

    def _look(self) -> None:
        """Report only when something moved, so that a hang is noticed."""
        reporter, seen = self._work.job.reporter, None
        while not self._over.wait(LOOK_S):
            done = self._work.count()
            if (now := (self._phase, self._passes, done)) != seen:
                seen = now
                reporter.enter(self._phase, done=done)
            if reporter.stop_requested():
                # nnU-Net's loop cannot be stopped. Finished files are kept; the next prediction finds half-written ones
                # and makes them again.
                write_model(self._work.job.stage.outcome_file, Outcome(ok=False, stopped=True))
                os._exit(1)
