"""Plans as nnU-Net's planner makes them, also with `changes`: its own options, and its own functions for the rest.

What cannot be an option is a subclass of the planner, nnU-Net's way to plan differently (nnunetv2 2.8.1,
documentation/explanation_plans_files.md). Which data a change of patch or batch leaves alone keeps its folder.
"""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...calls import argument
from ...nnunet.preprocessed import LOWRES
from ...nnunet.variants.patches import patch_of
from ...schemas.changes.table import CHANGES, NORMALIZATIONS, told_in_a_name
from .. import nnunet_seam
from ..nnunet_seam import PLANNER, PLANNING
from ..stage import StageFailure

LOADERS = "nnUNet_n_proc_DA"
NO_LIMIT = 999999  # of poolings, as the planner gives it


def make_plans(dataset_name: str, planner: str, plans_name: str, base: str, changes: Mapping[str, str]) -> None:
    """Write the plans of a preset, or plans derived from those of `base`.

    Raises:
        StageFailure: nnU-Net has no such planner.
    """
    _allow_threads()
    planner_with(changes, planner_class(planner), base)(dataset_name, plans_name=plans_name).plan_experiment()


def plans_unwritten(dataset_name: str, planner: str) -> dict[str, Any]:
    """The plans of a planner, in no file."""
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    _allow_threads()
    made = planner_class(planner)(dataset_name)
    nnunet_seam.replace_on(made, f"{PLANNER}.save_plans", lambda method, plans: None)
    plans: dict[str, Any] = made.plan_experiment()
    recursive_fix_for_json_export(plans)
    return plans


def _allow_threads() -> None:
    """No loader processes are good for a training; the planner computes with as many threads."""
    if os.environ.get(LOADERS) == "0":
        os.environ[LOADERS] = "1"


def planner_with(changes: Mapping[str, str], planner: type[Any], base: str) -> Callable[..., Any]:
    """What makes nnU-Net's planner with these changes, as its class makes it without."""
    options: dict[str, Any] = {}
    if "gpu_memory_target" in changes:
        options["gpu_memory_target_in_gb"] = float(changes["gpu_memory_target"])
    if "spacing" in changes:
        options["overwrite_target_spacing"] = [float(part) for part in changes["spacing"].split("x")]
    changed: Callable[..., Any] = _with_changes(planner, base, changes) if changes else planner
    return partial(changed, **options)


def planner_class(name: str) -> type[Any]:
    """nnU-Net's planner of this name.

    Raises:
        StageFailure: there is none.
    """
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    root = f"{nnunetv2.__path__[0]}/experiment_planning"
    found: type[Any] | None = recursive_find_python_class(root, name, current_module=PLANNING)
    if found is None:
        raise StageFailure(f"nnU-Net has no planner {name}", root, f"Choose another {argument(plans_identifier=None)}.")
    return found


def _with_changes(planner: type[Any], base: str, changes: Mapping[str, str]) -> type[Any]:
    """The planner, but for what is to be changed. Every configuration is planned alike, so that the plans do not depend
    on which of them is trained first."""
    of_data = {name: value for name, value in changes.items() if CHANGES[name].changes_data}
    patch = patch_of(changes)

    class Changed(planner):  # type: ignore[misc]
        def generate_data_identifier(self, configuration_name: str) -> str:
            """Presets share the folders of 2d and 3d_fullres where these are alike; 3d_lowres rests on the patch."""
            own = super().generate_data_identifier(configuration_name)
            if configuration_name == LOWRES:
                return str(own)
            stem = own.removesuffix(f"_{configuration_name}")
            stem = base if stem == self.plans_identifier else stem
            return f"{told_in_a_name(stem, of_data)}_{configuration_name}"

        def determine_normalization_scheme_and_whether_mask_is_used_for_norm(self) -> Any:
            """As nnU-Net determines it, from the names of channels."""
            given = self.dataset_json  # type: ignore[has-type]
            self.dataset_json = given | _named_channels(given, changes)
            try:
                return super().determine_normalization_scheme_and_whether_mask_is_used_for_norm()
            finally:
                self.dataset_json = given

        def get_plans_for_configuration(self, spacing: Any, *rest: Any, **more: Any) -> dict[str, Any]:
            plan: dict[str, Any] = super().get_plans_for_configuration(spacing, *rest, **more)
            if len(patch) == len(spacing):
                _replan(self, plan, patch, *rest, **more)
            if "batch_size" in changes:
                plan["batch_size"] = int(changes["batch_size"])
            return plan

        def save_plans(self, plans: dict[str, Any]) -> None:
            super().save_plans(plans | {"experiment_planner_used": planner.__name__})

    return Changed


def _named_channels(description: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    if "normalization" not in changes:
        return {}
    channels = list(description.get("channel_names") or description["modality"])
    schemes = NORMALIZATIONS.each(changes["normalization"], len(channels))
    return {"channel_names": dict(zip(channels, schemes, strict=True))}


def _replan(
    planner: Any,
    plan: dict[str, Any],
    patch: list[int],
    median_shape: Any,
    data_identifier: str,
    approximate_n_voxels_dataset: float,
    _cache: dict[str, float],
) -> None:
    """Network and batch for another patch, as the planner's own loop finds them (2.8.1,
    default_experiment_planner.py:280-400)."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, kernels, fitting, _ = get_pool_and_conv_props(
        plan["spacing"], patch, planner.UNet_featuremap_min_edge_length, NO_LIMIT
    )
    stages, flat = len(strides), len(patch) == 2
    network = plan["architecture"]
    blocks = next(key for key in ("n_blocks_per_stage", "n_conv_per_stage") if key in network["arch_kwargs"])
    most = planner.UNet_max_features_2d if flat else planner.UNet_max_features_3d
    network["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": tuple(min(most, planner.UNet_base_num_features * 2**i) for i in range(stages)),
        "kernel_sizes": kernels,
        "strides": strides,
        blocks: planner.UNet_blocks_per_stage_encoder[:stages],
        "n_conv_per_stage_decoder": planner.UNet_blocks_per_stage_decoder[: stages - 1],
    }
    plan["patch_size"] = fitting
    plan["batch_size"] = _batch(planner, network, [int(side) for side in fitting], approximate_n_voxels_dataset)


def _batch(planner: Any, network: dict[str, Any], patch: list[int], voxels: float) -> int:
    """What fits the GPU memory target and shows at most so much of the dataset at once (lines 360-400)."""
    description = planner.dataset_json
    channels = len(description.get("channel_names") or description["modality"])
    used = planner.static_estimate_VRAM_usage(
        tuple(patch),
        channels,
        len(description["labels"]),
        network["network_class_name"],
        network["arch_kwargs"],
        network["_kw_requires_import"],
    )
    flat = len(patch) == 2
    reference = planner.UNet_reference_val_2d if flat else planner.UNet_reference_val_3d
    usual = planner.UNet_reference_val_corresp_bs_2d if flat else planner.UNet_reference_val_corresp_bs_3d
    fits = round(reference * planner.UNet_vram_target_GB / planner.UNet_reference_val_corresp_GB / used * usual)
    seen = round(voxels * planner.max_dataset_covered / math.prod(patch))
    return int(max(min(fits, seen), planner.UNet_min_batch_size))
