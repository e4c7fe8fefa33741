"""Transfer learning: which plans a training needs so that the pretrained weights fit its network.

The weights fit only the architecture they were trained with. Where the target's own plans differ, the target
gets the source's plans, moved as nnU-Net does it (nnUNetv2_move_plans_between_datasets), under a name of
their own, so that models trained before are not touched.
"""

import hashlib
import shlex
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..calls import argument
from ..errors import Refused
from ..files import DESCRIPTION_BYTES, open_plain, read_json
from ..schemas.training import TrainingRequest
from .datasets import DEFAULT_PLANS, DatasetFiles
from .installed import TRAINS_ON_NNSSL, installed
from .preprocessed import planned
from .safe_plans import read_plans

# The key that nnssl adds to its checkpoints, as pickle writes a text: opcode, length, characters.
KEY = b"nnssl_adaptation_plan"
NNSSL = b"X" + struct.pack("<I", len(KEY)) + KEY
PICKLE_BYTES = 16 << 20  # that of a checkpoint with a thousand tensors takes less than one MB


@dataclass(frozen=True)
class Transfer:
    """The plans to use; `source` is a plans.json or a checkpoint that contains the plans."""

    plans_identifier: str
    source: str
    note: str


def plan_transfer(request: TrainingRequest, weights: Path, files: DatasetFiles, python: str) -> Transfer | None:
    """How to move the plans to go with pretrained weights, or None where the target's own fit or were asked for.

    Raises:
        Refused: the pretrained model cannot fit this dataset and configuration.
    """
    _refuse_self_supervised(request, weights, python)
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


def _refuse_self_supervised(request: TrainingRequest, weights: Path, python: str) -> None:
    """Refuse a checkpoint of nnssl, whose encoder has to be adapted first. Nothing in the file is unpickled.

    Source: documentation/finetuning_from_nnssl_checkpoints.md of nnU-Net's main branch, July 2026.

    Raises:
        Refused: it is one; the message has the commands that train with it.
    """
    if not _is_of_nnssl(weights):
        return
    way = (
        f"{TRAINS_ON_NNSSL} of the installed nnU-Net does that; it is not run from here. In a terminal:"
        if installed(python).adapts_nnssl
        else f"{TRAINS_ON_NNSSL} does that: nnU-Net's main branch has it since July 2026, PyPI's 2.8.1 has not. In a "
        "terminal, in an environment of its own (pip install git+https://github.com/MIC-DKFZ/nnUNet):"
    )
    fold = {"all": "0", "full": "all"}.get(request.fold, request.fold)
    raise Refused(
        f"{weights.name} is a checkpoint of nnssl (self-supervised, as those of OpenMind): only its encoder is "
        f"of use, once it is adapted to the network. {way}\n"
        f"nnUNetv2_preprocess_like_nnssl -d {request.dataset_id} -n PRETRAINED -pc {shlex.quote(str(weights))} "
        "-am like_pretrained\n"
        f"{TRAINS_ON_NNSSL} {request.dataset_id} 3d_fullres {fold} -tr PretrainedTrainer -p ptPlans__PRETRAINED...\n"
        "The first command names the plans; for Primus it is -tr PretrainedTrainer_Primusx. Such a training is then "
        f"seen among the runs. Or leave {argument(pretrained_weights=None)} out, and train from scratch."
    )


def _is_of_nnssl(weights: Path) -> bool:
    """Whether the pickle of a checkpoint has nnssl's key. PyTorch writes it first, before the tensors."""
    with suppress(OSError), open_plain(weights) as stream:
        return NNSSL in stream.read(PICKLE_BYTES)
    return False


def _plans_beside(weights: Path) -> Path | None:
    """plans.json of the model folder: nnU-Net keeps checkpoints in <model>/fold_X/."""
    candidates = (weights.parent.parent / "plans.json", weights.parent / "plans.json")
    return next((path for path in candidates if path.is_file()), None)


def _from_checkpoint(weights: Path) -> Transfer:
    digest = hashlib.sha256(f"{weights}{weights.stat().st_size}{weights.stat().st_mtime_ns}".encode()).hexdigest()[:8]
    identifier = f"nnUNetPlans_from_{digest}"
    return Transfer(
        identifier,
        str(weights),
        f"{argument(pretrained_weights=None)}: planned with the architecture stored in {weights.name}, plans "
        f"identifier {identifier}.",
    )


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
