"""Whether the data in nnUNet_preprocessed are complete, and made from the raw data as they are now.

The worker writes a note beside the data with the names, sizes and times of the raw files; the server compares without
opening an image.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..errors import Refused
from ..files import read_json, read_model, read_plain
from ..texts import clean
from .datasets import DatasetFiles, label_files, listed_cases, training_files

CASCADE = "3d_cascade_fullres"
LOWRES = "3d_lowres"
RECIPE_KEYS = (
    "spacing",
    "preprocessor_name",
    "normalization",
    "use_mask_for_norm",
    "resampling_fn_data",
    "resampling_fn_seg",
)
FULLRES = "3d_fullres"
NNUNETS = "dynamic_network_architectures."  # a network of one's own may pad its patches
MEND_PLANS = "Correct it, or remove it and plan again."


class OddPlans(Refused):
    """A configuration in a form that nnU-Net does not write, e.g. after an edit by hand; `what` names the fault."""

    def __init__(self, plans: dict[str, Any], configuration: str, what: str) -> None:
        file = clean(f"{plans.get('plans_name')}.json")
        super().__init__(f"{file}, configuration {clean(configuration)}: {what}. {MEND_PLANS}")
        self.what = what


class DatasetNote(BaseModel):
    """What the fingerprint, the plans and the split were made from."""

    raw_identity: str
    verified: bool = False
    plans: dict[str, str] = {}  # plans identifier -> identity of the raw data that it was planned from
    changes: dict[str, dict[str, str]] = {}  # plans identifier -> the changes that it was planned with
    own_splits: str = ""  # hash of a splits_final.json that we made, so that a user's own is never replaced


class DataNote(BaseModel):
    """What a folder of preprocessed cases was made from."""

    raw_identity: str
    recipe: str = ""


@dataclass(frozen=True)
class Readiness:
    """Whether a configuration can be trained right away, and if not, why not."""

    ready: bool
    reason: str


def dataset_note_file(files: DatasetFiles) -> Path:
    """Our note on the fingerprint, plans and split of a dataset."""
    return files.preprocessed / "nnunet_mcp.json"


def data_note_file(folder: Path) -> Path:
    """Our note on a folder of preprocessed cases, beside it: nnU-Net refuses a folder with other files."""
    return folder.parent / f"nnunet_mcp_{folder.name}.json"


def raw_identity(files: DatasetFiles) -> str:
    """A digest of names, sizes and times of the raw training files, and of dataset.json's content."""
    digest = hashlib.sha256()
    for path in training_files(files.raw):
        name = path.relative_to(files.raw) if path.is_relative_to(files.raw) else path
        line = f"{name}\0{_size_and_time(path)}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))  # file names may be any bytes
    digest.update(read_plain(files.raw / "dataset.json"))
    return digest.hexdigest()


def _size_and_time(path: Path) -> str:
    try:
        stat = path.stat()
    except FileNotFoundError:  # dataset.json may list missing files
        return "-"
    return f"{stat.st_size}\0{stat.st_mtime_ns}"


def raw_cases(files: DatasetFiles) -> list[str]:
    """The training cases in nnUNet_raw, sorted."""
    listed = listed_cases(files.raw)
    if listed is not None:
        return sorted(listed)
    content = read_json(files.raw / "dataset.json") or {}
    ending = str(content.get("file_ending", ".nii.gz"))
    names = (path.name.removesuffix(ending) for path in (files.raw / "imagesTr").glob(f"*{ending}"))
    return sorted({name[:-5] for name in names if name[-5:-4] == "_" and name[-4:].isdigit()})


