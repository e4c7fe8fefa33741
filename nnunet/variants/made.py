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
from ..trainers import classes_in, made_trainer_folder, nnunet_trainers, own_trainers

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
OWN_OPTIMIZER = re.compile(r"nnUNetTrainer_warmup|AbstractPrimus|nnUNet_Primus\w+|(?:Dynamic)?PretrainedTrainer\w*")
LONGEST_NAME = 120  # of a trainer or of plans in a request (schemas/training.py)

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
# nnU-Net imports every file of a folder when it searches there, so a base that is gone must not end the search.
FOUND = """import os
from pathlib import Path

from nnunetv2.paths import nnUNet_extTrainer
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

folders = [Path(part).resolve() for part in nnUNet_extTrainer.get().split(os.pathsep) if part]
found = (
    recursive_find_python_class(str(folder), "{base}", None, cleanup_imports_from_base_folder=True)
    for folder in folders
    if folder not in Path(__file__).resolve().parents  # not in this one, whose files search, too
)
{base} = next(filter(None, found), object)"""
GONE = """

if {base} is object:  # nobody has it any more
    del {base}, {name}
"""


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
        if self.path.is_file():
            return
        make_folders(self.path.parent)
        if self.package:
            write_text(self.path.parent / "__init__.py", "")
        write_text(self.path, self.text)


def trainer_with(base: str, changes: Mapping[str, str], python: str) -> Trainer:
    """The trainer `base` with these changes.

    Raises:
        Refused: it cannot have them, another trainer has the name, or the trainer's file was edited.
    """
    if not changes:  # only the plans are changed
        return Trainer(base)
    if base in classes_in(made_trainer_folder()):
        raise Refused(
            f"{base} was made for changes of another trainer. Name that one and all changes, or repeat the run with "
            f"{argument(like=None)}."
        )
    if OWN_OPTIMIZER.fullmatch(base) and "optimizer" in changes:
        raise Refused(f"{base} has an optimizer for each of its phases. Leave optimizer out, or use another trainer.")
    if "PretrainedTrainer" in base and "deep_supervision" in changes:
        raise Refused(f"{base} trains without deep supervision. Leave deep_supervision out.")
    theirs = nnunet_trainers(python)
    same = SAME.get(written(changes)) or _class_that_does(changes)
    if base == DEFAULT_TRAINER and same in theirs:
        return Trainer(same)
    name = told_in_a_name(base, changes)
    if base == DEFAULT_TRAINER and name in theirs:  # nnUNetTrainer_250epochs, nnUNetTrainer_250epochs_NoMirroring
        return Trainer(name)
    _refuse_name(name, name in theirs or name in own_trainers())
    made = Trainer(name, _text(name, base, changes, theirs), "" if base in theirs else f"of_{base}")
    _refuse_edited(made)
    return made


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


def _refuse_edited(made: Trainer) -> None:
    if made.path.is_file() and read_plain(made.path) != made.text.encode():
        raise Refused(
            f"{made.path} is not as it is written for these changes. If you edited it, give file and class another "
            f"name in a folder of nnUNet_extTrainer, and name it with {argument(trainer=None)}; else remove the file, "
            "and it is written again."
        )


def _text(name: str, base: str, changes: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    rows = [(CHANGES[key], value) for key, value in changes.items()]
    text = FILE.format(
        name=name,
        base=base,
        told=f"{base} with {', '.join(written(changes))}.",
        imports=_imports(base, rows, theirs),
        body=_body(rows),
    )
    return text if base in theirs else text + GONE.format(base=base, name=name)


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
