"""Give a dataset the plans of another model, so that its weights fit, or plans that adapt a pretrained encoder."""

import json
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ...calls import argument
from ...files import write_text
from ...nnunet.datasets import DEFAULT_PLANS, DatasetFiles
from ...nnunet.preprocessed import FULLRES
from ...nnunet.safe_plans import judged_plans, read_dataset_json, read_plans
from .. import nnunet_seam
from ..nnunet_seam import LIKE_NNSSL, PLANNING
from ..self_supervised import Pretrained, refuse_misfit
from ..stage import StageFailure
from ..weights import read_checkpoint
from .planning import plans_unwritten

NAMES_OF_DATASETS = f"{PLANNING}.plans_for_pretraining.move_plans_between_datasets:maybe_convert_to_dataset_name"


def move_plans(source: Path, target: DatasetFiles, plans_name: str) -> None:
    """Write the source's plans for the target dataset under `plans_name`, by nnU-Net's own function.

    Raises:
        StageFailure: the source has no plans.
        Refused: they are none that nnU-Net may have.
    """
    from nnunetv2.experiment_planning.plans_for_pretraining import move_plans_between_datasets as module

    plans = _plans_in(source)
    original = str(plans["plans_name"])
    # The function looks names up in nnUNet_preprocessed; given an absolute folder it uses that instead.
    nnunet_seam.replace(NAMES_OF_DATASETS, lambda original: lambda name: name)
    copy_dataset_json(target)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{original}.json").write_text(json.dumps(plans), encoding="utf-8")
        module.move_plans_between_datasets(folder, target.name, original, plans_name)


class _Made(Exception):
    """Carries plans out of the function that goes on to preprocess with them."""


def adapt_plans(found: Pretrained, source: Path, target: DatasetFiles, plans_name: str) -> str:
    """Write plans for a checkpoint of nnssl under `plans_name`, as nnUNetv2_preprocess_like_nnssl makes them of
    nnUNetPlans. Returns what they are.

    Raises:
        StageFailure: the dataset has no 3d_fullres, or the checkpoint does not fit.
        Refused: the plans would be none that nnU-Net may have.
    """
    base = plans_unwritten(target.name, "ExperimentPlanner")
    if FULLRES not in base["configurations"]:
        raise StageFailure(
            f"nnU-Net plans no {FULLRES} for {target.name}, and checkpoints of nnssl are adapted to no other",
            ", ".join(base["configurations"]),
            f"Leave {argument(pretrained_weights=None)} out.",
        )
    plans = judged_plans(_as_nnunet_adapts(found, base, target.name), f"the plans for {source.name}")
    plans["plans_name"], plans["pretrain_info"]["checkpoint_path"] = plans_name, str(source)
    configuration = plans["configurations"][FULLRES]
    description = read_dataset_json(target.raw / "dataset.json") or {}
    channels = len(description.get("channel_names") or description["modality"])
    refuse_misfit(found, configuration, channels)
    write_text(target.plans_file(plans_name), json.dumps(plans, indent=4))
    return (
        f"{plans_name} is for {found.name}: {configuration['architecture']['network_class_name']}, patch "
        f"{configuration['patch_size']}, spacing {configuration['spacing']}, batch {configuration['batch_size']}, "
        f"{channels} channels (pretrained with {found.plan['pretrain_num_input_channels']}, patch {found.patch})."
    )


def _as_nnunet_adapts(found: Pretrained, base: dict[str, Any], dataset_name: str) -> dict[str, Any]:
    """nnU-Net's function reads a checkpoint and nnUNetPlans, and gets both in a folder that is removed."""
    from nnunetv2.experiment_planning.like_nnssl import preprocess_like_nnssl

    def stop(plans: dict[str, Any], *_: Any, **__: Any) -> None:
        raise _Made(plans)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / dataset_name).mkdir()
        write_text(folder / dataset_name / f"{DEFAULT_PLANS}.json", json.dumps(base))
        ours = {"nnUNet_preprocessed": str(folder), "convert_id_to_dataset_name": lambda _: dataset_name}
        for name, own in (ours | {"save_json": stop}).items():
            stack.enter_context(nnunet_seam.replaced(f"{LIKE_NNSSL}:{name}", partial(_instead, own)))
        file = stack.enter_context(found.as_plain_file())
        try:
            preprocess_like_nnssl(0, found.name, file, "like_pretrained", None, num_processes=1, verbose=False)
        except _Made as made:
            return dict(*made.args)
    raise StageFailure("nnU-Net made no plans for the checkpoint", found.name, "Report it; nothing was preprocessed.")


def _instead(own: Any, original: Any) -> Any:
    return own


def _plans_in(source: Path) -> dict[str, Any]:
    plans = read_plans(source) if source.suffix == ".json" else _plans_of_checkpoint(source)
    if plans is None or "plans_name" not in plans:
        raise StageFailure(
            "the pretrained model has no plans",
            str(source),
            f"Keep plans.json beside the fold folder of the checkpoint, or name a {argument(plans_identifier=None)}.",
        )
    return plans


def _plans_of_checkpoint(path: Path) -> dict[str, Any] | None:
    given = read_checkpoint(path).get("init_args")
    plans = given.get("plans") if isinstance(given, dict) else None
    return None if plans is None else judged_plans(plans, f"the plans in {path.name}")


def copy_dataset_json(target: DatasetFiles) -> None:
    """Copy dataset.json, as planning would have done; preprocessing reads the copy (default_preprocessor.py:364)."""
    description = read_dataset_json(target.raw / "dataset.json")
    write_text(target.preprocessed / "dataset.json", json.dumps(description, indent=4))
