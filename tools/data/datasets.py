"""Datasets for the tools: which exist, what they declare, what is preprocessed and trained; and one in depth."""

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ...calls import call
from ...errors import RunError
from ...files import read_json
from ...nnunet.cases import file_problems, file_warnings, list_cases
from ...nnunet.dataset_json import Description, read_description, region_fault
from ...nnunet.datasets import DatasetFiles, FoldFiles, all_dataset_names, find_dataset
from ...nnunet.splits import USUAL_FOLDS, own_faults, own_idle, own_torn, split_told
from ...nnunet.summary import fold_outcome
from ...schemas.datasets import DatasetDetails, DatasetLine, DatasetsAnswer, DatasetsRequest, TrainedModel
from ...schemas.model_name import ModelName
from ...settings import Settings
from ...texts import clean, first, numbered, short, some
from ..helping import about_idle, about_torn, told
from ..training import plans_ahead as planning
from .findings import bounded, findings
from .looks import Looks, Tell, look_into
from .plans_there import PlansThere, fingerprint_of, plans_of, preprocessed_of, read_plans
from .summary.brief import brief
from .summary.figures import first_images, intensities, label_statistics, mixed, spacings, spread, voxel_types
from .summary.outliers import in_mm, outliers, volumes_of

LOOK_S = 40.0  # clients allow a call a minute
LISTED = 30  # this many in full, of the others only the names, so that the answer stays short
NAMED = 200
FEW = 6  # of labels, models and so on of each dataset in a list; for a single dataset all are shown
FEW_CHARACTERS, PROBLEM_CHARACTERS = 600, 200
MOST = 200
OUTLIERS = 30
Found = TypeVar("Found")


def nnunet_datasets(
    request: DatasetsRequest, settings: Settings, tell: Tell | None = None, *, look_s: float = LOOK_S
) -> DatasetsAnswer:
    """List datasets, or look into one. `tell` gets the number of cases looked at, and of all cases.

    Raises:
        NotFound: the id does not exist.
    """
    folders = settings.folders
    if request.dataset_id is None:
        return _list(settings)
    files = find_dataset(folders, request.dataset_id)
    found = _details(_line(files), files, settings, budget_s=look_s, tell=tell)
    shown = found if request.full else brief(found)
    whole = f" All of it: {call('nnunet_datasets', dataset_id=found.dataset_id, full=True)}." if shown != found else ""
    next_step = (_next_look(found) or _next_step((found,))) + whole
    return DatasetsAnswer(datasets=(shown,), raw_folder=folders.raw, next_step=next_step)


def dataset_ids(settings: Settings) -> list[int]:
    """The ids of all datasets, in any of the three folders."""
    return [int(name[7:10]) for name in all_dataset_names(settings.folders)]


def _list(settings: Settings) -> DatasetsAnswer:
    folders = settings.folders
    names = all_dataset_names(folders)
    lines = tuple(_in_short(_line(DatasetFiles(folders, name))) for name in names[:LISTED])
    others = tuple(names[LISTED : LISTED + NAMED])
    unnamed = len(names) - len(lines) - len(others)
    more = f" {unnamed} more have higher ids." if unnamed else ""
    look = f" Look at one of the others with {call('nnunet_datasets', dataset_id=None)}." if others else ""
    return DatasetsAnswer(
        datasets=lines, others=others, raw_folder=folders.raw, next_step=_next_step(lines) + look + more
    )


def _next_look(found: DatasetDetails) -> str:
    if not found.partial:
        return ""
    again = f"call {call('nnunet_datasets', dataset_id=found.dataset_id)} again to go on"
    return f"Looked at {found.inspected} of {found.cases} cases; {again}."


def _next_step(lines: tuple[DatasetLine, ...]) -> str:
    if not lines:
        return (
            "No datasets yet: import one with "
            f"{call('nnunet_prepare_dataset', source=None, dataset_id=None, name=None)}."
        )
    if broken := next((line for line in lines if line.problems), None):
        again = call("nnunet_datasets", dataset_id=broken.dataset_id)
        return f"Solve the problems of dataset {broken.dataset_id}; {again} looks again."
    if ready := next((line for line in lines if line.cases or line.preprocessed), None):
        return _train(ready)
    predict = call("nnunet_predict", model=f"{lines[0].name}/…", images=None)
    return f"There are no data to train with. Ask the person whether to predict: {predict}."


