"""Tell a tracker of every training of a run.

What the tracker already has is asked of the tracker, so what it missed while it was down is told later.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import RunError
from ...files import Stamp, stamp
from ...runs.result import model_outcome, worst
from ...schemas.outcomes import ModelOutcome
from ...schemas.plots import PlotRequest
from ...schemas.records import ACTIVE, Epoch, StageSpec, Status
from ...settings import Settings
from ..plots.plots import nnunet_plot
from ..watching.snapshot import RunSnapshot
from .targets import Untellable, lacking, trackers
from .tracked import End, Tracker, Training, is_told_by_a_newer_run, plain, training_of


def tracking(target: str, settings: Settings) -> "Tracking":
    """What tells this tracker, which is imported now.

    Raises:
        Untellable: its package is not installed.
    """
    where = trackers(settings)[target]
    try:
        return Tracking(MAKERS[target](where, settings.state_dir), settings)
    except ImportError:
        raise Untellable(lacking(target)) from None


def _tensorboard(where: str, state: Path) -> Tracker:
    from .to_tensorboard import TensorBoard

    return TensorBoard(Path(where).expanduser() if where else state / "tensorboard")


def _mlflow(where: str, state: Path) -> Tracker:
    from .to_mlflow import MLflow

    return MLflow(where or str(state / "mlflow"))


MAKERS: Mapping[str, Callable[[str, Path], Tracker]] = {"tensorboard": _tensorboard, "mlflow": _mlflow}


@dataclass
class Told:
    """How far a tracker is with one training."""

    training: Training
    epochs: int
    lines: list[Epoch] = field(default_factory=list)
    seen: tuple[Stamp | None, Status] | None = None


@dataclass
class Tracking:
    """Tells one tracker of the trainings of a run."""

    tracker: Tracker
    settings: Settings
    told: dict[str, Told] = field(default_factory=dict)
    lost: str = ""

    def tell(self, view: RunSnapshot) -> bool:
        """Tell what is new; returns whether there will be no more."""
        for spec in view.record.stages:
            if spec.traits.trains and not spec.reused:
                try:
                    self._tell(view, spec)
                except Exception:  # it may have arrived all the same: the tracker is asked again
                    self.told.pop(spec.name, None)
                    raise
        return view.judged.status not in ACTIVE

    def _tell(self, view: RunSnapshot, spec: StageSpec) -> None:
        status, stage = view.judged.stages[spec.name], view.run.stage(spec.name)
        seen = stamp(str(stage.epochs_file)), status
        told = self.told.get(spec.name)
        if seen[0] is None or (told is not None and told.seen == seen) or is_told_by_a_newer_run(view.record, spec):
            return
        epochs = stage.epochs()
        if told is None or epochs[: len(told.lines)] != told.lines:  # some were trained again
            training = training_of(view.record, spec, _started_at(view, spec))
            told = self.told[spec.name] = Told(training, self.tracker.begin(training))
        if new := [epoch for epoch in epochs if epoch.epoch >= told.epochs]:
            self.tracker.epochs(told.training, new)
            told.epochs = new[-1].epoch + 1
        told.lines = epochs
        if status not in ACTIVE:
            self.tracker.end(told.training, self._end(view, spec, status, told.training))
        told.seen = seen

    def _end(self, view: RunSnapshot, spec: StageSpec, status: Status, training: Training) -> End:
        outcome, at = model_outcome(view.run, view.record, spec), _ended_at(view, spec)
        if status != "success" or outcome is None:
            return End(status, at, {}, None)
        return End(status, at, _dice(outcome, training), self._picture(view, outcome))

    def _picture(self, view: RunSnapshot, outcome: ModelOutcome) -> bytes | None:
        if not (cases := worst(outcome, 1)):
            return None
        request = PlotRequest(kind="overlay", run_id=view.record.run_id, case=cases[0].case)
        try:
            return nnunet_plot(request, self.settings).png
        except RunError:
            return None


def _started_at(view: RunSnapshot, spec: StageSpec) -> float:
    state = view.run.stage(spec.name).state()
    return (state.started_at if state is not None else None) or view.record.created_at


def _ended_at(view: RunSnapshot, spec: StageSpec) -> float:
    """When it ended; of one that was killed, its last sign of life."""
    state, progress = view.run.stage(spec.name).state(), view.run.stage(spec.name).progress()
    last = progress.heartbeat if progress is not None else 0.0
    return (state.ended_at if state is not None else None) or max(last, _started_at(view, spec))


def _dice(outcome: ModelOutcome, training: Training) -> dict[str, float]:
    classes = {training.classes.get(line.label, plain(line.label)): line.dice for line in outcome.per_class}
    named = {**classes, "mean": outcome.metrics.dice if outcome.metrics else None}
    return {name: value for name, value in named.items() if value is not None}
