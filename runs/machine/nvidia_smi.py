"""nvidia-smi: where it is, what it is asked, and how its output is read.

The output is read whatever the exit code is: with one lost card of eight it fails, but seven lines are right.
"""

import re
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from ...schemas.gpus import FoundGpus, Gpu, GpuProcess
from ...texts import short
from .asking import Answer, NoAnswer

FOLDERS = ("/usr/bin", "/usr/lib/wsl/lib", "/usr/local/nvidia/bin")
COLUMNS = ("index", "uuid", "name", "memory.total", "memory.free", "driver_version")
# Drivers before 450 and 510 do not know these fields, and then refuse the whole query.
NEWER = ("mig.mode.current", "compute_cap")
APPS = ("gpu_uuid", "pid", "process_name", "used_memory")
GB_PER_MIB = 1024**2 / 1e9
WHY_CHARACTERS = 160
NONE = "none is found"
UNDIVIDED = "the GPUs are in MIG mode and have no instances: make some (nvidia-smi mig -cgi), or switch it off"
INSTANCE = re.compile(r"^\s+MIG (?P<name>\S+).*\(UUID: (?P<uuid>MIG-[^)]+)\)")
CARD = re.compile(r"^GPU \d+:.*\(UUID: (?P<uuid>GPU-[^)]+)\)")


def program() -> str | None:
    """The program, even if PATH does not have it: clients start servers with a minimal PATH."""
    return shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=":".join(FOLDERS))


def found_by(ask: Callable[[list[str]], Answer]) -> FoundGpus:
    """The GPUs that nvidia-smi reports.

    Raises:
        NoAnswer: nothing of a GPU; the text is its own.
    """
    path = program()
    if path is None:
        raise NoAnswer("it is not installed")
    for columns in ((*COLUMNS, *NEWER), COLUMNS):
        answer = ask([path, f"--query-gpu={','.join(columns)}", "--format=csv,noheader,nounits"])
        rows = [_cells(line, len(COLUMNS) + len(NEWER)) for line in answer.out.splitlines()]
        if listed := [row for row in rows if row[0].isdigit()]:
            break
    else:
        words = " ".join((answer.out or answer.err).split())
        raise NoAnswer(short(words, WHY_CHARACTERS) or (f"it ends with code {answer.code}" if answer.code else NONE))
    apps = ask([path, f"--query-compute-apps={','.join(APPS)}", "--format=csv,noheader,nounits"])
    gpus = tuple(_gpu(row, apps.out) for row in listed)
    lost = " ".join(" ".join(filter(None, row)) for row in rows if not row[0].isdigit())
    if divided := {row[1] for row in listed if row[6] == "Enabled"}:
        gpus = tuple(_with_instances(gpus, ask([path, "-L"]).out, divided))
        lost = lost or ("" if gpus else UNDIVIDED)
    return FoundGpus(gpus=gpus, source="nvidia-smi", problem=short(lost, WHY_CHARACTERS))


def _cells(line: str, columns: int) -> list[str]:
    """The cells of a line; empty where there are fewer, or where it says [N/A] or [Not Supported]."""
    cells = [part.strip() for part in line.split(",")]
    return [("" if cell.startswith("[") else cell) for cell in cells] + [""] * (columns - len(cells))


def _gpu(row: list[str], apps: str) -> Gpu:
    index, uuid, name, total, free, driver, _, capability = row[:8]
    major, _, minor = capability.partition(".")
    return Gpu(
        index=index,
        uuid=uuid,
        name=name,
        total_gb=_gb(total),
        free_gb=_gb(free),
        capability=(int(major), int(minor)) if major.isdigit() and minor.isdigit() else None,
        driver=driver,
        processes=tuple(_processes(uuid, apps)),
    )


def _gb(mib: str) -> float | None:
    return int(mib) * GB_PER_MIB if mib.isdigit() else None


def _processes(uuid: str, apps: str) -> Iterator[GpuProcess]:
    for line in apps.splitlines():
        on, pid, name, used = _cells(line, len(APPS))[:4]
        if on == uuid and pid.isdigit():
            yield GpuProcess(pid=int(pid), name=name, memory_gb=_gb(used))


def _with_instances(gpus: tuple[Gpu, ...], listing: str, divided: Container[str]) -> Iterator[Gpu]:
    """The MIG instances of a divided card in place of the card: CUDA shows only them."""
    instances: dict[str, list[Gpu]] = {}
    card = next(iter(gpus))
    for line in listing.splitlines():
        if match := CARD.match(line):
            card = next((gpu for gpu in gpus if gpu.uuid == match["uuid"]), card)
        elif match := INSTANCE.match(line):
            part = {"uuid": match["uuid"], "name": f"{card.name} MIG {match['name']}", "card": card.uuid}
            one = card.model_copy(update={**part, "total_gb": None, "free_gb": None, "processes": ()})
            instances.setdefault(card.uuid, []).append(one)
    for gpu in gpus:
        yield from instances.get(gpu.uuid, []) if gpu.uuid in divided else [gpu]


def found_in(driver: Path) -> Iterator[Gpu]:
    """The GPUs that the driver lists in /proc/driver/nvidia, which can be read even while the driver hangs."""
    for number, path in enumerate(sorted(driver.glob("gpus/*/information"))):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if (uuid := told.get("GPU UUID", "")).startswith("GPU-") and "?" not in uuid:
            yield Gpu(index=str(number), uuid=uuid, name=told.get("Model", ""))
