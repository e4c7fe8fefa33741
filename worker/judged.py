"""nnU-Net reads plans and dataset.json through one function. From here on it gets what was judged, and nothing else.

Source: nnunetv2 2.8.1; PlansManager, the trainer, the predictor, preprocessing and evaluation all take what
batchgenerators' `load_json` returns, so the object that is judged is the object that is used.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..runs.files import read_plain
from ..runs.foreign import is_trusted, judged_dataset, judged_plans

# What nnU-Net looks up by name, so a file that has one of them is used as plans.
KEYS_OF_PLANS = {"configurations", "image_reader_writer", "label_manager", "experiment_planner_used"}


def judge_what_nnunet_reads() -> None:
    """Replace the function, also in modules of nnU-Net that have been imported already."""
    from batchgenerators.utilities import file_and_folder_operations

    original = file_and_folder_operations.load_json
    for module in list(sys.modules.values()):
        if vars(module).get("load_json") is original:
            setattr(module, "load_json", load_json)  # noqa: B010 - a module has no such attribute for mypy


def load_json(file: str) -> Any:
    """As batchgenerators' function, for a regular file only.

    Raises:
        Refused: plans or a dataset.json that nnU-Net must not have.
        OSError, ValueError: it cannot be read, or is no JSON.
    """
    path = Path(file)
    content = json.loads(read_plain(path))
    if is_trusted(path):
        return content
    if path.name == "dataset.json":
        return judged_dataset(content, path)
    return judged_plans(content, path) if isinstance(content, dict) and KEYS_OF_PLANS & content.keys() else content
