"""What may be in a zip with a model, judged from its directory before a byte is unpacked.

A zip of nnU-Net (nnunetv2 2.8.1, model_sharing/model_export.py) holds one dataset's results folder:

DatasetXXX_Name/
    TRAINER__PLANS__CONFIGURATION/
        plans.json  dataset.json  dataset_fingerprint.json  (and of our exports MODEL_CARD.md, TRAINER.py.txt)
        fold_X/     checkpoint_final.pth  progress.png  debug.json  validation/summary.json  (validation cases)
        crossval_results_folds_X/   summary.json  postprocessing.json  postprocessing.pkl  (validation cases)
    ensembles/ensemble___A___B___X/   the same as crossval_results
    inference_information.json
"""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..calls import argument
from ..errors import Refused
from ..schemas.model_name import ModelName
from ..texts import clean
from .datasets import CASE_ENDINGS, DATASET_FOLDER
from .postprocessing import PICKLE_NAME

MAX_ENTRIES = 100_000
# Checkpoints compress to about 90 % of their size, JSON to 5 %; a zip bomb to less than 0.1 %.
MAX_RATIO = 100
FREE_BYTES = 1 << 20  # small files are not checked for their compression
CARD = "MODEL_CARD.md"
LONGEST_NAME = 255  # bytes, as file systems have it
TOP_FILES = ("inference_information.json", "inference_information.txt", "inference_instructions.txt")
MODEL_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json", CARD)
FINAL = "checkpoint_final.pth"
FOLD_FILES = (FINAL, "checkpoint_best.pth", "progress.png", "debug.json", "network_architecture.pdf")
MEASURED_FILES = ("summary.json", "postprocessing.json", PICKLE_NAME, "plans.json", "dataset.json")
FOLD = re.compile(r"fold_(\d+|all)")
LOG = re.compile(r"training_log_\w+\.txt")
TRAINER_TEXT = re.compile(r"[A-Za-z_]\w{0,119}\.py\.txt", re.ASCII)


@dataclass(frozen=True)
class Contents:
    """A zip that passed all checks: the dataset's folder, and the files in it to install."""

    dataset: str
    files: dict[PurePosixPath, zipfile.ZipInfo]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the model folders."""
        return tuple(sorted({path.parts[0] for path in self.files if _is_model(path.parts[0])}))

    @property
    def pieces(self) -> list[str]:
        """The parts that are each installed in one step: model folders, ensembles, and single files."""
        depth = {"ensembles": 2}
        return sorted({"/".join(path.parts[: depth.get(path.parts[0], 1)]) for path in self.files})

    @property
    def folds(self) -> list[str]:
        """Fold folders below the dataset's, e.g. MODEL/fold_0."""
        below = (path.parts for path in self.files if len(path.parts) > 2)
        return sorted({"/".join(parts[:2]) for parts in below if FOLD.fullmatch(parts[1])})

    @property
    def size(self) -> int:
        """Bytes when unpacked."""
        return sum(info.file_size for info in self.files.values())


def read_contents(archive: zipfile.ZipFile, size: int) -> Contents:
    """Look at every entry of a zip of `size` bytes.

    Raises:
        Refused: an entry could leave the folder, hide another one, be no plain file, or is not of nnU-Net.
    """
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise Refused(f"The zip has {len(entries)} entries; a model has at most some thousand.")
    for info in entries:
        _refuse_unsafe(info)
    files = [info for info in entries if not info.is_dir()]
    _refuse_collisions(info.filename for info in files)
    _refuse_bomb(files, size)
    dataset = _dataset(files)
    inside = {PurePosixPath(info.filename).relative_to(dataset): info for info in files}
    for path in inside:
        if not _is_expected(path.parts):
            raise Refused(f"{clean(path)!r} in the zip is not among the files that nnU-Net exports. Leave it out.")
    found = Contents(dataset, inside)
    _refuse_incomplete(found)
    return found


