"""What nnU-Net will plan for a dataset that is not preprocessed yet, from what a look found in its images."""

import hashlib
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import Any

from ...ask import NoAnswer
from ...calls import argument, call
from ...errors import Refused, RunError
from ...files import make_folder, write_model
from ...nnunet.dataset_json import Description, read_description
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.installed import installed
from ...nnunet.preprocessed import CASCADE, FULLRES, LOWRES
from ...nnunet.trainers import PLANNERS
from ...runs.layout import StateDir
from ...schemas.datasets import CaseLook
from ...schemas.preflight import ConfigurationAhead, LookedAt, PlannersAhead, PlansAhead, PlansAheadJob
from ...settings import Settings
from ..data.looks import Looks, look_into
from .kept_asks import kept_answer, kept_ask

PLANNER = "nnunet_mcp.worker.asks.plans_ahead"
PRESETS = PlannersAhead(planners=PLANNERS)
LOOK_S = 12.0
SUPERSEDED = "nnUNetResEncUNetPlans"  # by the three of nnU-Net Revisited; whoever asks for it gets it checked
# An idle machine needs 5 s for small images, 15 s where five presets look for a 3d_lowres; what takes longer goes on.
WAIT_S = 12.0
# nnunetv2 2.8.1, default_experiment_planner.py:96 and 470: a 3d_lowres is planned where a 3d_fullres patch has less
# than this share of the median image's voxels, and kept where it halves them.
LOWRES_BELOW = 0.25
LOWRES_HALVES = 2


@dataclass(frozen=True)
class Ahead:
    """What is known of a dataset's plans before there are any."""

    plans: PlansAhead | None = None
    missing: str = ""  # what has to be done first, as a sentence


def look_ahead(dataset_id: int, asked: PlannersAhead, settings: Settings, *, look: bool) -> Ahead:
    """Ask nnU-Net's planners. With `look` the images are looked at for a moment if they have not been; without, nothing
    is waited for unless some images may be single slices.

    Raises:
        NotFound, Refused: there is no such dataset, or its dataset.json cannot be read.
    """
    files = find_dataset(settings.folders, dataset_id)
    description = read_description(files.raw)
    looks = look_into(files, description, settings, budget_s=LOOK_S if look else 0.0)
    images = looked_at(files, description, looks)
    if images is None:
        return Ahead(None, _missing(dataset_id, looks, images))
    flat = any(1 in shape for shape in images.shapes)
    found = plans_ahead(images, asked, settings, wait_s=WAIT_S if look or flat else 0.0)
    return Ahead(found, "" if found else _missing(dataset_id, looks, images))


def _missing(dataset_id: int, looks: Looks, images: LookedAt | None) -> str:
    again = call("nnunet_datasets", dataset_id=dataset_id)
    if len(looks.found) < looks.wanted:
        return f"{len(looks.found)} of {looks.wanted} cases are looked at; {again} looks at the others."
    if images is None:
        return f"some files could not be read; {again} names them."
    return f"nnU-Net's planner has not answered; {again} says what it plans in a minute."


def plans_ahead(images: LookedAt, asked: PlannersAhead, settings: Settings, *, wait_s: float) -> PlansAhead | None:
    """Per planner the configurations that nnU-Net will plan, or None where that is not known (yet).

    The answer is kept. A process that takes longer than `wait_s` goes on by itself; with 0 none is started.
    """
    state, python = StateDir.of(settings), settings.nnunet_python
    with suppress(NoAnswer, RunError, OSError):  # no nnU-Net there, or data that its planner does not take
        text = f"{images.model_dump_json()} {asked.model_dump_json()} {python} {installed(python).versions}"
        digest = f"plans-{hashlib.sha256(text.encode()).hexdigest()[:18]}"
        found = kept_answer(state, digest, PlansAhead, newer_than=0.0)
        return found or (_ask(images, asked, state, python, digest, wait_s) if wait_s > 0 else None)
    return None


def _ask(
    images: LookedAt, asked: PlannersAhead, state: StateDir, python: str, digest: str, wait_s: float
) -> PlansAhead:
    file = state.path / "estimates" / f"{digest}.images.json"
    make_folder(file.parent)
    write_model(file, images, durable=False)
    job = PlansAheadJob(images_file=str(file), **dict(asked))
    one_thread = {"OMP_NUM_THREADS": "1"}
    return kept_ask(state, digest, (python, PLANNER), job, PlansAhead, wait_s=wait_s, variables=one_thread)


