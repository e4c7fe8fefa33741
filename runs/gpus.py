"""The GPUs of this host as nvidia-smi tells them. Its indices follow the PCI bus, and so must CUDA's in the worker."""

import os
import shutil
import subprocess
from contextlib import suppress
from functools import lru_cache
from itertools import takewhile

from .texts import short

ASK_S = 10
WHY_CHARACTERS = 160
Listed = tuple[tuple[str, str], ...]


class NoAnswer(Exception):
    """nvidia-smi cannot be asked; the text says why."""


def find_gpus(wanted: int | None) -> tuple[list[str], str]:
    """The names that CUDA_VISIBLE_DEVICES takes, and where there are none, why.

    `wanted` replaces what nvidia-smi lists; GPUs that CUDA_VISIBLE_DEVICES hides from the server do not count.
    """
    if wanted is not None:
        return [str(index) for index in range(wanted)], "" if wanted else "NNUNET_MCP_GPUS is 0"
    try:
        listed = _parsed(_ask("--query-gpu=index,uuid"))
    except NoAnswer as error:
        return [], f"nvidia-smi lists no GPU ({error})"
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not listed or shown is None:
        return [index for index, _ in listed], "" if listed else "nvidia-smi lists no GPU (none is found)"
    # As CUDA reads it: the first name that is none hides all that follow, so that -1 or nothing is no GPU.
    names = list(takewhile(lambda name: _exists(name, listed), (name.strip() for name in shown.split(","))))
    return names, "" if names else f"CUDA_VISIBLE_DEVICES={shown!r} shows no GPU"


def _exists(name: str, listed: Listed) -> bool:
    if name.isdigit():
        return any(index == name for index, _ in listed)
    return name.startswith("MIG-") or (name.startswith("GPU-") and any(uuid.startswith(name) for _, uuid in listed))


def uuid_of(name: str) -> str | None:
    """What names this GPU alone in the world, or None where nvidia-smi does not tell."""
    if name.startswith("MIG-"):
        return name
    program = shutil.which("nvidia-smi")
    with suppress(NoAnswer):
        known = _known(program) if program else ()
        return next((uuid for index, uuid in known if uuid and (index == name or uuid.startswith(name))), None)
    return None


@lru_cache(maxsize=4)
def _known(program: str) -> Listed:
    """Does not change while this process lives; an answer that did not come is asked for again."""
    if not (listed := _parsed(_run(program, "--query-gpu=index,uuid"))):
        raise NoAnswer("none is found")
    return listed


def _parsed(listing: str) -> Listed:
    lines = [[part.strip() for part in line.split(",")] for line in listing.splitlines()]
    return tuple((line[0], line[1] if len(line) > 1 else "") for line in lines if line[0].isdigit())


def gpu_processes(name: str) -> str:
    """Compute processes on a GPU, as "pid 1, pid 2"; somebody else's where no stage of ours holds its slot."""
    return ", ".join(f"pid {pid}" for pid in _told("--query-compute-apps=pid", f"--id={name}").split())


def gpu_names() -> list[str]:
    """Model and memory of every GPU."""
    return [" ".join(line.split()) for line in _told("--query-gpu=name,memory.total").splitlines()]


def gpu_memory_gb() -> float | None:
    """Memory of the smallest GPU in GB; null without one."""
    listed = [line for line in _told("--query-gpu=memory.total").split() if line.isdigit()]
    return round(min(map(int, listed)) * 1024**2 / 1e9, 1) if listed else None


def _told(*arguments: str) -> str:
    """The answer; empty where there is none."""
    with suppress(NoAnswer):
        return _ask(*arguments)
    return ""


def _ask(*arguments: str) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        raise NoAnswer("it is not installed")
    return _run(program, *arguments)


def _run(program: str, *arguments: str) -> str:
    command = [program, *arguments, "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"it does not answer within {ASK_S} s") from None
    except OSError as error:
        raise NoAnswer(f"it cannot be started: {error}") from None
    if done.returncode != 0:
        words = " ".join((done.stdout or done.stderr).split()) or f"it ends with code {done.returncode}"
        raise NoAnswer(short(words, WHY_CHARACTERS))
    return done.stdout.strip()
