"""Checkpoints for others: of a trainer that they have, where there is one, and without what only a training reads."""

import io
from pathlib import Path
from typing import IO, Any

from ... import scrub
from ...files import open_plain
from ...nnunet.trainers import classes_in, made_trainer_folder, own_trainers
from ...nnunet.variants.in_checkpoints import WITHOUT_OPTIMIZER
from ..training.checkpoints import OPTIMIZER
from ..weights import checkpoint_in


def checkpoint_for_others(path: Path, model: Path, *, resumable: bool) -> IO[bytes]:
    """A checkpoint of the model folder, open for reading. It is the very file where nothing in it has to be changed.

    Raises:
        StageFailure: it holds more than data, so nobody else should load it.
    """
    # The optimizer's state has a number for each weight with nnU-Net's SGD, two with Adam. Only a training that goes on
    # reads it (nnunetv2 2.8.1, nnUNetTrainer.py:1253); the predictor and a transfer read the weights.
    stream = open_plain(path, inside=[model])
    content = checkpoint_in(stream, path)
    clean = _clean(content, resumable=resumable)
    if clean != {name: content.get(name) for name in clean} or (OPTIMIZER in content and not resumable):
        import torch

        stream.close()
        stream = io.BytesIO()
        kept = {name: value for name, value in content.items() if resumable or name != OPTIMIZER}
        torch.save({**kept, **clean}, stream)
    stream.seek(0)
    return stream


def _clean(content: dict[str, Any], *, resumable: bool) -> dict[str, Any]:
    """The small parts that differ: arguments of the trainer without paths and cases, a class that others have."""
    clean = {
        "init_args": scrub.init_args(dict(content.get("init_args") or {})),
        "trainer_name": known_to_all(content.get("trainer_name")),
    }
    return clean if resumable else {**clean, WITHOUT_OPTIMIZER: True}


def known_to_all(trainer: Any) -> Any:
    """For a trainer that is not nnU-Net's: the class of nnU-Net's that builds the same network, so that it predicts
    where nobody has ours; the trainer itself where there is none. The folder keeps its name."""
    if trainer not in own_trainers() | classes_in(made_trainer_folder()).keys():
        return trainer
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    try:
        found = recursive_find_trainer_class_by_name(trainer)
    except Exception:  # a module of one's own can fail in any way; then the name stays
        return trainer
    own = (one for one in found.__mro__ if one.__module__.startswith("nnunetv2."))
    same = (one for one in own if one.build_network_architecture is found.build_network_architecture)
    return next((one.__name__ for one in same), trainer)
