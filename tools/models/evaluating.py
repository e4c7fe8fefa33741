"""nnunet_evaluate: pair predictions with labels by name, record, start, and answer at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...allowed_paths import allowed_path
from ...calls import argument
from ...errors import Refused, RunError
from ...image_files import PICTURES, ending_of, list_files
from ...nnunet.dataset_json import read_description
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.installed import installed
from ...nnunet.safe_plans import read_dataset_json
from ...runs.store import new_record
from ...schemas.jobs import FILES, NO_DATASET, EvaluationJob
from ...schemas.models import EvaluateRequest
from ...schemas.records import StageSpec
from ...schemas.run_list import RunStarted
from ...settings import Settings
from ...texts import clean, some
from ...whole_images import CASE_ENDINGS
from ..data.import_patterns import matches, split_head
from ..training.training import start_recorded
from .prediction_images import folder_of


def nnunet_evaluate(request: EvaluateRequest, settings: Settings) -> RunStarted:
    """Start to measure predictions against labels.

    Raises:
        RunError: there is nothing to compare; the message says what to do. Nothing was changed.
    """
    files = find_dataset(settings.folders, request.dataset_id) if request.dataset_id is not None else None
    predictions = _segmentations(request.predictions, "predictions", files, settings)
    labels = _segmentations(request.labels, "labels", files, settings)
    pairs = _pairs(predictions, labels)
    named, source = _labels(files, predictions.folder, labels.folder, settings)
    settings.create_folders()
    job = EvaluationJob(
        dataset_id=files.dataset_id if files else NO_DATASET,
        predictions=str(predictions.folder),
        labels=str(labels.folder),
        pairs=pairs,
        labels_named=named,
        tolerance_mm=request.tolerance_mm,
    )
    record = new_record(
        job,
        [StageSpec(name="evaluate", kind="evaluate", configuration=FILES)],
        dataset_name=files.name if files else f"Dataset{NO_DATASET:03d}",
        folders=settings.folders,
        versions=installed(settings.nnunet_python).versions,
        notes=(*_unpaired(predictions, labels), source),
    )
    return start_recorded(record, [f"evaluation of {predictions.folder} by {labels.folder}"], settings)


@dataclass
class Segmentations:
    """A folder, and the file of each case below it."""

    folder: Path
    cases: Mapping[str, str]


def _segmentations(given: str, what: str, files: DatasetFiles | None, settings: Settings) -> Segmentations:
    """The segmentations in a folder itself, or of a pattern below one; no image is opened.

    Raises:
        NotFound, Refused: there are none, or two of one case.
    """
    if "{case}" in given and not Path(given).is_dir():
        folder, pattern = split_head(given, settings, what)
        if folder is None or not folder.is_dir():
            raise Refused(f"{what} {clean(given)!r} must be a folder and a pattern, like /data/{{case}}/seg.nii.gz.")
    else:
        _refuse_without_dataset(given, files)
        raw = files.raw if files else Path(settings.folder("raw"))
        folder, pattern = folder_of(given, raw, settings, what=what), ""
    names = [name for name in list_files(folder, settings).files if ending_of(name).lower() in CASE_ENDINGS]
    hits = matches(pattern, names, what) if pattern else []
    found = [(hit.case.replace("/", "_"), hit.name) for hit in hits] if pattern else _own(names)
    cases: dict[str, str] = {}
    for case, name in found:
        if case in cases:
            both = some([cases[case], name])
            raise Refused(f"{what}: {both} are both case {clean(case)}. Keep one, or name a pattern.")
        cases[case] = name
    if not cases:
        raise Refused(f"{what}: no segmentation in {folder} {'fits the pattern' if pattern else f'({_known()})'}.")
    return Segmentations(folder, cases)


def _refuse_without_dataset(given: str, files: DatasetFiles | None) -> None:
    if given in ("labelsTr", "labelsTs", "imagesTr", "imagesTs") and files is None:
        raise Refused(f"{given!r} is a folder of a dataset: say which with {argument(dataset_id=None)}.")


def _own(names: list[str]) -> list[tuple[str, str]]:
    """The files in the folder itself, each under its name without the ending."""
    return [(name.removesuffix(ending_of(name)), name) for name in names if "/" not in name]


def _known() -> str:
    return f"CASE with {', '.join(ending for ending in CASE_ENDINGS if ending not in PICTURES)} or .png"


def _pairs(predictions: Segmentations, labels: Segmentations) -> dict[str, tuple[str, str]]:
    if predictions == labels:
        raise Refused("predictions and labels are the same files: every Dice would be 1. Name two folders.")
    both = sorted(predictions.cases.keys() & labels.cases.keys())
    if not both:
        raise Refused(
            f"No case has the same name in both: predictions has {some(sorted(predictions.cases))}, labels has "
            f"{some(sorted(labels.cases))}. A pattern can name the part that is the case, like "
            f"{argument(labels=f'{labels.folder}/{{case}}_seg.nii.gz')}."
        )
    return {case: (predictions.cases[case], labels.cases[case]) for case in both}


def _unpaired(predictions: Segmentations, labels: Segmentations) -> list[str]:
    missing = sorted(labels.cases.keys() - predictions.cases.keys())
    extra = sorted(predictions.cases.keys() - labels.cases.keys())
    told = [f"Not scored, no prediction: {some(missing)}."] if missing else []
    return [*told, *([f"Not scored, no label: {some(extra)}."] if extra else [])]


def _labels(
    files: DatasetFiles | None, predictions: Path, labels: Path, settings: Settings
) -> tuple[dict[str, Any], str]:
    """The classes by name, and where they come from in words.

    Raises:
        RunError: the dataset.json of the dataset that was named cannot be used.
    """
    if files is not None:
        return read_description(files.raw).labels, f"Classes of {files.name}."
    unused: list[str] = []
    for folder in (predictions, labels, labels.parent):
        try:  # a stranger's file that cannot be used is as none
            path = allowed_path(settings, str(folder / "dataset.json"), what="dataset.json")
            if found := (read_dataset_json(path, inside=[folder]) or {}).get("labels"):
                return found, f"Classes of {path}."
        except RunError as error:
            unused.append(f"{folder / 'dataset.json'} cannot be used: {error.text}")
    why = " ".join(unused) or "No dataset.json names classes"
    return {}, f"{why}, so each value is one; {argument(dataset_id=None)} would name them."
