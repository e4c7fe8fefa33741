"""Transfer learning: which plans a training needs so that the pretrained weights fit its network.

The weights fit only the architecture they were trained with. Where the target's own plans differ, the target
gets the source's plans, moved as nnU-Net does it (nnUNetv2_move_plans_between_datasets), under a name of
their own, so that models trained before are not touched.
"""

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..calls import argument
from ..errors import Refused
from ..files import DESCRIPTION_BYTES, read_json
from ..schemas.training import TrainingRequest
from .datasets import DEFAULT_PLANS, DatasetFiles
from .installed import TRAINS_ON_NNSSL, installed
from .preprocessed import FULLRES, planned
from .safe_plans import read_plans
from .trainers import ADAPTING, CNN_TRAINER, PRIMUS_TRAINER, nnunet_trainers
from .variants.in_checkpoints import NUMBERED, pickle_at, pickled

LIKE_NNSSL = "nnUNetv2_preprocess_like_nnssl"
# The key that nnssl adds to its checkpoints, and a network's name.
NNSSL = pickled(b"nnssl_adaptation_plan")
PRIMUS = re.compile(pickled(b"arch_class_name") + NUMBERED + rb"X.\0\0\0Primus", re.DOTALL)


@dataclass(frozen=True)
class Transfer:
    """The plans to use; `source` is a plans.json or a checkpoint that they are made of, None where they are there.
    `trainer`: the one that can use them, if not any."""

    plans_identifier: str
    source: str | None
    note: str
    trainer: str | None = None


def plan_transfer(request: TrainingRequest, weights: Path, files: DatasetFiles, python: str) -> Transfer | None:
    """How to move the plans to go with pretrained weights, or None where the target's own fit or were asked for.

    Raises:
        Refused: the pretrained model cannot fit this dataset and configuration.
    """
    pickle = pickle_at(weights)
    if NNSSL in pickle:
        # Where the name of a Primus cannot be seen, the worker finds out before it preprocesses.
        trainer = PRIMUS_TRAINER if PRIMUS.search(pickle) else CNN_TRAINER
        return _adapted(request, weights, files, python, trainer)
    beside = _plans_beside(weights)
    if beside is None:
        return None if request.plans_identifier else _from_checkpoint(weights)
    plans = read_plans(beside)
    if plans is None:
        raise Refused(
            f"{beside}, the plans of {argument(pretrained_weights=None)}, cannot be read as JSON. Put the model's own "
            "back."
        )
    _refuse_misfit(request, files, plans, beside)
    own = files.plans(request.plans_identifier or DEFAULT_PLANS)
    if request.plans_identifier or (own is not None and _same_architecture(own, plans, request.configuration)):
        return None
    name, source = str(plans.get("plans_name", DEFAULT_PLANS)), str(plans.get("dataset_name", "elsewhere"))
    return Transfer(
        f"{name}_from_{source}",
        str(beside),
        f"{argument(pretrained_weights=None)}: {files.name} is planned with the architecture of {source} under the "
        f"plans identifier {name}_from_{source}, because weights fit only the network they were trained with.",
    )


def _adapted(request: TrainingRequest, weights: Path, files: DatasetFiles, python: str, trainer: str) -> Transfer:
    """How to go on from a checkpoint of nnssl, whose encoder is adapted first. Nothing in the file is unpickled.

    Source: documentation/finetuning_from_nnssl_checkpoints.md of nnU-Net's main branch, July 2026.

    Raises:
        Refused: the installed nnU-Net cannot, or another argument does not go with it.
    """
    what = f"{weights.name} is a checkpoint of nnssl (self-supervised, as those of OpenMind)"
    if not installed(python).adapts_nnssl:
        raise Refused(f"{what}: {_where_it_can_be_used(request, weights)}")
    if request.configuration != FULLRES:
        raise Refused(f"{what}, which nnU-Net adapts for {FULLRES} alone. Use {argument(configuration=FULLRES)}.")
    asked = request.trainer or trainer
    if asked in nnunet_trainers(python) and not asked.startswith(ADAPTING):
        raise Refused(
            f"{what}, and {asked} starts from none. Leave {argument(trainer=None)} out, and {trainer} trains."
        )
    identifier, source = request.plans_identifier, None
    if identifier is None:
        identifier, source = f"ptPlans_{_digest(weights)}", str(weights)
    elif not (files.plans(identifier) or {}).get("pretrain_info"):
        raise Refused(
            f"{what}, and the plans {identifier} adapt none. Leave {argument(plans_identifier=None)} out, and plans "
            "for it are made."
        )
    note = (
        f"{what}: its encoder is adapted under the plans identifier {identifier}, as {LIKE_NNSSL} does, and trained by "
        f"{asked}."
    )
    return Transfer(identifier, source, note, trainer)


