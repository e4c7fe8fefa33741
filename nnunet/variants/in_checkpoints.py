"""What a checkpoint says of itself: the class of its trainer, and whether a training can go on from it.

Its pickle is searched for two keys and never unpickled, so nothing in it is run. PyTorch writes it first, before the
tensors, so the beginning of the file is enough; a checkpoint inside a zip is read as it is unpacked.
"""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ...files import open_plain
from ..models import Model

# The key that exports add where they leave out the state of the optimizer; nnU-Net does not read it.
WITHOUT_OPTIMIZER = "nnunet_mcp_without_optimizer"
NUMBERED = rb"(?:q.|r.{4})"  # how a pickle numbers a text, behind it


def pickled(text: bytes) -> bytes:
    """A text as PyTorch pickles it (protocol 2): opcode, length, characters."""
    return b"X" + struct.pack("<I", len(text)) + text


# nnU-Net has the trainer's key behind everything that is long (nnunetv2 2.8.1, nnUNetTrainer.py:1213).
KEY = re.compile(pickled(b"trainer_name") + NUMBERED + rb"X(.{4})", re.DOTALL)
NAME = re.compile(rb"[A-Za-z_]\w{0,119}")
# The numbers of a hundred classes over a thousand epochs take 5 MB, the names of a thousand tensors less than one.
PICKLE_BYTES = 16 << 20


@dataclass(frozen=True)
class Said:
    """The trainer's class, "" where the file does not say it; and whether a training can go on, which only our exports
    deny."""

    trainer: str = ""
    resumable: bool = True


def said_in(stream: IO[bytes]) -> Said:
    """What a checkpoint says; a file that is none says nothing."""
    return _said(stream.read(PICKLE_BYTES))


def _said(content: bytes) -> Said:
    found = [name for key in KEY.finditer(content) if (name := _name_behind(content, key))]
    return Said(found[-1] if found else "", WITHOUT_OPTIMIZER.encode() not in content)


def _name_behind(content: bytes, key: re.Match[bytes]) -> str:
    """The text of the length that is said, if it is a name and a number follows, whose bytes may look like letters."""
    end = key.end() + struct.unpack("<I", key[1])[0]
    name = NAME.fullmatch(content, key.end(), end)
    return name[0].decode() if name and content[end : end + 1] in (b"q", b"r") else ""


def said_at(path: Path) -> Said:
    """As `said_in`, for a file; one that cannot be read says nothing."""
    return _said(pickle_at(path))


def pickle_at(path: Path) -> bytes:
    """The beginning of a checkpoint, with its pickle; empty where it cannot be read."""
    with suppress(OSError), open_plain(path) as stream:
        return stream.read(PICKLE_BYTES)
    return b""


def trainer_of(model: Model) -> str:
    """The class that nnU-Net asks for the model's network: the one in the checkpoint of its first fold, which an export
    may have changed for one that everybody has, else the one in the folder's name."""
    return said_at(model.fold(model.folds[0]).final).trainer or model.name.trainer
