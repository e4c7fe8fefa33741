"""What is installed where nnU-Net runs, without importing it: `PYTHON -P -m nnunet_mcp.nnunet.installed` prints it."""

import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from .. import __version__
from ..errors import Unavailable
from ..launch import ask_module, said

DECIDES_A_RESULT = ("nnunetv2", "torch", "numpy")
ASK_S = 20.0


class Installed(BaseModel):
    """Versions by package, and the folder of nnU-Net."""

    versions: dict[str, str]
    nnunet: Path | None


def installed_here() -> Installed:
    """What this Python has."""
    versions = {"python": platform.python_version(), "nnunet-mcp": __version__}
    for package in DECIDES_A_RESULT:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if cuda := _cuda_of(_folder("torch")):
        versions["cuda"] = cuda
    return Installed(versions=versions, nnunet=_folder("nnunetv2"))


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _cuda_of(torch: Path | None) -> str | None:
    """The CUDA that PyTorch was built for, from the file that its build writes; its version need not say it."""
    with suppress(OSError):
        text = (torch / "version.py").read_text(encoding="utf-8") if torch else ""
        if found := re.search(r"^cuda\b.*= '([\d.]+)'", text, re.MULTILINE):
            return found[1]
    return None


@lru_cache(maxsize=4)
def installed(python: str) -> Installed:
    """What a Python has; another one than this is asked.

    Raises:
        Unavailable: it is no Python, or nnunet-mcp is not installed there.
    """
    if python == sys.executable:
        return installed_here()
    try:
        done = ask_module(python, "nnunet_mcp.nnunet.installed", timeout_s=ASK_S)
        return Installed.model_validate_json((done.stdout.strip().splitlines() or [b""])[-1])
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"NNUNET_MCP_WORKER_PYTHON ({python}) cannot be asked what it has: {error}.") from None
    except ValidationError:
        words = (said(done).splitlines() or ["no output"])[-1]
        raise Unavailable(
            f"NNUNET_MCP_WORKER_PYTHON ({python}) cannot run nnunet-mcp ({words}). Install it there as well: "
            f"{python} -m pip install nnunet-mcp (or the folder of its source)."
        ) from None


if __name__ == "__main__":
    print(installed_here().model_dump_json())
