"""What nnU-Net would plan for images of known shapes: its own planners, before anything is preprocessed.

Networks are built on PyTorch's meta device, where they take no memory: nnU-Net only counts their feature maps, and
finding a 3d_lowres takes seconds instead of a minute.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from ...ask import answer
from ...errors import Refused
from ...files import read_model
from ...schemas.preflight import ConfigurationAhead, LookedAt, PlansAhead, PlansAheadJob
from .estimate import planned_gb


def plan_ahead(job: PlansAheadJob) -> PlansAhead:
    """The configurations of each preset, planned in a folder that is removed."""
    import torch

    images = read_model(Path(job.images_file), LookedAt)
    Path(job.images_file).unlink(missing_ok=True)
    if images is None:
        raise Refused(f"{job.images_file} is not there.")
    with tempfile.TemporaryDirectory() as folder, torch.device("meta"):
        _lay_out(images, Path(folder))
        return PlansAhead(plans={name: _plan(images, planner) for name, planner in job.planners.items()})


def _lay_out(images: LookedAt, folder: Path) -> None:
    """The two files that a planner reads (nnunetv2 2.8.1, default_experiment_planner.py:40-48)."""
    places = {f"nnUNet_{name}": folder / name for name in ("raw", "preprocessed", "results")}
    os.environ.update({name: str(place) for name, place in places.items()})
    for place in places.values():
        (place / images.dataset_name).mkdir(parents=True)
    fingerprint = {
        "spacings": images.spacings,
        "shapes_after_crop": images.shapes,
        "median_relative_size_after_cropping": images.relative_size,
        "foreground_intensity_properties_per_channel": {},  # only copied into the plans
    }
    description = {**images.description, "dataset": {}}
    for name, file, content in (
        ("raw", "dataset.json", description),
        ("preprocessed", "dataset_fingerprint.json", fingerprint),
    ):
        (folder / name / images.dataset_name / file).write_text(json.dumps(content), encoding="utf-8")


def _plan(images: LookedAt, planner: str) -> dict[str, ConfigurationAhead]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(_without_files(planner)(images.dataset_name).plan_experiment())
    return {name: _described(plans, name, images) for name in plans.plans["configurations"]}


def _without_files(planner: str) -> Any:
    """The planner, but it opens no image to choose a reader, and writes nothing."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    root = f"{nnunetv2.__path__[0]}/experiment_planning"
    found = recursive_find_python_class(root, planner, current_module="nnunetv2.experiment_planning")
    return type(planner, (found,), {"determine_reader_writer": lambda self: object, "save_plans": lambda *_: None})


def _described(plans: Any, name: str, images: LookedAt) -> ConfigurationAhead:
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    found = plans.get_configuration(name)
    network = get_network_from_plans(
        found.network_arch_class_name,
        found.network_arch_init_kwargs,
        found.network_arch_init_kwargs_req_import,
        determine_num_input_channels(plans, found, images.description),
        plans.get_label_manager(images.description).num_segmentation_heads,
        allow_init=False,
    )
    patch, batch = tuple(int(length) for length in found.patch_size), int(found.batch_size)
    return ConfigurationAhead(
        patch_size=patch,
        batch_size=batch,
        median_shape=tuple(float(length) for length in found.median_image_size_in_voxels),
        spacing=tuple(float(length) for length in found.spacing),
        parameters=sum(part.numel() for part in network.parameters()),
        gpu_memory_gb=round(planned_gb(network, patch, batch), 2),
    )


if __name__ == "__main__":

    def work(job: PlansAheadJob, say: object) -> PlansAhead:
        signal.alarm(job.limit_s)
        return plan_ahead(job)

    sys.exit(answer(PlansAheadJob, work))
