"""Every step of a training: reported, timed, and repeated without torch.compile if compiling fails."""

import time
from collections.abc import Callable
from typing import Any

from ...schemas.records import COMPILING, TRAINING
from ..progress import Reporter
from ..stage import Job, StageFailure
from .compiling import VARIABLE, cannot_compile, is_compiled, leave_out_and_tell, told, uncompile
from .precision import precision_of


class Steps:
    """The steps of one trainer, in each of its processes; only rank 0's reporter writes."""

    def __init__(self, trainer: Any, job: Job, report: Reporter) -> None:
        self.trainer, self.job, self.report = trainer, job, report
        self.iteration = 0
        self.wait_s = self.compile_s = 0.0  # in this epoch
        self._met: set[str] = set()
        self._last: tuple[str, float] | None = None  # the phase of the last step, and when it ended

    def begin_epoch(self) -> None:
        """Reset the counters."""
        self.iteration, self.wait_s, self.compile_s, self._last = 0, 0.0, 0.0, None
        self.report.tick(phase=TRAINING, **self.position())

    def around(self, phase: str) -> Callable[..., Any]:
        """What is done around each step of a phase.

        A step on a GPU returns when the GPU is done, because nnU-Net reads its loss (nnUNetTrainer.py, `train_step`).
        So the time until the next step is spent waiting for data.
        """

        def step(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if self._last is not None and self._last[0] == phase:
                self.wait_s += time.monotonic() - self._last[1]
            with precision_of(self.trainer.network, bf16=self.job.record.bf16):
                result = self._take(phase, lambda: method(*args, **kwargs))
            self.iteration += 1
            self._last = phase, time.monotonic()
            self.report.tick(phase=phase, **self.position())
            return result

        return step

    def _take(self, phase: str, step: Callable[[], Any]) -> Any:
        """Take a step. The first step of training and the first of validation each compile a network of their own."""
        if phase in self._met or not is_compiled(self.trainer.network):
            return step()
        self._met.add(phase)
        begun = time.monotonic()
        self.report.say(COMPILING, **self.position())
        try:
            return step()
        except Exception as error:
            if not cannot_compile(error):
                raise
            self._leave_out(error)
        finally:
            self.compile_s += time.monotonic() - begun
        return step()  # out here, because the failed step's frames would keep memory

    def _leave_out(self, error: Exception) -> None:
        """Switch compiling off. A step that did not compile has changed no weights, so it can be repeated.

        Not on several GPUs: the weights of nnU-Net's loss fit DDP only when it compiles (nnUNetTrainer.py:457).
        """
        if self.trainer.is_ddp:
            raise StageFailure(
                "torch.compile failed on several GPUs",
                told(error),
                f"Set {VARIABLE}=f in the environment of the server, then start the request again.",
            ) from error
        leave_out_and_tell(self.trainer, self.job, error)
        uncompile(self.trainer)

    def position(self) -> dict[str, int]:
        """Where the training is, as progress.json says it."""
        trainer = self.trainer
        return {
            "epoch": trainer.current_epoch,
            "epochs": trainer.num_epochs,
            "iteration": self.iteration,
            "iterations": trainer.num_iterations_per_epoch + trainer.num_val_iterations_per_epoch,
        }
