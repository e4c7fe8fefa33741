"""Who is to be told: the addresses of NNUNET_MCP_NOTIFY and the trackers of NNUNET_MCP_TRACK, and what is wrong there.

The addresses hold passwords. No text that leaves this module shows more of one than its kind, such as "mailto".
"""

import re
import stat
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr

from ...errors import RunError
from ...files import read_plain
from ...runs.layout import TARGETS
from ...schemas.system import Check
from ...settings import Settings, absolute

# Blanks and commas may be part of an address, or of a folder's name.
NEXT_ADDRESS = re.compile(r"[\s,]+(?=[a-z][\w+.-]*://)", re.IGNORECASE)
NEXT_TRACKER = re.compile(r"\s*,\s*(?=\w+(?::|,|\s*$))")
KIND = re.compile(r"[a-z][\w+.-]{0,30}(?=://)", re.IGNORECASE)
FILE_BYTES = 1 << 16
SEEN_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH
OF_ADDRESSES = "Write addresses with :// or the path of a file that has them."
OF_WANDB = "W&B is nnU-Net's own: set nnUNet_wandb_enabled=1, and nnUNet_wandb_mode=offline to send nothing."


class Untellable(Exception):
    """Something could not be told; the text says why, without addresses."""


def addresses(settings: Settings) -> list[str]:
    """The addresses that are to hear of runs.

    Raises:
        OSError: their file cannot be read.
    """
    given = _text(settings.notify)
    if given and "://" not in given:
        lines = read_plain(absolute(Path(given)), most=FILE_BYTES).decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [part for part in NEXT_ADDRESS.split(given) if part]


def kind(address: str) -> str:
    """All that may be said of an address."""
    found = KIND.match(address)
    return found[0].lower() if found else "an address without ://"


def trackers(settings: Settings) -> dict[str, str]:
    """The known trackers, each with its folder or address; empty for its default folder."""
    return {name: where for name, where in _named(settings) if name in TARGETS[1:]}


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    for part in NEXT_TRACKER.split(_text(settings.track)):
        name, _, where = part.strip().partition(":")
        if name:
            yield name, where.strip()


def handed_over(settings: Settings, target: str) -> dict[str, str]:
    """The variable that tells a follower, which works in another folder, of its target.

    Raises:
        Unavailable: ~ is nobody's home here.
    """
    if target == "notify":
        return {"NNUNET_MCP_NOTIFY": _anywhere(_text(settings.notify))}
    return {"NNUNET_MCP_TRACK": f"{target}:{_anywhere(trackers(settings)[target])}"}


def _anywhere(given: str) -> str:
    return str(absolute(Path(given))) if given and "://" not in given else given


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value().strip() if secret is not None else ""


def target_checks(settings: Settings) -> Iterator[Check]:
    """What keeps others from being told, in words without addresses; runs do not depend on it."""
    if settings.notify is not None:
        yield _notify_check(settings)
    for name, _ in _named(settings):
        yield _tracker_check(name)


def _notify_check(settings: Settings) -> Check:
    name = "notifications"
    try:
        kinds = [kind(address) for address in addresses(settings)]
    except (OSError, RunError) as error:
        reason = getattr(error, "strerror", None) or "no plain file"
        why = f"NNUNET_MCP_NOTIFY names a file that cannot be read ({reason})."
        return Check(name=name, level="warning", detail=why, fix=OF_ADDRESSES)
    if not kinds:
        return Check(name=name, level="warning", detail="NNUNET_MCP_NOTIFY has no address.", fix=OF_ADDRESSES)
    if find_spec("apprise") is None:
        return Check(name=name, level="warning", detail=lacking("apprise"), fix=fix_of("apprise"))
    if _is_open_to_others(settings):
        why = "Others can read the file that NNUNET_MCP_NOTIFY names, and the passwords in it."
        return Check(name=name, level="warning", detail=why, fix="chmod 600 it.")
    said = f"{len(kinds)} of kind {', '.join(dict.fromkeys(kinds))}; `nnunet-mcp notify` sends a test message"
    return Check(name=name, level="ok", detail=said)


def _is_open_to_others(settings: Settings) -> bool:
    given = _text(settings.notify)
    return "://" not in given and bool(absolute(Path(given)).stat().st_mode & SEEN_BY_OTHERS)


def _tracker_check(name: str) -> Check:
    if name not in TARGETS[1:]:
        fix = f"Known are {' and '.join(TARGETS[1:])}. {OF_WANDB}"
        return Check(name="tracker", level="warning", detail="NNUNET_MCP_TRACK names one that is none.", fix=fix)
    if find_spec(name) is None:
        return Check(name=f"tracker {name}", level="warning", detail=lacking(name), fix=fix_of(name))
    return Check(name=f"tracker {name}", level="ok", detail="gets every training")


def lacking(package: str) -> str:
    """That nothing can be told without a package."""
    return f"{package} is not installed beside the server, so nothing is told."


def fix_of(package: str) -> str:
    """How it is installed."""
    return f"{sys.executable} -m pip install {package}"
