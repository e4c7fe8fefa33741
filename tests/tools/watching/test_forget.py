"""Old run records can go; runs that live and models never do."""

import subprocess
import sys
import time
from pathlib import Path

from nnunet_mcp.files import write_model
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.schemas.records import RunRecord, Status
from nnunet_mcp.settings import Settings
from tests.server.test_answers import run_at

DAY_S = 86400


def old_run(settings: Settings, name: str, status: Status, days: float) -> RunDir:
    """A run that was recorded some days ago."""
    run = run_at(settings, status)
    record = run.record()
    assert record is not None
    write_model(run.run_file, record.model_copy(update={"run_id": name, "created_at": time.time() - days * DAY_S}))
    run.path.rename(run.path.with_name(name))
    return StateDir(settings.state_dir).run(name)


def forget(days: str) -> list[str]:
    command = [sys.executable, "-m", "nnunet_mcp", "forget", "--days", days]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_only_runs_at_rest_that_are_old_enough_are_forgotten(settings: Settings) -> None:
    model = settings.folder("results") / "Dataset004_Hippocampus" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0"
    model.mkdir(parents=True)
    (model / "checkpoint_final.pth").write_bytes(b"weights")
    old = old_run(settings, "d004-2d-f0-old2", "success", days=100)
    young = old_run(settings, "d004-2d-f0-new2", "success", days=10)
    record = old.record()
    assert isinstance(record, RunRecord)

    assert forget("90") == ["forgot", old.run_id]

    assert not old.path.exists() and young.path.exists()
    assert (model / "checkpoint_final.pth").read_bytes() == b"weights"
    assert sorted(path.name for path in Path(young.path.parent).iterdir()) == [young.run_id]
