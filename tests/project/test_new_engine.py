"""The recipe for an engine in docs/extending.md, followed in a copy of the source."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from nnunet_mcp.settings import Settings
from tests.kit.lab import stand_in_python

ROOT = Path(__file__).parents[2]
ENGINE = '''
"""An engine that starts its runs as this machine does, and has options and words of its own."""

from ..local.engine import LocalEngine


class BenchEngine(LocalEngine):
    """The bench."""

    name = "bench"

    def device(self, asked, settings, *, num_gpus=None):
        return "cpu", "the bench has no GPU"

    def notes(self, device, options, settings):
        return ["The bench is slow."]
'''
LINE = """
def _bench() -> Engine:
    from .bench.engine import BenchEngine

    return BenchEngine()


ENGINES: Mapping[EngineName, Callable[[], Engine]] = {"bench": _bench, """
RUN = """
import json, time
from pathlib import Path

import nnunet_mcp
from nnunet_mcp.schemas.preflight import PreflightRequest
from nnunet_mcp.schemas.records import ACTIVE
from nnunet_mcp.schemas.results import ResultsRequest
from nnunet_mcp.schemas.run_list import CancelRequest
from nnunet_mcp.schemas.training import TrainingCall
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.training.preflight import nnunet_preflight
from nnunet_mcp.tools.training.training import nnunet_training
from nnunet_mcp.tools.watching.results import nnunet_results
from nnunet_mcp.tools.watching.runs import nnunet_cancel
from tests.kit.tiny import make_dataset

settings = Settings()
make_dataset(settings.folder("raw"), "Dataset001_Tiny")
asked = {"dataset_id": 1, "configuration": "2d", "engine": "bench"}
ahead = nnunet_preflight(PreflightRequest.model_validate(asked), settings)
started = nnunet_training(TrainingCall.model_validate(asked), settings)
deadline = time.monotonic() + 60
while (result := nnunet_results(ResultsRequest(run_id=started.run_id), settings)).status in ACTIVE:
    assert time.monotonic() < deadline
    time.sleep(0.1)
print(json.dumps({
    "source": str(Path(nnunet_mcp.__file__).parent),
    "why": [ahead.device_reason, started.device_reason],
    "notes": ["The bench is slow." in one.notes for one in (ahead, started)],
    "status": result.status,
    "cancelled": nnunet_cancel(CancelRequest(run_id=started.run_id), settings).status,
}))
"""


def test_a_new_engine_is_its_folder_and_its_line_in_the_registry(tmp_path: Path, settings: Settings) -> None:
    for part in ("nnunet_mcp", "tests/kit"):
        shutil.copytree(ROOT / part, tmp_path / "copy" / part, ignore=shutil.ignore_patterns("__pycache__"))
    package = tmp_path / "copy" / "nnunet_mcp"
    (package / "runs" / "bench").mkdir()
    (package / "runs" / "bench" / "__init__.py").touch()
    (package / "runs" / "bench" / "engine.py").write_text(ENGINE, encoding="utf-8")
    replace(package / "runs" / "engines.py", "\nENGINES: Mapping[EngineName, Callable[[], Engine]] = {", LINE)
    replace(package / "schemas" / "slurm.py", 'Literal["local", "slurm"]', 'Literal["local", "slurm", "bench"]')

    own = {
        "PYTHONPATH": str(tmp_path / "copy"),
        "STAND_IN": "{}",
        "NNUNET_MCP_WORKER_PYTHON": str(stand_in_python(tmp_path)),
    }
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(command, env={**os.environ, **own}, cwd=tmp_path / "copy", capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("source") == str(package)
    assert found == {
        "why": ["the bench has no GPU"] * 2,
        "notes": [True, True],
        "status": "success",
        "cancelled": "success",
    }


def replace(path: Path, old: str, new: str) -> None:
    """Change one place of a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
