"""What a checkpoint says of itself: the class of its trainer, and whether a training can go on from it.

Its pickle is read opcode by opcode and never unpickled, so nothing in it is run. PyTorch writes it first, before the
tensors, so the beginning of the file is enough; a checkpoint inside a zip is read as it is unpacked.
"""

import pickletools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from ...files import open_plain
from ..models import Model

# The key that exports add where they leave out the state of the optimizer; nnU-Net does not read it.
WITHOUT_OPTIMIZER = "nnunet_mcp_without_optimizer"
TRAINER = "trainer_name"
NAME = re.compile(r"[A-Za-z_]\w{0,119}")
# That of a checkpoint with a thousand tensors and as many epochs takes less than one MB and 100,000 opcodes.
PICKLE_BYTES, MOST_OPCODES = 16 << 20, 500_000
# A zip's local header: the lengths of the name and of the extra field end it.
HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class Said:
    """The trainer's class, "" where the file does not say it; and whether a training can go on, which only our exports
    deny."""

    trainer: str = ""
    resumable: bool = True


def said_in(stream: IO[bytes]) -> Said:
    """What a checkpoint says; a file that is none says nothing."""
    trainer, resumable, before = "", True, ""
    for text in _texts(_pickle(stream.read(PICKLE_BYTES))):
        if before == TRAINER and NAME.fullmatch(text):
            trainer = text
        resumable = resumable and text != WITHOUT_OPTIMIZER
        before = text
    return Said(trainer, resumable)


def said_at(path: Path) -> Said:
    """As `said_in`, for a file; one that cannot be read says nothing."""
    try:
        with open_plain(path) as stream:
            return said_in(stream)
    except OSError:
        return Said()


def trainer_of(model: Model) -> str:
    """The class that nnU-Net asks for the model's network: the one in the checkpoint of its first fold, which an export
    may have changed for one that everybody has, else the one in the folder's name."""
    return said_at(model.fold(model.folds[0]).final).trainer or model.name.trainer


def _pickle(content: bytes) -> bytes:
    """The first entry of a zip, with what follows it: a pickle says itself where it ends."""
    if len(content) < HEADER.size:
        return b""
    signature, name, extra = HEADER.unpack_from(content)
    return content[HEADER.size + name + extra :] if signature == b"PK\x03\x04" else b""


def _texts(content: bytes) -> Iterator[str]:
    """The texts of a pickle in their order, also those that it repeats by their number; "" for other values."""
    numbered: dict[int, str] = {}
    last = ""
    for opcode, argument in islice(_opcodes(content), MOST_OPCODES):
        if "PUT" in opcode:
            numbered[argument] = last
        elif opcode == "MEMOIZE":
            numbered[len(numbered)] = last
        else:
            last = numbered.get(argument, "") if "GET" in opcode else argument if "UNICODE" in opcode else ""
            yield last


def _opcodes(content: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for opcode, argument, _ in pickletools.genops(content):
            yield opcode.name, argument
    except ValueError:  # it is no pickle, or goes on beyond what was read
        return
