"""A trainer of the user's own, read before nnU-Net imports it: what would fail after hours of preprocessing."""

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from ...errors import Refused
from ...files import NO_FILE, read_plain
from ..trainers import nnunet_trainers, trainer_file

# Arguments of nnUNetTrainer.__init__ that nnU-Net 2.6 removed (91f348ac), and what to do instead.
REMOVED = {"unpack_dataset": "nnU-Net 2.6 removed it, because nothing is unpacked any more"}
ARGUMENTS = 5  # plans, configuration, fold, dataset_json, device


def refuse_broken_trainer(name: str, python: str) -> None:
    """Read the file of a class that is not nnU-Net's.

    Raises:
        Refused: with the file, the line and the cure.
    """
    path = trainer_file(name)
    if path is None:
        return
    try:
        tree = ast.parse(read_plain(path))
    except NO_FILE:
        return
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise _refusal(name, path, line, f"{type(error).__name__}: {getattr(error, 'msg', error)}") from None
    for line, what in _removed(tree, name, nnunet_trainers(python)):
        raise _refusal(name, path, line, what)


def _refusal(name: str, path: Path, line: int, what: str) -> Refused:
    return Refused(f"The trainer {name} cannot be built. {what} | File {path}, line {line}. Correct it there.")


def _removed(tree: ast.Module, name: str, theirs: Collection[str]) -> Iterator[tuple[int, str]]:
    """Arguments that are gone, in a class and in those of the same file from which it is derived."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    line = [name] if name in classes else []  # "class Mine(" may be part of a text
    for one in line:
        bases = [ast.unparse(base) for base in classes[one].bases]
        line += [base for base in bases if base in classes and base not in line]
        nnunets = any(base.rpartition(".")[2] in theirs and base not in classes for base in bases)
        for node in ast.walk(classes[one]):
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                yield from _taken(node)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__":
                yield from _passed(node, nnunets=nnunets)


def _taken(init: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    """nnU-Net looks for every argument of the class's own __init__ among those of its own (nnUNetTrainer.py:116)."""
    for one in (*init.args.args, *init.args.kwonlyargs):
        if one.arg in REMOVED:
            yield one.lineno, f"__init__ takes {one.arg}, and {REMOVED[one.arg]}"


def _passed(call: ast.Call, *, nnunets: bool) -> Iterator[tuple[int, str]]:
    for word in call.keywords:
        if word.arg in REMOVED:
            yield word.value.lineno, f"super().__init__ gets {word.arg}, and {REMOVED[word.arg]}"
    if nnunets and len(call.args) > ARGUMENTS:
        yield call.lineno, f"super().__init__ gets {len(call.args)} arguments, and takes {ARGUMENTS} since nnU-Net 2.6"