def _train(line: DatasetLine) -> str:
    if line.preprocessed or line.split or line.cases >= USUAL_FOLDS:
        train = call("nnunet_training", dataset_id=line.dataset_id, configuration=None, fold=None)
        return f"Ask the person whether to train it: {train}."
    full = call("nnunet_training", dataset_id=line.dataset_id, fold="full")
    few = f"{numbered(line.cases, 'case')}: too few for {USUAL_FOLDS} folds."
    return f"{few} Ask the person whether to train on every case, unmeasured: {full}."


def _in_short(line: DatasetLine) -> DatasetLine:
    """The size of one dataset in a list of many."""
    return line.model_copy(
        update={
            "channels": first(line.channels, FEW),
            "labels": first(line.labels, FEW),
            "preprocessed": first(line.preprocessed, FEW),
            "trained": line.trained[:FEW],
            "problems": bounded([short(problem, PROBLEM_CHARACTERS) for problem in line.problems], FEW_CHARACTERS),
        }
    )


def _details(
    line: DatasetLine, files: DatasetFiles, settings: Settings, *, budget_s: float, tell: Tell | None
) -> DatasetDetails:
    """What a list says of the dataset, and what its images and plans say."""
    known = {**dict(line), "fingerprint": fingerprint_of(files), "plans": plans_of(files, read_plans(files))}
    try:
        description = read_description(files.raw)
    except RunError:  # the line says it as a problem
        return DatasetDetails(**known, inspected=0)
    begun = time.monotonic()
    looks = look_into(files, description, settings, budget_s=budget_s, tell=tell)
    images = planning.looked_at(files, description, looks)
    left_s = min(planning.WAIT_S, begun + budget_s - time.monotonic())
    ahead = planning.plans_ahead(images, planning.PRESETS, settings, wait_s=left_s) if images else None
    planned = {"plans_ahead": planning.in_words(ahead) if ahead else {}}
    looked = _looked(line, files, description, looks, images.relative_size if images else 1.0)
    return DatasetDetails(**{**known, **looked, **planned})


def _looked(
    line: DatasetLine, files: DatasetFiles, description: Description, looks: Looks, cropped_to: float
) -> dict[str, object]:
    found = findings(looks, description)
    cases = [looks.found[name] for name in sorted(looks.found)]
    images = first_images(cases)
    size, unit = volumes_of(looks, description), "mL" if in_mm(looks) else "voxels"
    measured = read_json(files.fingerprint_file)
    return {
        "inspected": len(cases),
        "partial": looks.partial,
        "problems": (*line.problems, *found.problems),
        "warnings": (
            *_about_the_look(looks),
            *file_warnings(files.raw, description),
            *_region_faults(description, has_remedy=False),
            *_about_split(files),
            *found.warnings,
        ),
        "shapes": spread([image.shape for image in images]),
        "spacings": spacings(images, in_mm=in_mm(looks)),
        "voxel_types": voxel_types(cases),
        "intensities": intensities(cases, description, cropped_to, measured),
        "label_statistics": label_statistics(cases, description, size, unit),
        "outliers": {clean(case): what for case, what in islice(outliers(looks, description).items(), OUTLIERS)},
        "mixed": mixed(cases, description, in_mm=in_mm(looks)),
    }


def _region_faults(description: Description, *, has_remedy: bool) -> list[str]:
    """A problem where an order works, because a training is refused then; else a warning."""
    fault = region_fault(description)
    return [fault.told] if fault and fault.has_remedy == has_remedy else []


def _about_split(files: DatasetFiles) -> list[str]:
    idle = _attempt([], lambda: own_idle(files), "")
    torn, pattern = _attempt([], lambda: own_torn(files), ("", ""))
    return [
        *([about_idle(files.dataset_id, idle)] if idle else []),
        *([about_torn(files.dataset_id, torn, pattern)] if torn else []),
    ]


