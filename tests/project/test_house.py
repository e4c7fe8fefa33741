"""The rooms import each other one way, without circles, and the house stays as simple as it is."""

from pathlib import Path

import pytest

from tests.project.house import LARGEST_FOLDER, House, Import, short
from tests.project.scratch import copy_source

# The one file that may ask which engine a run has.
REGISTRY = "runs/engines.py"
# The design aims at 3.5.
IMPORTS_PER_FILE = 5.7
FROM_WORKER_TO_RUNS = 12


@pytest.fixture(scope="module")
def house() -> House:
    return House()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the rooms to plant violations in."""
    copy_source(tmp_path)
    return tmp_path


def arrow(found: Import) -> str:
    return f"{short(found.importer)} → {short(found.target)}"


def test_imports_go_one_way_only(house: House) -> None:
    assert [str(one) for one in house.uphill()] == []


def test_a_library_is_imported_only_in_its_room(house: House) -> None:
    assert house.borrowed() == []


def test_a_module_that_a_string_names_exists(house: House) -> None:
    assert house.lost_names() == []


def test_no_modules_import_each_other_in_a_circle(house: House) -> None:
    assert house.circles() == []


def test_no_folder_holds_more_files_than_can_be_seen_at_once(house: House) -> None:
    assert {folder: count for folder, count in house.folder_sizes().items() if count > LARGEST_FOLDER} == {}


def test_worker_needs_little_of_runs(house: House) -> None:
    """Counted as in the design: each statement of a file in worker/ that imports modules of runs/, once."""
    statements = {(found.importer, found.line) for found in house.between("worker", "runs")}
    assert len(statements) <= FROM_WORKER_TO_RUNS


def test_a_file_imports_few_others(house: House) -> None:
    """The mean over all files of the distinct modules of ours that each imports."""
    assert house.imports_per_file() <= IMPORTS_PER_FILE


def test_only_the_registry_asks_for_the_name_of_an_engine(house: House) -> None:
    assert {file for file, _ in house.engine_comparisons()} <= {REGISTRY}


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        pytest.param(
            "tools/watching/planted.py",
            "from ...worker import stage",
            "tools.watching.planted → worker.stage",
            id="dots in a nested folder",
        ),
        pytest.param(
            "runs/planted.py", "from .. import worker", "runs.planted → worker", id="the room itself, by dots alone"
        ),
        pytest.param(
            "schemas/planted.py", "import nnunet_mcp.worker", "schemas.planted → worker", id="by its whole name"
        ),
        pytest.param(
            "runs/local/planted.py",
            "def late() -> None:\n    from nnunet_mcp.server.app import create_server",
            "runs.local.planted → server.app",
            id="inside a function in a nested folder",
        ),
        pytest.param(
            "nnunet/planted.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..runs import layout",
            "nnunet.planted → runs.layout",
            id="for type checkers only",
        ),
        pytest.param(
            "nnunet_mcp/planted.py",
            "from .nnunet import datasets as d",
            "planted → nnunet.datasets",
            id="on the ground",
        ),
        pytest.param(
            "server/planted.py", "from .. import tools, runs", "server.planted → runs", id="the second of two names"
        ),
    ],
)
def test_an_import_against_the_arrows_is_found(house: House, copy: Path, file: str, line: str, found: str) -> None:
    (copy / file).write_text(f"{line}\n", encoding="utf-8")

    before = set(map(arrow, house.uphill()))
    assert set(map(arrow, House(copy).uphill())) - before == {found}


def test_a_library_in_the_wrong_room_is_found(copy: Path) -> None:
    (copy / "tools" / "plots" / "planted.py").write_text("def late():\n    import torch.cuda\n", encoding="utf-8")

    assert House(copy).borrowed() == ["tools.plots.planted:2 imports torch"]


def test_a_module_that_was_moved_without_the_string_that_starts_it_is_found(copy: Path) -> None:
    (copy / "tools" / "planted.py").write_text('DRAWER = "nnunet_mcp.worker.pictures"\n', encoding="utf-8")

    assert House(copy).lost_names() == ["tools/planted.py:1 names nnunet_mcp.worker.pictures"]


@pytest.mark.parametrize(
    "there",
    [
        pytest.param("def late():\n    from .planted_b import b", id="both imports inside functions"),
        pytest.param("from nnunet_mcp.runs import planted_b", id="one by the package's name"),
        pytest.param(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .planted_b import b", id="for types"
        ),
    ],
)
def test_a_circle_is_found_whenever_its_imports_run(house: House, copy: Path, there: str) -> None:
    (copy / "runs" / "planted_a.py").write_text(f"{there}\n", encoding="utf-8")
    (copy / "runs" / "planted_b.py").write_text("def late():\n    from . import planted_a\n", encoding="utf-8")

    assert set(House(copy).circles()) - set(house.circles()) == {("runs.planted_a", "runs.planted_b")}


@pytest.mark.parametrize(
    "line",
    [
        "record.engine == 'slurm'",
        "engine != default",
        "kind in ('slurm', 'cloud')",
        "match engine:\n    case _: pass",
        "match kind:\n    case 'local' | 'other': pass",
    ],
)
def test_a_question_for_an_engines_name_is_found(copy: Path, line: str) -> None:
    (copy / "tools" / "training" / "planted.py").write_text(f"{line}\n", encoding="utf-8")

    assert ("tools/training/planted.py", 1) in House(copy).engine_comparisons()
