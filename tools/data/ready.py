"""Whether a dataset can be trained, and in which form.

nnU-Net reads one style of dataset.json. For an older one a corrected dataset.json lies in a twin of the dataset, beside
links to everything else:

<state folder>/raw/<digest of the raw folder>/<dataset>/dataset.json
                                                        imagesTr -> <raw folder>/<dataset>/imagesTr
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from ...allowed_paths import readable
from ...calls import call
from ...errors import NotFound, Refused
from ...files import write_text
from ...locks import held, lock_name
from ...nnunet.cases import file_problems
from ...nnunet.dataset_json import Description, read_description, region_fault
from ...nnunet.datasets import DatasetFiles, find_dataset, training_files
from ...runs.layout import StateDir
from ...settings import Settings
from .findings import findings
from .looks import look_into, looked_at

OWN = "dataset.json"


def ready_to_train(
    settings: Settings, dataset_id: int, *, make_twin: bool = True, goes_on: bool = False
) -> tuple[DatasetFiles, list[str]]:
    """The dataset in a form that nnU-Net v2 reads, and notes on what that took. With `goes_on`, a training has begun.

    A folder in the older style that the documentation shows (modality, labels {"0": …}, no file_ending) gets a
    valid twin. The source stays as it is.

    Raises:
        NotFound, Refused: no such dataset, or its files would fail; the message names the cases.
    """
    files = find_dataset(settings.folders, dataset_id)
    if not files.raw.is_dir():
        if not files.preprocessed.is_dir():
            raise NotFound(
                f"{files.name} has trained models here and no data to train with. Import them under the same id and "
                f"name with {call('nnunet_prepare_dataset')}, or ask the person whether to predict: "
                f"{call('nnunet_predict')}."
            )
        return files, ["The raw data are not there; the preprocessed data are used."]
    description = read_description(files.raw)
    if description.listed is not None:
        _refuse_elsewhere(files.raw, settings)
    problems, fault = file_problems(files.raw, description), region_fault(description)
    if fault and fault.has_remedy and not goes_on:
        problems.append(fault.told)
    if problems:
        raise Refused(f"Dataset {files.name} cannot be trained:\n- " + "\n- ".join(problems))
    notes = [f"In dataset.json, {fault.told}"] if fault else []
    if not description.changes:
        return files, notes
    note = f"dataset.json was read in an older style ({'; '.join(description.changes)}); the source is unchanged."
    twin = _twin(files, settings)
    # What was preprocessed was made from the twin, so whoever only looks compares with it, if it is there.
    if not make_twin and not (twin.raw / OWN).is_file():
        return files, [note, *notes]
    _write_twin(files, twin, description, settings)
    return twin, [note, *notes]


def _refuse_elsewhere(raw: Path, settings: Settings) -> None:
    """The files that dataset.json lists may lie anywhere, but tools may not read everywhere."""
    for path in training_files(raw):
        readable(path, settings)


def known_damage(settings: Settings, dataset_id: int) -> str:
    """What an earlier look has found that will end a training, with the cases' names; nothing is opened."""
    files = find_dataset(settings.folders, dataset_id)
    if not files.raw.is_dir():
        return ""
    description = read_description(files.raw)
    if not looked_at(files, description, settings):
        return ""
    breaks = findings(look_into(files, description, settings, budget_s=0), description).breaks
    return f"Dataset {files.name} cannot be trained:\n- " + "\n- ".join(breaks) if breaks else ""


def _twin(files: DatasetFiles, settings: Settings) -> DatasetFiles:
    """The dataset under the folder where its dataset.json is, or will be, as nnU-Net reads it."""
    # Of each raw folder its own: several may share the results, and with them the state folder.
    mark = hashlib.sha256(files.folders.raw.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return replace(files, folders=files.folders.model_copy(update={"raw": str(settings.state_dir / "raw" / mark)}))


def _write_twin(files: DatasetFiles, twin: DatasetFiles, description: Description, settings: Settings) -> None:
    """Write dataset.json, and link everything else; the source stays as it is."""
    mark = Path(twin.folders.raw).name
    with held(StateDir.of(settings).locks_dir / lock_name("twin", mark, files.name)):
        twin.raw.mkdir(parents=True, exist_ok=True)
        _link(files.raw, twin.raw)
        _write(twin.raw / OWN, json.dumps(description.content, indent=2, ensure_ascii=False))


def _link(source: Path, twin: Path) -> None:
    wanted = {path.name for path in source.iterdir()} - {OWN}
    for link in twin.iterdir():
        if link.is_symlink() and (link.name not in wanted or link.readlink() != source / link.name):
            link.unlink()
    for name in wanted:
        if not (twin / name).is_symlink():
            (twin / name).symlink_to(source / name)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