def _about_the_look(looks: Looks) -> list[str]:
    said = []
    if looks.not_allowed:
        said.append(
            "cases whose files lie outside the allowed folders, so that they were not looked at: "
            f"{some(looks.not_allowed)}. Add their folder to NNUNET_MCP_ALLOWED_DIRS."
        )
    if looks.ended:
        said.append(
            f"the images could not all be looked at ({clean(looks.ended, 200)}). {call('nnunet_system')} says "
            "what is missing."
        )
    return said


def _line(files: DatasetFiles) -> DatasetLine:
    """What is known of a dataset. A fault in it becomes a problem of this dataset and does not stop the list."""
    problems: list[str] = []
    description = _attempt(problems, lambda: read_description(_described_in(files)), None)
    if description is not None and files.raw.is_dir():
        found = description
        problems += _attempt(problems, lambda: file_problems(files.raw, found), [])
        problems += _region_faults(found, has_remedy=True)
    faults = _attempt([], lambda: own_faults(files), list[str]())
    sound = call("nnunet_split_dataset", dataset_id=files.dataset_id)
    problems += [f"splits_final.json: {fault}. {sound} makes a sound one." for fault in faults[:FEW]]
    there = _attempt(problems, lambda: read_plans(files), PlansThere())
    trained: list[TrainedModel] = _attempt(problems, lambda: _trained(files, problems), [])
    return DatasetLine(
        dataset_id=files.dataset_id,
        name=files.name,
        cases=_attempt([], lambda: _count_cases(files, description), 0),
        channels=first(description.channels, MOST) if description else (),
        labels=first(list(description.labels), MOST) if description else (),
        preprocessed=tuple(_attempt(problems, lambda: preprocessed_of(files, there), [])),
        trained=tuple(trained),
        split=_attempt(problems, lambda: split_told(files), ""),
        problems=(*problems, *there.problems),
    )


def _described_in(files: DatasetFiles) -> Path:
    """The folder whose dataset.json counts: nnU-Net copies the file to the preprocessed data and into each model."""
    copies = (files.preprocessed, *sorted(files.results.glob("*__*__*/")))
    there = next((folder for folder in copies if (folder / "dataset.json").is_file()), files.raw)
    return files.raw if files.raw.is_dir() else there


def _attempt(problems: list[str], work: Callable[[], Found], otherwise: Found) -> Found:
    try:
        return work()
    except RunError as error:
        problems.append(told(error))
    except OSError as error:
        problems.append(f"{clean(error.filename)} cannot be read ({error.strerror}). Give access to it.")
    return otherwise


def _count_cases(files: DatasetFiles, description: Description | None) -> int:
    if description is None:
        return 0
    if description.listed is not None:
        return len(description.listed)
    found = list_cases(files.raw, description.file_ending)
    return len(found.images) or len(found.unnumbered)


def _trained(files: DatasetFiles, problems: list[str]) -> list[TrainedModel]:
    models = []
    for path in sorted(files.results.glob("*__*__*")):
        trainer, plans, configuration = ModelName.parse(path.name)
        there = sorted(path.glob("fold_*"), key=lambda fold: (len(fold.name), fold.name))  # 2 before 10
        folds = [f for f in there if f.suffix == "" and FoldFiles(f).final.is_file()]
        if folds:
            names = tuple("full" if f.name == "fold_all" else f.name.removeprefix("fold_") for f in folds)
            dice = {name: _dice(fold, problems) for name, fold in zip(names, folds, strict=True)}
            models.append(
                TrainedModel(trainer=trainer, plans=plans, configuration=configuration, folds=names, dice=dice)
            )
    return models


def _dice(fold: Path, problems: list[str]) -> float | None:
    outcome = fold_outcome(FoldFiles(fold))
    if outcome is not None and outcome.metrics is None:
        problems += outcome.notes
    return outcome.metrics.dice if outcome and outcome.metrics else None
