"""Datasets for the tools: which exist, what dataset.json declares, what is preprocessed and trained."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ...allowed_paths import readable
from ...calls import call
from ...errors import NotFound, Refused, RunError
from ...nnunet.cases import file_problems, list_cases
from ...nnunet.dataset_json import Description, read_description
from ...nnunet.datasets import DatasetFiles, FoldFiles, all_dataset_names, find_dataset, training_files
from ...nnunet.summary import fold_outcome
from ...schemas.datasets import DatasetDetails, DatasetLine, DatasetsAnswer, DatasetsRequest, TrainedModel
from ...schemas.model_name import ModelName
from ...schemas.records import Folders
from ...settings import Settings
from ...texts import clean, first
from .dataset_details import details
from .findings import bounded
from .looks import Tell
from .older_styles import twin_of
from .plans_there import PlansThere, preprocessed_of, read_plans

LOOK_S = 40.0  # clients allow a call a minute
LISTED = 30  # this many in full, of the others only the names, so that the answer stays short
NAMED = 200
FEW = 6  # of labels, models and so on of each dataset in a list; for a single dataset all are shown
FEW_CHARACTERS = 600
MOST = 200
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
        return _list(folders)
    files = find_dataset(folders, request.dataset_id)
    found = details(_line(files), files, settings, budget_s=look_s, tell=tell)
    next_step = _next_look(found) or _next_step((found,))
    return DatasetsAnswer(datasets=(found,), raw_folder=folders.raw, next_step=next_step)


def dataset_ids(settings: Settings) -> list[int]:
    """The ids of all datasets, in any of the three folders."""
    return [int(name[7:10]) for name in all_dataset_names(settings.folders)]


def _list(folders: Folders) -> DatasetsAnswer:
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
        return f"Solve the problems of dataset {broken.dataset_id}, then train with {call('nnunet_training')}."
    if ready := next((line for line in lines if line.cases or line.preprocessed), None):
        return f"Train with {call('nnunet_training', dataset_id=ready.dataset_id)}."
    predict = call("nnunet_predict", model=f"{lines[0].name}/…", images=None)
    return f"There are no data to train with: predict with {predict}."


def _in_short(line: DatasetLine) -> DatasetLine:
    """The size of one dataset in a list of many."""
    return line.model_copy(
        update={
            "channels": first(line.channels, FEW),
            "labels": first(line.labels, FEW),
            "preprocessed": first(line.preprocessed, FEW),
            "trained": line.trained[:FEW],
            "problems": bounded(list(line.problems), FEW_CHARACTERS),
        }
    )


def _line(files: DatasetFiles) -> DatasetLine:
    """What is known of a dataset. A fault in it becomes a problem of this dataset and does not stop the list."""
    problems: list[str] = []
    description = _attempt(problems, lambda: read_description(_described_in(files)), None)
    if description is not None and files.raw.is_dir():
        found = description
        problems += _attempt(problems, lambda: file_problems(files.raw, found), [])
    there = _attempt(problems, lambda: read_plans(files), PlansThere())
    trained: list[TrainedModel] = _attempt(problems, lambda: _trained(files, problems), [])
    return DatasetLine(
        dataset_id=int(files.name[7:10]),
        name=files.name,
        cases=_attempt([], lambda: _count_cases(files, description), 0),
        channels=first(description.channels, MOST) if description else (),
        labels=first(list(description.labels), MOST) if description else (),
        preprocessed=tuple(_attempt(problems, lambda: preprocessed_of(files, there), [])),
        trained=tuple(trained),
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
        problems.append(str(error))
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
        folds = [f for f in sorted(path.glob("fold_*")) if f.suffix == "" and FoldFiles(f).final.is_file()]
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


def ready_to_train(settings: Settings, dataset_id: int, *, make_twin: bool = True) -> tuple[DatasetFiles, list[str]]:
    """The dataset in a form that nnU-Net v2 reads, and notes on the conversion.

    For a folder in the older style of the documentation (modality, labels {"0": …}, no file_ending), a valid twin is
    made in the state folder. The source stays as it is.

    Raises:
        NotFound, Refused: no such dataset, or its files would fail; the message names the cases.
    """
    files = find_dataset(settings.folders, dataset_id)
    if not files.raw.is_dir():
        if not files.preprocessed.is_dir():
            raise NotFound(
                f"{files.name} has trained models here and no data to train with. Import them under the same id and "
                f"name with {call('nnunet_prepare_dataset')}, or predict with {call('nnunet_predict')}."
            )
        return files, ["The raw data are not there; the preprocessed data are used."]
    description = read_description(files.raw)
    if description.listed is not None:
        _refuse_elsewhere(files.raw, settings)
    if problems := file_problems(files.raw, description):
        raise Refused(f"Dataset {files.name} cannot be trained:\n- " + "\n- ".join(problems))
    if not description.changes:
        return files, []
    note = f"dataset.json was read in an older style ({'; '.join(description.changes)}); the source is unchanged."
    if not make_twin:
        return files, [note]
    return twin_of(files, description, settings), [note]


def _refuse_elsewhere(raw: Path, settings: Settings) -> None:
    """Refuse files that tools may not read: dataset.json may list files anywhere."""
    for path in training_files(raw):
        readable(path, settings)
