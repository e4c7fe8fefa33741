"""The final validation of a fold: reported case by case, without files of an earlier validation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...nnunet.summary import case_name
from ...schemas.records import COMPILING, EXPORTING, TRAINED_PART, VALIDATED, VALIDATING
from ..nnunet_seam import PREDICTOR, WAITS, called_by, replaced, write
from ..progress import Reporter
from ..stage import Job
from .compiling import cannot_compile, is_compiled, leave_out_and_tell, plain


def validate(trainer: Any, job: Job, report: Reporter, method: Callable[..., None], save_probabilities: bool) -> None:
    """nnU-Net's own validation, with progress case by case."""
    every = list(trainer.do_split()[1])
    _remove_stale_predictions(job, every)
    # nnU-Net divides the cases among several GPUs like this (nnunetv2 2.8.1, nnUNetTrainer.py,
    # perform_actual_validation).
    own = every[trainer.local_rank :: _ranks(trainer)]
    report.section(TRAINED_PART if job.spec.traits.trains else 0.0, 1.0)
    steps = trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch
    report.say(VALIDATING, done=0, total=len(own), epochs=trainer.num_epochs, iterations=steps)
    with _Told(trainer, job, report, len(own)).while_predicting():
        method(save_probabilities)
    report.say(VALIDATED, done=len(own), total=len(own), epochs=trainer.num_epochs)


def _ranks(trainer: Any) -> int:
    """How many processes train this model."""
    if not trainer.is_ddp:
        return 1
    import torch

    return int(torch.distributed.get_world_size())


def _remove_stale_predictions(job: Job, cases: list[str]) -> None:
    """Remove earlier predictions: nnU-Net scores every file in the folder, also those of an earlier split."""
    for path in (job.fold.path / "validation").glob("*"):
        if path.is_file() and path.name != "summary.json" and case_name(path.name) not in cases:
            path.unlink()


class _Told:
    """Reports each patch and each case, and when only the writing processes are still busy."""

    def __init__(self, trainer: Any, job: Job, report: Reporter, total: int) -> None:
        self.trainer, self.job, self.report, self.total, self.done = trainer, job, report, total, 0
        self.to_compile = is_compiled(trainer.network)

    @contextmanager
    def while_predicting(self) -> Iterator[None]:
        """Replace methods of the predictor's class, because nnU-Net creates the predictor of a validation itself."""
        with (
            replaced(f"{PREDICTOR}.predict_sliding_window_return_logits", called_by(self._case)),
            replaced(f"{PREDICTOR}._internal_maybe_mirror_and_predict", called_by(self._patch)),
            replaced(WAITS, called_by(self._queue)),
        ):
            yield

    def _case(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        self.done += 1
        self.report.enter(EXPORTING if self.done == self.total else VALIDATING, done=self.done)
        self.report.stop_here()
        return result

    def _patch(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.report.enter(COMPILING if self.to_compile else VALIDATING)
        result = self._compile(method, *args, **kwargs) if self.to_compile else method(*args, **kwargs)
        self.to_compile = False
        self.report.tick()
        return result

    def _compile(self, method: Callable[..., Any], predictor: Any, *args: Any, **kwargs: Any) -> Any:
        """Predict the first patch; if compiling fails, predict it again without torch.compile."""
        try:
            return method(predictor, *args, **kwargs)
        except Exception as error:
            if not cannot_compile(error):
                raise
            leave_out_and_tell(self.trainer, self.job, error)
            write(predictor, f"{PREDICTOR}.network", plain(predictor.network))
        return method(predictor, *args, **kwargs)

    def _queue(self, busy: Callable[..., bool], *args: Any, **kwargs: Any) -> bool:
        waits = busy(*args, **kwargs)
        self.report.enter(EXPORTING if waits else VALIDATING)
        return waits