def _where_it_can_be_used(request: TrainingRequest, weights: Path) -> str:
    fold = {"all": "0", "full": "all"}.get(request.fold, request.fold)
    return (
        f"only its encoder is of use, once it is adapted to the network. {TRAINS_ON_NNSSL} does that: nnU-Net's main "
        "branch has it since July 2026, PyPI's 2.8.1 has not. Where that nnU-Net is installed in place of this one "
        "(pip install git+https://github.com/MIC-DKFZ/nnUNet), the same call trains with it. In a terminal, in an "
        "environment of its own:\n"
        f"{LIKE_NNSSL} -d {request.dataset_id} -n PRETRAINED -pc {shlex.quote(str(weights))} -am like_pretrained\n"
        f"{TRAINS_ON_NNSSL} {request.dataset_id} {FULLRES} {fold} -tr {CNN_TRAINER} -p ptPlans__PRETRAINED...\n"
        f"The first command names the plans; for Primus it is -tr {PRIMUS_TRAINER}. Such a training is then seen among "
        f"the runs. Or leave {argument(pretrained_weights=None)} out, and train from scratch."
    )


def _plans_beside(weights: Path) -> Path | None:
    """plans.json of the model folder: nnU-Net keeps checkpoints in <model>/fold_X/."""
    candidates = (weights.parent.parent / "plans.json", weights.parent / "plans.json")
    return next((path for path in candidates if path.is_file()), None)


def _from_checkpoint(weights: Path) -> Transfer:
    identifier = f"nnUNetPlans_from_{_digest(weights)}"
    return Transfer(
        identifier,
        str(weights),
        f"{argument(pretrained_weights=None)}: planned with the architecture stored in {weights.name}, plans "
        f"identifier {identifier}.",
    )


def _digest(weights: Path) -> str:
    """Of a checkpoint's place, size and time, for a name."""
    stat = weights.stat()
    return hashlib.sha256(f"{weights}{stat.st_size}{stat.st_mtime_ns}".encode()).hexdigest()[:8]


def _refuse_misfit(request: TrainingRequest, files: DatasetFiles, plans: dict[str, Any], beside: Path) -> None:
    if planned(plans, request.configuration) is None:
        known = ", ".join(plans.get("configurations", {}))
        raise Refused(
            f"The plans of {argument(pretrained_weights=None)} ({beside}) have no configuration "
            f"{request.configuration!r}; they have {known}. Choose one of these, or weights of another model."
        )
    trained = beside.parent.name.rpartition("__")[2]
    if (there := _axes(plans, trained)) and there != (here := _axes(plans, request.configuration)):
        raise Refused(
            f"{argument(pretrained_weights=None)} are those of a {there}D network ({trained}), and "
            f"{request.configuration} is {here}D, so no layer fits. Train {argument(configuration=trained)}, or use "
            f"weights of a {request.configuration} model."
        )
    source, target = (_channel_count(folder / "dataset.json") for folder in (beside.parent, files.raw))
    if source and target and source != target:
        raise Refused(
            f"{argument(pretrained_weights=None)} were trained on {source} channel(s); {files.name} has {target}, so "
            "the first layer does not fit. Use weights of a model with the same channels."
        )
    own = files.plans(request.plans_identifier) if request.plans_identifier else None
    if own is not None and not _same_architecture(own, plans, request.configuration):
        raise Refused(
            f"{argument(pretrained_weights=None)} and {argument(plans_identifier=request.plans_identifier)} do not "
            f"fit: their networks differ ({_difference(own, plans, request.configuration)}). Leave "
            f"{argument(plans_identifier=None)} out, and the architecture of the weights is used."
        )


def _axes(plans: dict[str, Any], configuration: str) -> int:
    """2 or 3; 0 where the plans do not have it."""
    patch = (planned(plans, configuration) or {}).get("patch_size")
    return len(patch) if isinstance(patch, list) else 0


def _channel_count(dataset_json: Path) -> int | None:
    content = read_json(dataset_json, most=DESCRIPTION_BYTES) or {}
    names = (content.get("channel_names") or content.get("modality")) if isinstance(content, dict) else None
    return len(names) if isinstance(names, dict) else None


def _architecture(plans: dict[str, Any], configuration: str) -> dict[str, Any]:
    found: dict[str, Any] = (planned(plans, configuration) or {}).get("architecture", {})
    return found


def _same_architecture(one: dict[str, Any], other: dict[str, Any], configuration: str) -> bool:
    return _architecture(one, configuration) == _architecture(other, configuration)


def _difference(own: dict[str, Any], plans: dict[str, Any], configuration: str) -> str:
    here, there = (_architecture(p, configuration).get("arch_kwargs", {}) for p in (own, plans))
    differing = [f"{key}: {here.get(key)} here, {there.get(key)} there" for key in here if here[key] != there.get(key)]
    return "; ".join(differing[:3]) or "another network class"
