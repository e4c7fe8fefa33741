"""Which trainers, planners and plans exist, found by reading nnU-Net's source files, not by importing them."""

import difflib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..calls import argument
from ..errors import NotFound, Refused, Unavailable
from ..files import NO_FILE, read_plain
from ..schemas.training import TrainingRequest
from ..settings import Settings
from .datasets import DatasetFiles
from .installed import installed
from .preprocessed import FULLRES, planned

# Of nnU-Net's main branch: those that start from a checkpoint of nnssl.
CNN_TRAINER, PRIMUS_TRAINER = "PretrainedTrainer", "PretrainedTrainer_Primusx"
ADAPTING = ("PretrainedTrainer", "DynamicPretrainedTrainer")  # and those whose names begin so

CLASS = re.compile(r"^class\s+(\w+)\s*[(:]", re.MULTILINE)

# nnunetv2 2.8.1, experiment_planning/experiment_planners: the plans identifier each planner writes.
PLANNERS = {
    "nnUNetPlans": "ExperimentPlanner",
    "nnUNetResEncUNetPlans": "ResEncUNetPlanner",
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
    "nnUNetResEncUNetLPlans": "nnUNetPlannerResEncL",
    "nnUNetResEncUNetXLPlans": "nnUNetPlannerResEncXL",
}


def nnunet_folder(python: str) -> Path:
    """Where nnU-Net is installed in a Python.

    Raises:
        Unavailable: it is not.
    """
    folder = installed(python).nnunet
    if folder is None:
        raise Unavailable(f"nnU-Net is not installed: {python} -m pip install nnunetv2")
    return folder


def known_trainers(python: str) -> list[str]:
    """Names of nnU-Net's trainer classes, of those in the folders of nnUNet_extTrainer, and of those made here."""
    return sorted({*nnunet_trainers(python), *own_trainers(), *classes_in(made_trainer_folder())})


def nnunet_trainers(python: str) -> dict[str, str]:
    """The module of each of nnU-Net's own trainer classes."""
    root = nnunet_folder(python)
    found = classes_in(root / "training" / "nnUNetTrainer")
    return {name: ".".join(("nnunetv2", *path.relative_to(root).with_suffix("").parts)) for name, path in found.items()}


def made_trainer_folder() -> Path:
    """Where the trainers lie that are made for `changes`; nnU-Net finds them there through nnUNet_extTrainer."""
    return Settings().state_dir / "trainers"


def all_trainer_folders() -> str:
    """What nnUNet_extTrainer is in our own processes."""
    return os.pathsep.join(map(str, (*own_trainer_folders(), made_trainer_folder())))


def own_trainer_folders() -> list[Path]:
    """The folders of the person's own trainers: those in nnUNet_extTrainer, but for ours."""
    listed = os.environ.get("nnUNet_extTrainer", "")  # noqa: SIM112 - nnU-Net's own spelling
    folders = [Path(part) for part in listed.split(os.pathsep) if part]
    return [folder for folder in folders if folder.resolve() != made_trainer_folder().resolve()]


def own_trainers() -> set[str]:
    """Names of the classes in the folders of nnUNet_extTrainer."""
    return {name for root in own_trainer_folders() for name in classes_in(root)}


def trainer_file(name: str) -> Path | None:
    """The file of a trainer of the person's own, or of one that was made here; None for nnU-Net's."""
    folders = (*own_trainer_folders(), made_trainer_folder())
    return next((found[name] for folder in folders if name in (found := classes_in(folder))), None)


def classes_in(root: Path) -> dict[str, Path]:
    """The classes in the files of a folder, each with the first file that has it."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*.py")):
        for name in CLASS.findall(_text(path)):
            found.setdefault(name, path)
    return found


def _text(path: Path) -> str:
    """The text of a file; empty where it cannot be read."""
    with suppress(*NO_FILE):
        return read_plain(path).decode(errors="replace")
    return ""


def check_trainer(name: str, python: str) -> None:
    """Refuse a trainer that the nnU-Net of a Python would not find.

    Raises:
        NotFound: with the names that come close.
    """
    known = known_trainers(python)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3)
    meant = ", ".join(str(argument(trainer=one)) for one in near)
    hint = f"Did you mean {meant}?" if near else "nnUNetTrainer is the default."
    raise NotFound(f"There is no trainer {name!r}. {hint} Trainers of your own go into a folder in nnUNet_extTrainer.")


def trainer_lacking(name: str, python: str) -> str:
    """Why a model cannot predict whose trainer class is not here, with the ways on; "" where it is.

    nnU-Net asks the class for the network (nnunetv2 2.8.1, inference/predict_from_raw_data.py:99).
    """
    if name in known_trainers(python):
        return ""
    return (
        f"The trainer class {name!r} of this model is not here, and nnU-Net asks it for the network. Put the file "
        "that defines it into a folder that nnUNet_extTrainer names in this server's environment. Only if the class "
        "leaves the network as it is (it changes epochs, loss, augmentation) a class of that name that is derived from "
        "nnUNetTrainer and empty predicts the same."
    )


def planner_for(files: DatasetFiles, plans: str) -> str | None:
    """The planner that makes these plans, or None where existing plans of the user's own are meant.

    Raises:
        NotFound: neither a preset nor existing plans.
    """
    if plans in PLANNERS:
        return PLANNERS[plans]
    if files.plans_file(plans).is_file():
        return None
    own = sorted(p.stem for p in files.preprocessed.glob("*.json") if '"plans_name"' in _text(p))
    others = f"; {files.name} has {', '.join(own)}" if own else ""
    raise NotFound(f"There are no plans {plans!r}. Presets: {', '.join(PLANNERS)}{others}.")


def trainer_for(plans: dict[str, Any]) -> str | None:
    """The trainer for plans that adapt a checkpoint of nnssl; None for all others, which any trainer uses."""
    if not plans.get("pretrain_info"):
        return None
    network = (planned(plans, FULLRES) or {}).get("architecture", {}).get("network_class_name")
    return PRIMUS_TRAINER if str(network).startswith("Primus") else CNN_TRAINER


def refuse_unadapted(request: TrainingRequest, trainer: str, plans: dict[str, Any]) -> None:
    """Where no checkpoint of nnssl is named: nnU-Net's trainers and plans for them go together, and begin with one.

    Raises:
        Refused: one is there without the other, or a training begins.
    """
    goes_on = request.continue_training or request.validation_only
    info = plans.get("pretrain_info")
    if info and not goes_on:
        weights = info.get("checkpoint_path") or "checkpoint_final.pth"
        raise Refused(
            f"The plans {request.plans_identifier} adapt a checkpoint of nnssl. Name it: "
            f"{argument(pretrained_weights=weights)}."
        )
    if not info and trainer.startswith(ADAPTING):
        raise Refused(
            f"{trainer} starts from a checkpoint of nnssl, as those of OpenMind. Name one with "
            f"{argument(pretrained_weights=None)}, or another {argument(trainer=None)}."
        )
