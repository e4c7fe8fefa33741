"""nnU-Net's postprocessing functions for the steps of a postprocessing.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...nnunet.postprocessing import Step


def functions(steps: Sequence[Step]) -> tuple[list[Any], list[dict[str, Any]]]:
    """What nnU-Net keeps in postprocessing.pkl: the functions and their arguments."""
    from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

    arguments = [{"labels_or_regions": step if isinstance(step, int) else list(step)} for step in steps]
    return [remove_all_but_largest_component_from_segmentation] * len(steps), arguments


def apply(steps: Sequence[Step], source: Path, target: Path, model: Path) -> None:
    """As nnUNetv2_apply_postprocessing from one folder into another, with the model's plans and dataset.json."""
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing_to_folder

    described = (str(model / "plans.json"), str(model / "dataset.json"))
    apply_postprocessing_to_folder(str(source), str(target), *functions(steps), *described, default_num_processes)
