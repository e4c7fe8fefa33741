"""The stages of a prediction: one per model, for a cascade its first model before it, and one that combines them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...nnunet.models import Model
from ...nnunet.predictions import part_folder
from ...schemas.changes.options import value_of
from ...schemas.jobs import PredictStep
from ...schemas.records import StageSpec
from .model_choice import Choice


@dataclass
class PredictionStages:
    """The stages, and what each predicting stage is to do. Every part of the cases has a chain of stages of its own."""

    options: Mapping[str, str]
    specs: list[StageSpec] = field(default_factory=list)
    steps: dict[str, PredictStep] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    _last: dict[int, str] = field(default_factory=dict)  # of each chain

    def add(
        self, name: str, model: Model, output: Path, *, npz: bool, previous: Path | None = None, lowres: bool = False
    ) -> None:
        """Add a model that predicts every image into `output`, part by part, each after all added before for it."""
        parts = int(value_of(self.options, "parts"))
        step = PredictStep(
            model=str(model.folder),
            folds=model.folds,
            output=str(output),
            npz=npz,
            previous=str(previous) if previous else None,
            mirroring=value_of(self.options, "mirroring") == "on",
            step_size=float(value_of(self.options, "step_size")),
            checkpoint=value_of(self.options, "checkpoint"),
            uncertainty=value_of(self.options, "uncertainty") == "on" and not lowres,
            parts=parts,
        )
        for part in range(parts):
            own = f"{name}_part_{part + 1}" if parts > 1 else name
            self.steps[own] = step.model_copy(update={"part": part})
            needs = (self._last[part],) if part in self._last else ()
            self._append(own, model.name.configuration, "predict", needs)
            self._last[part] = own

    def combine(self, name: str) -> None:
        """Add the ensemble of the models, the postprocessing, or both; where there is neither, what looks at all
        parts."""
        self._append(name, self.specs[-1].configuration, "combine", tuple(self._last.values()))

    def _append(self, name: str, configuration: str, kind: str, needs: tuple[str, ...]) -> None:
        self.specs.append(StageSpec(name=name, kind=kind, configuration=configuration, needs=needs))


def plan_stages(choice: Choice, output: Path, options: Mapping[str, str], *, npz: bool) -> PredictionStages:
    """The stages for the chosen models; a single model without postprocessing writes into the output folder itself.

    Raises:
        Refused: a cascade's first stage is not trained.
    """
    stages = PredictionStages(options)
    ensemble, combined = len(choice.models) > 1, len(choice.models) > 1 or bool(choice.steps)
    for number, (model, first) in enumerate(zip(choice.models, choice.previous(), strict=True), 1):
        name = f"predict_{number}" if ensemble else "predict"
        before = None
        if first is not None:
            before = part_folder(output, f"{name}_lowres")
            stages.add(f"{name}_lowres", first, before, npz=False, lowres=True)
        target = part_folder(output, name) if combined else output
        stages.add(name, model, target, npz=npz or ensemble, previous=before)
        stages.parts += [str(target)] * combined
    if combined:
        stages.combine("ensemble" if ensemble else "postprocess")
    elif len(stages.steps) > 1 + (choice.previous()[0] is not None):
        stages.combine("gather")
    return stages
