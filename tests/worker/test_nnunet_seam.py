"""The table of what we replace and rely on in nnU-Net, against the installed release and against our own code."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.worker import nnunet_seam
from nnunet_mcp.worker.nnunet_seam import PLACES, differences, found_now, replace, replaced_on, write

WORKER = Path(nnunet_seam.__file__).resolve().parent
FILES = sorted(path for path in WORKER.rglob("*.py") if path.name != "nnunet_seam.py")
FOREIGN = ("nnunetv2", "batchgenerators", "torch", "multiprocessing")
# What holds an object of theirs in our code.
OBJECTS = {"trainer", "predictor", "network", "logger", "loss"}
# Of Python's and PyTorch's own, and what only shows that nnU-Net is there.
NOT_LISTED = {"nnunetv2"}


@pytest.mark.heavy
def test_the_installed_release_is_as_the_table_has_it() -> None:
    assert differences() == []


@pytest.mark.heavy
def test_every_source_names_the_line() -> None:
    """Lines move with PyTorch's and Python's releases, so only nnU-Net's own are looked at."""
    for place in PLACES.values():
        now = found_now(place)
        if place.target.startswith("nnunetv2") and not (now is None and place.on_main):
            assert now is not None and now.source == place.source, place.target


def test_a_name_that_is_gone_is_told_with_what_relies_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.run import run_training

    monkeypatch.delattr(run_training, "maybe_load_checkpoint")

    (told,) = differences()

    assert told.startswith("nnunetv2.run.run_training:maybe_load_checkpoint is not there any more; we rely on: called")


def test_other_parameters_and_another_text_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    def train_step(self: Any, batch: Any, mixed: bool) -> None:
        """As a new release could have it."""

    monkeypatch.setattr(nnUNetTrainer, "train_step", train_step)

    told = differences()

    assert "nnUNetTrainer.train_step takes (self, batch, mixed) instead of (self, batch); we rely on: " in told[0]
    assert "nnUNetTrainer.train_step has changed inside (" in told[1]


def test_an_attribute_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.training.logging import nnunet_logger

    monkeypatch.setattr(nnunet_logger, "LocalLogger", type("LocalLogger", (), {}))

    assert any("LocalLogger has no my_fantastic_logging, train_losses" in told for told in differences())


def test_what_the_table_does_not_have_is_not_replaced() -> None:
    with pytest.raises(KeyError):
        replace("nnunetv2.run.run_training:find_free_network_port", lambda original: original)
    with pytest.raises(KeyError):
        write(object(), f"{nnunet_seam.TRAINER}.learning_rate", 1.0)


def test_a_method_of_one_object_is_its_class_s_again_afterwards() -> None:
    class Network:
        def forward(self, number: int) -> int:
            return number

    network = Network()
    with replaced_on(network, "torch.nn:Module.forward", lambda method, number: 2 * method(number)):
        assert network.forward(2) == 4

    assert network.forward(2) == 2 and vars(network) == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WORKER)))
def test_nothing_of_nnunets_is_replaced_beside_the_table(path: Path) -> None:
    assert list(replaced_by_hand(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(WORKER)))
def test_everything_that_is_imported_from_nnunet_is_in_the_table(path: Path) -> None:
    known = {place.target for place in PLACES.values()} | {place.target.partition(":")[0] for place in PLACES.values()}
    named = {f"{place.target.partition(':')[0]}:{name}" for place in PLACES.values() for name in place.names}
    imported = set(imported_from_nnunet(ast.parse(path.read_text(encoding="utf-8"))))

    assert imported - known - named - NOT_LISTED == set()


PLANTED = (
    "from nnunetv2.run import run_training\nrun_training.run_ddp = None",
    "from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor as P\nP.predict = lambda: 1",
    "import torch\nlibrary: object = torch\nlibrary.load = None",
    "import multiprocessing.pool\npool = multiprocessing.pool.Pool\npool.join = None",
    "def f(trainer):\n    trainer.do_split = None",
    "class A:\n    def f(self):\n        self.trainer.logger.plot = None",
    "class A:\n    def f(self):\n        self.trainer.current_epoch -= 1",
    "import nnunetv2.run.run_training\nsetattr(nnunetv2.run.run_training, 'run_ddp', None)",
)


@pytest.mark.parametrize("text", PLANTED)
def test_what_is_planted_is_found(text: str) -> None:
    assert list(replaced_by_hand(ast.parse(text)))


def replaced_by_hand(tree: ast.Module) -> Iterator[str]:
    """Assignments to attributes of foreign modules, classes and objects, and every setattr."""
    foreign = set(foreign_names(tree)) | OBJECTS
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            yield ast.unparse(node)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and is_foreign(target.value, foreign):
                    yield ast.unparse(node)


def is_foreign(node: ast.expr, foreign: set[str]) -> bool:
    """PyTorch's own switches are not nnU-Net's."""
    return bool(foreign & set(words_of(node))) and not ast.unparse(node).startswith("torch.backends.")


def foreign_names(tree: ast.Module) -> Iterator[str]:
    """Names that an import or a plain assignment gave to something foreign."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {
                one.asname or one.name.partition(".")[0] for one in node.names if one.name.split(".")[0] in FOREIGN
            }
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in FOREIGN:
            found |= {one.asname or one.name for one in node.names}
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Name | ast.Attribute):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if found & {next(iter(words_of(node.value)), "")}:
                found |= {target.id for target in targets if isinstance(target, ast.Name)}
    yield from found


def words_of(node: ast.expr) -> Iterator[str]:
    """a, b and c of a.b.c."""
    if isinstance(node, ast.Attribute):
        yield from words_of(node.value)
        yield node.attr
    if isinstance(node, ast.Name):
        yield node.id


def imported_from_nnunet(tree: ast.Module) -> Iterator[str]:
    """Modules, and names as module:name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith(("nnunetv2", "batchgenerators")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("nnunetv2", "batchgenerators")):
            for one in node.names:
                yield (
                    f"{node.module}.{one.name}"
                    if is_module(f"{node.module}.{one.name}")
                    else (f"{node.module}:{one.name}")
                )


def is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
