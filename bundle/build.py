"""`make bundle`: dist/nnunet-mcp-VERSION.mcpb, the light server as Claude Desktop installs it."""

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

from nnunet_mcp import __version__
from nnunet_mcp.tools import TOOLS

HERE = Path(__file__).parent
ROOT = HERE.parent


def manifest() -> dict[str, Any]:
    """manifest.json with the version and the tools as the code has them."""
    written: dict[str, Any] = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
    tools = [{"name": tool.name, "description": tool.description} for tool in TOOLS]
    return {**written, "version": __version__, "tools": tools}


def lay_out(folder: Path) -> None:
    """Write what the bundle holds into a new folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "nnunet_mcp", folder / "nnunet_mcp", symlinks=False, ignore=ignored)
    for file in (HERE / "pyproject.toml", ROOT / "LICENSE", ROOT / "README.md"):
        shutil.copy(file, folder)
    (folder / "manifest.json").write_text(json.dumps(manifest(), indent=2), encoding="utf-8")


def build(target: Path) -> Path:
    """Write the bundle, a zip archive, into a folder; returns its path."""
    laid_out = target / "bundle"
    shutil.rmtree(laid_out, ignore_errors=True)
    lay_out(laid_out)
    bundle = target / f"nnunet-mcp-{__version__}.mcpb"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(laid_out.rglob("*")):
            archive.write(path, path.relative_to(laid_out))
    shutil.rmtree(laid_out)
    return bundle


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(exist_ok=True)
    print(build(target))
