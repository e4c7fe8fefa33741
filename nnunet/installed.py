"""Which packages are installed in nnU-Net's Python. They are not imported; another Python is asked in a process."""

import importlib.metadata
import importlib.util
import platform
import re
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from .. import __version__
from ..ask import Failed, NoAnswer, NoJob, answer, ask
from ..errors import Unavailable

DECIDES_A_RESULT = ("nnunetv2", "torch", "numpy")
TRAINS_ON_NNSSL = "nnUNetv2_train_pretrained"
ASK_S = 20.0


class Installed(BaseModel):
    """Versions by package, the folder of nnU-Net, and whether its nnU-Net adapts checkpoints of nnssl."""

    versions: dict[str, str]
    nnunet: Path | None = None
    adapts_nnssl: bool = False


def installed_here() -> Installed:
    """The packages of this Python."""
    versions = {"python": platform.python_version(), "nnunet-mcp": __version__}
    for package in DECIDES_A_RESULT:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if cuda := _cuda_of(_folder("torch")):
        versions["cuda"] = cuda
    # The version does not tell: nnU-Net's main has the command since July 2026, and is 2.8.1 as well.
    commands = importlib.metadata.entry_points(group="console_scripts", name=TRAINS_ON_NNSSL)
    return Installed(versions=versions, nnunet=_folder("nnunetv2"), adapts_nnssl=bool(commands))


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _cuda_of(torch: Path | None) -> str | None:
    """The CUDA version that PyTorch was built for, read from a file of its build; PyTorch's own version need not name
    it."""
    with suppress(OSError):
        text = (torch / "version.py").read_text(encoding="utf-8") if torch else ""
        if found := re.search(r"^cuda\b.*= '([\d.]+)'", text, re.MULTILINE):
            return found[1]
    return None


@lru_cache(maxsize=4)
def installed(python: str) -> Installed:
    """The packages of a Python; a Python other than this one is asked in a process.

    Raises:
        Unavailable: it is no Python, or nnunet-mcp is not installed there.
    """
    if python == sys.executable:
        return installed_here()
    try:
        return ask(python, "nnunet_mcp.nnunet.installed", Installed, timeout_s=ASK_S)
    except Failed as error:
        raise Unavailable(
            f"NNUNET_MCP_WORKER_PYTHON ({python}) cannot run nnunet-mcp ({error.last_line}). Install it there as well: "
            f"{python} -m pip install nnunet-mcp (or the folder of its source)."
        ) from None
    except NoAnswer as error:
        raise Unavailable(f"NNUNET_MCP_WORKER_PYTHON ({python}) cannot be asked what it has: {error}.") from None


if __name__ == "__main__":
    sys.exit(answer(NoJob, lambda job, say: installed_here()))
