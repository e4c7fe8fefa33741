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
from ..steps.planning import planner_class, planner_with
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
        return PlansAhead(plans={name: _plan(images, job, name) for name in job.planners})


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


def _plan(images: LookedAt, job: PlansAheadJob, name: str) -> dict[str, ConfigurationAhead]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    planner = planner_with(job.changes, _without_files(job.planners[name]), job.base)
    plans = PlansManager(planner(images.dataset_name, plans_name=name).plan_experiment())
    return {name: _described(plans, name, images) for name in plans.plans["configurations"]}


def _without_files(planner: str) -> Any:
    """The planner, but it opens no image to choose a reader, and writes nothing."""
    return type(
        planner,
        (planner_class(planner),),
        {"determine_reader_writer": lambda self: object, "save_plans": lambda *_: None},
    )


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
