"""An environment with what the server needs and without nnU-Net and PyTorch, as bundle/pyproject.toml lists it."""

import subprocess
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def needed() -> list[str]:
    """The packages that the server imports."""
    written = tomllib.loads((ROOT / "bundle" / "pyproject.toml").read_text(encoding="utf-8"))
    return list(written["project"]["dependencies"])


def make_environment(folder: Path) -> Path:
    """A virtual environment with these packages; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), *needed()]
    subprocess.run(install, check=True, capture_output=True)
    return python