def looked_at(files: DatasetFiles, description: Description, looks: Looks) -> LookedAt | None:
    """The images as nnU-Net's fingerprint would have them; None where not all of them are known."""
    cases = [looks.found[name] for name in sorted(looks.found)]
    cropped = [_cropped(case) for case in cases]
    if not cases or not looks.complete or not all(cropped):
        return None
    left = [math.prod(shape) / math.prod(case.images[0].shape) for shape, case in zip(cropped, cases, strict=True)]
    return LookedAt(
        dataset_name=files.name,
        description=_in_short(description, len(cases)),
        shapes=tuple(cropped),
        spacings=tuple(case.images[0].spacing for case in cases),
        relative_size=median(left),
    )


def _in_short(description: Description, cases: int) -> dict[str, Any]:
    """What planners read of dataset.json. Of the names only those of two labels have a meaning for patch and batch."""
    content, labels = description.content, description.labels.items()
    named = {name if name in ("background", "ignore") else str(n): value for n, (name, value) in enumerate(labels)}
    found = {name: held for name, held in content.items() if name in ("numTraining", "regions_class_order")}
    channels = {str(number): "image" for number in range(len(description.channels))}
    return {"numTraining": cases, **found, "channel_names": channels, "labels": named}


def _cropped(case: CaseLook) -> tuple[int, ...]:
    """The shape of the box around what is zero in no channel alone; empty where a file could not be read."""
    sound = case.images and all(len(image.box) == len(image.spacing) == 3 for image in case.images)
    if not sound or min(case.images[0].spacing) <= 0:
        return ()
    ends = zip(*(image.box for image in case.images), strict=True)
    return tuple(max(last for _, last in axis) - min(start for start, _ in axis) for axis in ends)


def refuse_left_out(name: str, plans: str, wanted: str, ahead: PlansAhead) -> None:
    """Refuse a configuration that nnU-Net will not plan.

    Raises:
        Refused: with the figures that decide it, and what to use instead.
    """
    found = ahead.plans.get(plans)
    if found is None or wanted in found or wanted not in (LOWRES, CASCADE, FULLRES):
        return
    full = found.get(FULLRES)
    if full is None:
        raise Refused(
            f"The images of {name} are single slices, {_by(found['2d'].median_shape)} pixels in the median, so nnU-Net "
            f"plans no {wanted} for them. Use {argument(configuration='2d')}."
        )
    others = [other for other, planned in ahead.plans.items() if wanted in planned]
    instead = f"; or {argument(plans_identifier=others[0])}, which has one" if others else ""
    raise Refused(
        f"nnU-Net will plan no {wanted} for {name}: {_why_no_lowres(full)}. Use "
        f"{argument(configuration=FULLRES)}{instead}."
    )


def _why_no_lowres(full: ConfigurationAhead) -> str:
    share = math.prod(full.patch_size) / math.prod(full.median_shape)
    sizes = f"{_by(full.patch_size)} of {_by(full.median_shape)}"
    images = f"a 3d_fullres patch has {min(share, 1):.0%} of the median image's voxels, {sizes}"
    if share >= LOWRES_BELOW:
        return f"{images}, and a 3d_lowres is for less than {LOWRES_BELOW:.0%}"
    return f"{images}, and a 3d_lowres would not have {LOWRES_HALVES} times fewer voxels"


def in_words(ahead: PlansAhead) -> dict[str, str]:
    """Per preset its configurations in few words; a preset that plans the same as another one refers to it."""
    said: dict[str, str] = {}
    for plans, found in ahead.plans.items():
        if plans == SUPERSEDED:
            continue
        text = "; ".join(_configuration(name, planned) for name, planned in found.items())
        same = next((other for other, words in said.items() if words == text), None)
        said[plans] = f"as {same}" if same else text
    return said


def _configuration(name: str, planned: ConfigurationAhead) -> str:
    if name == CASCADE:
        return name
    image = f" of {_by(planned.median_shape)}" if name == FULLRES else ""
    return f"{name} {_by(planned.patch_size)}{image}, batch {planned.batch_size}, {planned.gpu_memory_gb:.1f} GB"


def _by(lengths: Sequence[float]) -> str:
    return "×".join(f"{round(length, 1):g}" for length in lengths)
