"""A look into a model's zip: whose it is, what it segments, whether it would predict here. Nothing is unpacked to disk,
and of each file only as much is read as is told."""

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ...errors import NotFound, Refused, RunError
from ...nnunet.datasets import DatasetFiles
from ...nnunet.model_zip import FINAL, Contents, trainer_text
from ...nnunet.predictions import TrainedOn
from ...nnunet.preprocessed import CASCADE, LOWRES, planned
from ...nnunet.safe_plans import judged_description, judged_plans
from ...nnunet.summary import finite
from ...nnunet.trainers import trainer_file, trainer_lacking
from ...nnunet.variants.in_checkpoints import Said, said_in
from ...schemas.model_name import ModelName
from ...schemas.models import ZippedModel
from ...settings import Settings
from ...texts import clean
from .prediction_images import choose_images

MOST_MODELS = 20  # of one zip; a dataset has four configurations, and the largest published zips two models
MOST_NAMES, NAME_LENGTH = 60, 60  # of channels and labels
MOST_FOLDS = 10  # nnU-Net's cross-validation has five
MOST_BYTES = 4 << 20  # of a JSON file: the plans of a model take 0.1 MB, a summary of a thousand cases 2
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


@dataclass(frozen=True)
class ZipLook:
    """The open zip, and which of its files may be read."""

    archive: zipfile.ZipFile
    contents: Contents
    settings: Settings

    def models(self, *, measured: bool) -> Iterator[ZippedModel]:
        """Its models, `measured` with their Dice; of a zip with very many only the first."""
        for model in self.contents.models[:MOST_MODELS]:
            yield self._model(model, measured=measured)

    def description(self, model: str) -> dict[str, Any]:
        """The dataset.json of a model, as nnU-Net may have it.

        Raises:
            Refused: it cannot be used.
        """
        path = PurePosixPath(model, "dataset.json")
        return judged_description(self._table(path), f"{path} in the zip")

    def fit(self, images: str) -> tuple[int, tuple[str, ...]]:
        """How many of the images its models would predict, and what is to be said about the others."""
        raw = DatasetFiles(self.settings.folders, self.contents.dataset).raw
        try:
            trained = TrainedOn.of(self.description(self.contents.models[0]))
            chosen = choose_images(images, raw, trained, self.settings)
        except (NotFound, Refused) as error:
            return 0, (f"It would not predict these images. {error.text}",)
        return len(chosen.cases), chosen.notes()

    def _model(self, model: str, *, measured: bool) -> ZippedModel:
        name, folds = ModelName.parse(model), self._folds(model)
        said = self._said(PurePosixPath(model, folds[0], FINAL))
        trainer = said.trainer or name.trainer
        text = PurePosixPath(model, trainer_text(name.trainer))
        lacking = self._lacking(trainer)
        damaged = "" if said.trainer else "Its checkpoint does not name its trainer as nnU-Net writes it."
        found, odd = self._planned(model, name)
        network = (found.get("architecture") or {}).get("network_class_name")
        return ZippedModel(
            model=model,
            folds=listed([fold.removeprefix("fold_") for fold in folds], MOST_FOLDS),
            trainer=trainer,
            whose="not here" if lacking else "yours" if trainer_file(trainer) else "nnU-Net's",
            trainer_text=str(text) if text in self.contents.files else None,
            network=str(network).rpartition(".")[2] if network else None,
            patch_size=tuple(found.get("patch_size", ())),
            spacing=tuple(found.get("spacing", ())),
            dice=self._dice(model, folds[:MOST_FOLDS]) if measured else None,
            resumable=said.resumable,
            problems=tuple(filter(None, (lacking, damaged, odd))),
        )

    def _planned(self, model: str, name: ModelName) -> tuple[dict[str, Any], str]:
        """The configuration in the model's plans, and why nnU-Net would not predict with them."""
        found: dict[str, Any] = {}
        try:
            plans = judged_plans(self._table(PurePosixPath(model, "plans.json")), f"{model}/plans.json in the zip")
            found = planned(plans, name.configuration) or {}
            self.description(model)
            if not found:
                return found, f"Its plans have no {clean(name.configuration)}."
        except Refused as error:
            return found, error.text
        before = found.get("previous_stage", LOWRES if name.configuration == CASCADE else None)
        there = not before or str(name._replace(configuration=str(before))) in self.contents.models
        return found, "" if there else f"It is a cascade, and {before}, which predicts first, is not in the zip."

    def _folds(self, model: str) -> list[str]:
        found = (path.parts for path in self.contents.files if path.parts[0] == model and path.name == FINAL)
        return sorted((parts[1] for parts in found), key=lambda fold: (len(fold), fold))

    def _lacking(self, trainer: str) -> str:
        try:
            return trainer_lacking(trainer, self.settings.nnunet_python)
        except RunError as error:  # nnU-Net is not installed
            return error.text

    def _dice(self, model: str, folds: list[str]) -> float | None:
        numbers = []
        for fold in folds:
            with suppress(Refused, AttributeError):
                measured = self._table(PurePosixPath(model, fold, "validation", "summary.json"))
                numbers.append(finite(measured.get("foreground_mean", {}).get("Dice")))
        known = [number for number in numbers if number is not None]
        return sum(known) / len(known) if known else None

    def _said(self, path: PurePosixPath) -> Said:
        try:
            with self.archive.open(self.contents.files[path]) as stream:
                return said_in(stream)
        except DAMAGED:
            return Said()

    def _table(self, path: PurePosixPath) -> dict[str, Any]:
        """A JSON file.

        Raises:
            Refused: it is missing, damaged, too large or holds something else.
        """
        info = self.contents.files.get(path)
        try:
            with self.archive.open(info or str(path)) as stream:
                content = json.loads(stream.read(MOST_BYTES) if info else b"")
        except (*DAMAGED, KeyError, ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Refused(f"{path} in the zip is not readable JSON. Copy or download it again.")
        return content


def listed(names: Iterable[object], most: int = MOST_NAMES) -> tuple[str, ...]:
    """Names that a stranger chose, as many and as long as an answer has room for."""
    given = list(names)
    more = len(given) - most
    return (*(clean(name, NAME_LENGTH) for name in given[:most]), *([f"and {more} more"] if more > 0 else []))
