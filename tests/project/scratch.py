"""A copy of the source to carry out the recipes of docs/extending.md in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.project.house import FOLDERS, PACKAGE, ROOT

PARTS = ("docs", "tests/kit", "README.md", "pyproject.toml")


def copy_source(root: Path, *parts: str) -> None:
    """Copy the package with its links, the rooms and further files and folders of the project."""
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / PACKAGE, root / PACKAGE, symlinks=True, ignore=no_caches)
    for part in (*FOLDERS, *parts):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part, ignore=no_caches)
        else:
            shutil.copy(ROOT / part, root / part)


class Scratch:
    """The rooms, the documents and the tests' kit in a folder of their own, and which files were touched there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.touched: set[str] = set()
        copy_source(root, *PARTS)

    def write(self, name: str, text: str = "") -> None:
        """Add a file, in a folder that may be new."""
        path = self.root / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self.touched.add(name)

    def after(self, name: str, anchor: str, text: str) -> None:
        """Insert text behind the one place of a file that has the anchor."""
        self.replace(name, anchor, anchor + text)

    def before(self, name: str, anchor: str, text: str) -> None:
        """Insert text in front of the one place of a file that has the anchor."""
        self.replace(name, anchor, text + anchor)

    def replace(self, name: str, anchor: str, text: str) -> None:
        """Change the one place of a file that has the anchor."""
        path = self.root / name
        before = path.read_text(encoding="utf-8")
        assert before.count(anchor) == 1, f"{name} has {before.count(anchor)} times: {anchor}"
        path.write_text(before.replace(anchor, text), encoding="utf-8")
        self.touched.add(name)

    def run(self, *words: str, **variables: str) -> str:
        """What Python prints in the copy, as the user of the copy's source."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(self.root), **variables},
            capture_output=True,
            encoding="utf-8",
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def found(self, script: str, **variables: str) -> dict[str, Any]:
        """What a script finds, which calls `tell` with it; all of it from the copy's source."""
        told = json.loads(self.run("-c", BEGIN + script, **variables).splitlines()[-1])
        assert told.pop("source") == str(self.root / PACKAGE)
        return dict(told)

    def renewed(self, document: str) -> str:
        """A document with its tables as `make docs` writes them."""
        self.run("-m", "nnunet_mcp.server.reference", document)
        return (self.root / document).read_text(encoding="utf-8")


BEGIN = """
import json, time
from pathlib import Path
import anyio
import nnunet_mcp
from nnunet_mcp.settings import Settings

settings = Settings()

def tell(**found):
    print(json.dumps({"source": str(Path(nnunet_mcp.__file__).parent), **found}))

def wait_while(condition):
    deadline = time.monotonic() + 60
    while condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
"""
