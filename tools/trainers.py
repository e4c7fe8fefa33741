"""Which trainers, planners and plans exist, found by reading nnU-Net's source files, not by importing them."""

import difflib
import importlib.util
import os
import re
from functools import lru_cache
from pathlib import Path

from ..runs.datasets import DatasetFiles
from ..runs.errors import NotFound, Unavailable

CLASS = re.compile(r"^class\s+(\w+)\s*[(:]", re.MULTILINE)

# nnunetv2 2.8.1, experiment_planning/experiment_planners: the plans identifier each planner writes.
PLANNERS = {
    "nnUNetPlans": "ExperimentPlanner",
    "nnUNetResEncUNetPlans": "ResEncUNetPlanner",
    "nnUNetResEncUNetMPlans": "nnUNetPlannerResEncM",
    "nnUNetResEncUNetLPlans": "nnUNetPlannerResEncL",
    "nnUNetResEncUNetXLPlans": "nnUNetPlannerResEncXL",
}


@lru_cache(maxsize=1)
def nnunet_folder() -> Path:
    """Where nnU-Net is installed.

    Raises:
        Unavailable: it is not.
    """
    spec = importlib.util.find_spec("nnunetv2")
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable("nnU-Net is not installed: pip install nnunetv2")
    return Path(next(iter(spec.submodule_search_locations)))


def known_trainers() -> list[str]:
    """Names of nnU-Net's trainer classes and of those in the folders of nnUNet_extTrainer."""
    own = nnunet_folder() / "training" / "nnUNetTrainer"
    listed = os.environ.get("nnUNet_extTrainer", "")  # noqa: SIM112 - nnU-Net's own spelling
    extra = [Path(part) for part in listed.split(os.pathsep) if part]
    return sorted({name for root in (own, *extra) for name in _classes(root)})


def _classes(root: Path) -> list[str]:
    files = sorted(root.rglob("*.py"))
    return [name for path in files for name in CLASS.findall(path.read_text(encoding="utf-8", errors="replace"))]


def check_trainer(name: str) -> None:
    """Refuse a trainer that nnU-Net would not find.

    Raises:
        NotFound: with the names that come close.
    """
    known = known_trainers()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"Did you mean {', '.join(near)}?" if near else "nnUNetTrainer is the default."
    raise NotFound(f"There is no trainer {name!r}. {hint} Trainers of your own go into a folder in nnUNet_extTrainer.")


def planner_for(files: DatasetFiles, plans: str) -> str | None:
    """The planner that makes these plans, or None where existing plans of the user's own are meant.

    Raises:
        NotFound: neither a preset nor existing plans.
    """
    if plans in PLANNERS:
        return PLANNERS[plans]
    if files.plans_file(plans).is_file():
        return None
    own = sorted(p.stem for p in files.preprocessed.glob("*.json") if '"plans_name"' in p.read_text(encoding="utf-8"))
    others = f"; {files.name} has {', '.join(own)}" if own else ""
    raise NotFound(f"There are no plans {plans!r}. Presets: {', '.join(PLANNERS)}{others}.")
