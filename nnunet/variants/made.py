"""The trainer of an experiment: a class of nnU-Net's own that does just this, or a readable file with a subclass.

nnU-Net looks a trainer up by its name in every folder of nnUNet_extTrainer and imports the files one after another
(nnunetv2 2.8.1, utilities/find_class_by_name.py). So a file that rests on a class of the user's own, which may be gone
one day, lies in a package of its own: packages are searched last.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...calls import argument
from ...errors import Refused
from ...files import make_folders, read_plain, write_text
from ...schemas.changes.table import CHANGES, Change, told_in_a_name, written
from ..datasets import DEFAULT_TRAINER
from ..trainers import made_trainer_folder, nnunet_trainers, own_trainers

# What nnU-Net's own classes do and nothing else, where the name that we would give is not theirs (variants/*.py).
SAME = {
    ("epochs=1",): "nnUNetTrainer_1epoch",
    ("mirroring=none",): "nnUNetTrainerNoMirroring",
    ("deep_supervision=off",): "nnUNetTrainerNoDeepSupervision",
    ("initial_lr=0.001", "optimizer=adamw"): "nnUNetTrainerAdam1en3",
    ("initial_lr=0.0003", "optimizer=adamw"): "nnUNetTrainerAdam3en4",
    ("initial_lr=0.001", "optimizer=adam"): "nnUNetTrainerVanillaAdam1en3",
    ("initial_lr=0.0003", "optimizer=adam"): "nnUNetTrainerVanillaAdam3en4",
}
# Choose their optimizer by the phase of the training (nnUNetTrainer_warmup.py), which no other class's method does.
OWN_OPTIMIZER = re.compile(r"nnUNetTrainer_warmup|AbstractPrimus|nnUNet_Primus\w+")
LONGEST_NAME = 120  # of a trainer in a request

FILE = '''"""{told}

Written by nnunet-mcp. nnU-Net's own commands find it, too, when nnUNet_extTrainer names the folder that it lies in.
"""

{imports}


class {name}({base}):
    """{told}"""
{body}'''
INIT = """
    # nnU-Net records the arguments by their names, so they are the same as in its own class.
    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
"""
FOUND = """from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

{base} = recursive_find_trainer_class_by_name("{base}")"""


@dataclass(frozen=True)
class Trainer:
    """A trainer by its name; `text` is its file, empty where the class is there already."""

    name: str
    text: str = ""
    package: str = ""

    @property
    def path(self) -> Path:
        return made_trainer_folder() / self.package / f"{self.name}.py"

    def write(self) -> None:
        """Put its file where nnU-Net finds it."""
        if _holds(self.path, self.text):
            return
        make_folders(self.path.parent)
        if self.package:
            write_text(self.path.parent / "__init__.py", "")
        write_text(self.path, self.text)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and read_plain(path) == text.encode()


def trainer_with(base: str, changes: Mapping[str, str], python: str) -> Trainer:
    """The trainer `base` with these changes.

    Raises:
        Refused: it cannot have one, or another trainer of the user's has the name.
    """
    if not changes:  # only the plans are changed
        return Trainer(base)
    if OWN_OPTIMIZER.fullmatch(base) and "optimizer" in changes:
        raise Refused(f"{base} has an optimizer for each of its phases. Leave optimizer out, or use another trainer.")
    theirs = nnunet_trainers(python)
    same = SAME.get(written(changes)) or _class_that_does(changes)
    if base == DEFAULT_TRAINER and same in theirs:
        return Trainer(same)
    name = told_in_a_name(base, changes)
    if base == DEFAULT_TRAINER and name in theirs:  # nnUNetTrainer_250epochs, nnUNetTrainer_250epochs_NoMirroring
        return Trainer(name)
    _refuse_name(name, name in theirs or name in own_trainers())
    return Trainer(name, _text(name, base, changes, theirs), "" if base in theirs else f"of_{base}")


def _class_that_does(changes: Mapping[str, str]) -> str:
    """The class whose method a single change takes; it overrides nothing else."""
    name, value = next(iter(changes.items()))
    row = CHANGES[name]
    return row.values.code(value) if len(changes) == 1 and row.takes else ""


def _refuse_name(name: str, taken: bool) -> None:
    if taken:
        raise Refused(f"Another trainer has the name {name}, which these changes would get. Rename that class.")
    if len(name) > LONGEST_NAME:
        raise Refused(
            f"The name that tells these changes would have {len(name)} characters: {name}. At most {LONGEST_NAME} fit: "
            f"change less at a time, or write a trainer of your own and name it with {argument(trainer=None)}."
        )


def _text(name: str, base: str, changes: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    rows = [(CHANGES[key], value) for key, value in changes.items()]
    return FILE.format(
        name=name,
        base=base,
        told=f"{base} with {', '.join(written(changes))}.",
        imports=_imports(base, rows, theirs),
        body=_body(rows),
    )


def _imports(base: str, rows: list[tuple[Change, str]], theirs: Mapping[str, str]) -> str:
    used = {base, *(row.values.code(value) for row, value in rows if row.takes)}
    names = sorted({"torch", *(name for row, _ in rows for name in row.imports)})
    lines = [f"import {name}" for name in names]
    lines += sorted(f"from {theirs[name]} import {name}" for name in used if name in theirs)
    return "\n".join(lines) + ("" if base in theirs else f"\n{FOUND.format(base=base)}")


def _body(rows: list[tuple[Change, str]]) -> str:
    taken = [f"    {row.takes} = {row.values.code(value)}.{row.takes}\n" for row, value in rows if row.takes]
    sets = [f"        self.{row.sets} = {row.values.code(value)}\n" for row, value in rows if row.sets]
    adds = [row.adds.format(value=row.values.code(value)) for row, value in rows if row.adds]
    return "".join([*(["\n", *taken] if taken else []), *([INIT, *sets] if sets else []), *adds])