def planned(plans: dict[str, Any], configuration: str, heirs: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """A configuration of the plans with what it inherits, or None.

    Source: nnunetv2 2.8.1, utilities/plans_handling/plans_handler.py (inherits_from).

    Raises:
        Refused: it inherits from itself, or is not as nnU-Net writes it.
    """
    if configuration in heirs:
        circle = " from ".join((*heirs, configuration))
        raise Refused(f"In the plans {plans.get('plans_name')} {circle} inherits. Correct inherits_from.")
    own = _written(plans, configuration)
    if own is None:
        return None
    parent = planned(plans, own["inherits_from"], (*heirs, configuration)) if "inherits_from" in own else None
    return {**(parent or {}), **own}


def _written(plans: dict[str, Any], configuration: str) -> dict[str, Any] | None:
    """A configuration as the plans have it, without the one that it inherits from."""
    listed = plans.get("configurations", {})
    own = listed.get(configuration, {}) if isinstance(listed, dict) else None
    if not isinstance(own, dict):
        raise OddPlans(plans, configuration, "it is not as nnU-Net writes it")
    for key, meaning in (("inherits_from", "a configuration"), ("data_identifier", "a folder")):
        name = own.get(key, "")
        if not isinstance(name, str) or not name.isprintable() or Path(name).name != name or name[:1] == ".":
            raise OddPlans(plans, configuration, f"{key} is {clean(repr(name))}; it must be the name of {meaning}")
    return own if configuration in listed else None


def refuse_indivisible(plans: dict[str, Any], configuration: str) -> None:
    """A U-Net halves its patch and joins the halves again, so each axis is a multiple of all its strides together.

    Raises:
        OddPlans: the patch, which somebody has edited, is none; the message has one that is.
    """
    found = planned(plans, configuration) or {}
    try:
        network, patch = found["architecture"], found["patch_size"]
        strides = network["arch_kwargs"]["strides"] if network["network_class_name"].startswith(NNUNETS) else []
        steps = [math.prod(one[axis] for one in strides) for axis in range(len(patch))]
        fits = [max(step, size // step * step) for size, step in zip(patch, steps, strict=True)]
    except (AttributeError, KeyError, TypeError, IndexError, ZeroDivisionError):  # odd otherwise, which others say
        return
    if fits != patch:
        raise OddPlans(plans, configuration, f"patch_size {patch} is no multiple of its strides {steps}; {fits} is")


def data_folder(files: DatasetFiles, plans: dict[str, Any], configuration: str) -> Path:
    """Where the preprocessed cases of a configuration lie.

    Raises:
        KeyError: the plans have no such configuration.
        Refused: they do not say where.
    """
    found = planned(plans, configuration)
    if found is None:
        raise KeyError(configuration)
    if not found.get("data_identifier"):
        raise OddPlans(plans, configuration, "it has no data_identifier")
    return files.preprocessed / str(found["data_identifier"])


def recipe(plans: dict[str, Any], configuration: str) -> str:
    """A digest of everything in the plans that changes preprocessed data (patch and batch size do not).

    Presets share a folder of data because their recipes are the same; plans edited by hand may differ.
    """
    found = planned(plans, configuration) or {}
    wanted = {key: value for key, value in found.items() if key.startswith(RECIPE_KEYS)}
    common = {key: plans.get(key) for key in ("transpose_forward", "foreground_intensity_properties_per_channel")}
    return hashlib.sha256(json.dumps([wanted, common], sort_keys=True).encode()).hexdigest()


def preprocessed_cases(folder: Path) -> list[str]:
    """The complete cases: nnU-Net writes the .pkl of a case last."""
    return sorted(path.stem for path in folder.glob("*.pkl"))


def readiness(files: DatasetFiles, plans_identifier: str, configuration: str) -> Readiness:
    """Whether the configuration is preprocessed from the raw data as they are now."""
    plans = files.plans(plans_identifier)
    if plans is None:
        return Readiness(False, f"{plans_identifier} are not planned yet")
    if planned(plans, configuration) is None:
        known = ", ".join(plans.get("configurations", {}))
        return Readiness(False, f"the plans {plans_identifier} have no {configuration}; they have {known}")
    folder = data_folder(files, plans, configuration)
    cases = preprocessed_cases(folder)
    if not cases:
        return Readiness(False, f"{configuration} is not preprocessed")
    if not files.raw.is_dir():
        return Readiness(True, f"{len(cases)} cases are preprocessed; the raw data are not there to compare")
    return _compare(files, folder, cases, recipe(plans, configuration))


def planned_by_hand(files: DatasetFiles, plans_identifier: str) -> bool:
    """Whether somebody ran nnU-Net's own planning on the raw data as they are now."""
    made = (files.fingerprint_file, files.plans_file(plans_identifier))
    if not all(path.is_file() for path in made):
        return False
    raw = [*training_files(files.raw), files.raw / "dataset.json"]
    return max(path.stat().st_mtime for path in raw) <= min(path.stat().st_mtime for path in made)


def _compare(files: DatasetFiles, folder: Path, cases: list[str], wanted_recipe: str) -> Readiness:
    wanted = raw_cases(files)
    if missing := sorted(set(wanted) - set(cases)):
        return Readiness(False, f"{len(missing)} cases are not preprocessed, for example {missing[0]}")
    labelled = {path.name.split(".")[0] for path in files.ground_truth.glob("*")}
    if not {case.split(".")[0] for case in wanted} <= labelled:
        return Readiness(False, "preprocessing was interrupted before the labels were copied")
    note = read_model(data_note_file(folder), DataNote)
    if note is not None:
        if note.recipe not in ("", wanted_recipe):
            return Readiness(False, "the plans preprocess differently since")
        unchanged = note.raw_identity == raw_identity(files)
        return Readiness(unchanged, "unchanged" if unchanged else "the raw data have changed since")
    newest = max((path.stat().st_mtime for path in label_files(files.raw).values()), default=0.0)
    older = newest <= max(path.stat().st_mtime for path in folder.glob("*.pkl"))
    return Readiness(older, "preprocessed by hand" if older else "the raw data are newer")


def data_needed_by(configuration: str) -> list[str]:
    """The configurations whose data a training of `configuration` reads.

    The validation of 3d_lowres writes the cascade's input on the grid of 3d_fullres, so it needs both.
    """
    return [LOWRES, FULLRES] if configuration in (LOWRES, CASCADE) else [configuration]
