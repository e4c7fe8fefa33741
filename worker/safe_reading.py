"""What nnU-Net reads from files that anybody may have written: it gets only the checked content.

Source: nnunetv2 2.8.1. PlansManager, the trainer, the predictor, preprocessing and evaluation all use what
batchgenerators' `load_json` returns, so exactly the object that was checked is used. The properties of a preprocessed
case are a pickle that `load_pickle` reads (training/dataloading/nnunet_dataset.py:272 and 335).
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import Refused
from ..files import open_plain, read_plain
from ..nnunet.safe_plans import is_trusted, judged_dataset, judged_plans
from . import nnunet_seam
from .data_only import NotData, unpickled
from .nnunet_seam import FILES

# nnU-Net looks these up by name, so a file that has one of them is used as plans.
KEYS_OF_PLANS = {"configurations", "image_reader_writer", "label_manager", "experiment_planner_used"}


def judge_what_nnunet_reads() -> None:
    """Replace both functions, also in those modules of nnU-Net that are imported already."""
    nnunet_seam.replace_everywhere(f"{FILES}:load_json", lambda original: load_json)
    nnunet_seam.replace_everywhere(f"{FILES}:load_pickle", lambda original: partial(load_pickle, whole=original))


def load_json(file: str) -> Any:
    """As batchgenerators' function, but only for regular files, and checked.

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


def load_pickle(file: str, mode: str = "rb", *, whole: Callable[[str], Any]) -> Any:
    """As batchgenerators' function of this name, but only for numbers, texts, lists and dictionaries of them.

    Raises:
        Refused: the file holds something else.
        OSError: it cannot be read.
    """
    path = Path(file)
    try:
        with open_plain(path) as stream:
            return unpickled(stream)
    except NotData as error:
        if is_trusted(path):
            return whole(file)
        raise Refused(
            f"{path.parent.name}/{path.name} holds more than data: {error}. Remove the folder, and the next training "
            "preprocesses the data anew. Where a preprocessor of your own wrote it, set NNUNET_MCP_TRUST_PLANS=1 where "
            "the server starts."
        ) from None