def _is_expected(parts: tuple[str, ...]) -> bool:
    if any(part[0] in ".-" or not part.isprintable() or len(part.encode()) > LONGEST_NAME for part in parts):
        return False
    match parts:
        case (name,):
            return name in TOP_FILES
        case (model, name) if _is_model(model):
            return name in MODEL_FILES or TRAINER_TEXT.fullmatch(name) is not None
        case (model, fold, name) if _is_model(model) and FOLD.fullmatch(fold):
            return name in FOLD_FILES or LOG.fullmatch(name) is not None
        case (model, fold, "validation", name) if _is_model(model) and FOLD.fullmatch(fold):
            return name == "summary.json" or name.endswith(CASE_ENDINGS)
        case (folder, merged, name) if _is_merged(folder, merged):
            return name in MEASURED_FILES or name.endswith(CASE_ENDINGS)
    return False


def _is_model(name: str) -> bool:
    return ModelName.fits(name) and name.replace("-", "").replace(".", "").isidentifier()


def _is_merged(folder: str, merged: str) -> bool:
    if folder == "ensembles":
        return merged.startswith("ensemble___")
    return _is_model(folder) and merged.startswith("crossval_results_folds_")


def _refuse_unsafe(info: zipfile.ZipInfo) -> None:
    name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
    parts = name.rstrip("/").split("/")
    if name.startswith("/") or "\\" in name or ":" in name or "\0" in name or {"", ".", ".."} & set(parts):
        raise Refused(f"{clean(name)!r} in the zip would be written outside its folder. Nothing was unpacked.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(f"{clean(name)!r} in the zip is a link or a device. A model holds only files.")
    if info.flag_bits & 0x1:
        raise Refused(f"{clean(name)!r} in the zip is encrypted. Make the zip without a password.")


def _refuse_collisions(names: Iterable[str]) -> None:
    """Refuse names that differ only in case or in the encoding of accents: many systems take them for one file."""
    seen: dict[str, str] = {}
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise Refused(f"The zip has {clean(seen[folded])!r} and {clean(name)!r}, which are one file here.")
        seen[folded] = name


def _refuse_bomb(files: list[zipfile.ZipInfo], size: int) -> None:
    unpacked, packed = sum(info.file_size for info in files), sum(info.compress_size for info in files)
    if packed > size:
        raise Refused("Entries of the zip overlap, as no program writes them. Nothing was unpacked.")
    if unpacked > MAX_RATIO * size + FREE_BYTES:
        raise Refused(f"The zip would grow from {size} to {unpacked} bytes, which no model does. Nothing was unpacked.")


def _dataset(files: list[zipfile.ZipInfo]) -> str:
    tops = {PurePosixPath(info.filename).parts[0] for info in files}
    name = next(iter(tops)) if len(tops) == 1 else ""
    if DATASET_FOLDER.fullmatch(name) is None or not name.isprintable():
        found = ", ".join(sorted(map(clean, tops))[:5]) or "nothing"
        raise Refused(f"A zip of nnU-Net has one folder DatasetXXX_Name at its top; this one has {found}.")
    return name


def _refuse_incomplete(found: Contents) -> None:
    names = {path.parts[0] for path in found.files if "__" in path.parts[0]}
    if not names:
        raise Refused("The zip has no model folder TRAINER__PLANS__CONFIGURATION.")
    trained = {fold.partition("/")[0] for fold in found.folds if PurePosixPath(fold, FINAL) in found.files}
    for name in sorted(names):
        needed = (PurePosixPath(name, "plans.json"), PurePosixPath(name, "dataset.json"))
        if name not in trained or any(path not in found.files for path in needed):
            raise Refused(f"{name} in the zip lacks plans.json, dataset.json or fold_X/checkpoint_final.pth.")


def open_zip(path: Path) -> zipfile.ZipFile:
    """The zip for reading.

    Raises:
        Refused: it is none.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise Refused(f"{path} is no zip that can be read ({error}). Copy or download it again.") from None


def trainer_text(trainer: str) -> str:
    """The file's name in which an export takes the text of a trainer along."""
    return f"{trainer}.py.txt"


def is_pickle(path: PurePosixPath) -> bool:
    """Whether a file is a pickle. Pickles are never unpacked; the postprocessing is written again from its JSON."""
    return path.name == PICKLE_NAME


def refuse_replacing(contents: Contents, results: Path) -> None:
    """Refuse to replace a model unless the request says so.

    Raises:
        Refused: something of the zip is there already.
    """
    there = [piece for piece in contents.pieces if (results / contents.dataset / piece).exists()]
    if there:
        raise Refused(
            f"{results / contents.dataset} has {', '.join(there)} already. {argument(overwrite=True)} puts aside what "
            "is there and installs the zip's."
        )
