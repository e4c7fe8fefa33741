"""The recipes of docs/extending.md, followed in a copy of the source: what they leave out would break there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_mcp.settings import Settings

ROOT = Path(__file__).parents[2]
LINE = '    "review": StageKind(step="review", weight=0.5),\n}\n'
STEP = '''
"""The review stage."""

from ...schemas.records import Outcome
from ..stage import Job


def carry_out(job: Job) -> Outcome:
    """Say something, and be done."""
    job.reporter.say("reviewing", total=3)
    return Outcome(ok=True, notes=("Reviewed.",))
'''
RUN = """
import json, sys, time
from pathlib import Path

import anyio

import nnunet_mcp
from nnunet_mcp.runs.engines import engine_of, verdict
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.progress import ProgressRequest
from nnunet_mcp.schemas.records import ACTIVE, StageSpec
from nnunet_mcp.schemas.results import ResultsRequest
from nnunet_mcp.schemas.run_list import RunsRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.progress import nnunet_progress
from nnunet_mcp.tools.watching.results import nnunet_results
from nnunet_mcp.tools.watching.runs import nnunet_runs
from tests.kit.tiny import record_of

settings = Settings()
record = record_of(settings, StageSpec(name="review", kind="review", configuration="2d"))
run, _ = record_run(StateDir.of(settings), record, [], repeat_window_s=0)
def progress():
    return anyio.run(nnunet_progress, ProgressRequest(run_id=record.run_id), settings)
before = progress().percent
engine_of(record).start(run, record, settings)
deadline = time.monotonic() + 60
while verdict(run, record).status in ACTIVE and time.monotonic() < deadline:
    time.sleep(0.1)
print(json.dumps({
    "source": str(Path(nnunet_mcp.__file__).parent),
    "percents": [before, progress().percent],
    "status": progress().status,
    "runs": [line.status for line in nnunet_runs(RunsRequest(), settings).runs],
    "notes": nnunet_results(ResultsRequest(run_id=record.run_id), settings).notes,
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The source and the tests' kit, without links back."""
    shutil.copytree(ROOT / "nnunet_mcp", tmp_path / "nnunet_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "kit", tmp_path / "tests" / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_new_kind_of_stage_is_a_line_in_the_table_and_its_worker_step(copy: Path, settings: Settings) -> None:
    table = copy / "nnunet_mcp" / "schemas" / "stage_kinds.py"
    table.write_text(table.read_text(encoding="utf-8").removesuffix("}\n") + LINE, encoding="utf-8")
    (copy / "nnunet_mcp" / "worker" / "steps" / "review.py").write_text(STEP, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(copy)}

    done = subprocess.run(
        [sys.executable, "-P", "-c", RUN], env=environment, capture_output=True, encoding="utf-8", timeout=100
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "source": str(copy / "nnunet_mcp"),
        "percents": [0.0, 100.0],
        "status": "success",
        "runs": ["success"],
        "notes": ["Reviewed."],
    }
