"""The twin of a dataset whose dataset.json is in an older style: a corrected one beside links to everything else.

<state folder>/raw/<digest of the raw folder>/<dataset>/dataset.json
                                                        imagesTr -> <raw folder>/<dataset>/imagesTr
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from ...files import write_text
from ...locks import held, lock_name
from ...nnunet.dataset_json import Description
from ...nnunet.datasets import DatasetFiles
from ...runs.layout import StateDir
from ...settings import Settings

OWN = "dataset.json"


def twin_of(files: DatasetFiles, description: Description, settings: Settings) -> DatasetFiles:
    """A dataset with a dataset.json that nnU-Net reads; the source stays as it is."""
    # One folder per raw folder: several may share the results folder, and with it the state folder.
    mark = hashlib.sha256(files.folders.raw.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    raw = str(settings.state_dir / "raw" / mark)
    twin = replace(files, folders=files.folders.model_copy(update={"raw": raw}))
    with held(StateDir.of(settings).locks_dir / lock_name("twin", mark, files.name)):
        twin.raw.mkdir(parents=True, exist_ok=True)
        _link(files.raw, twin.raw)
        _write(twin.raw / OWN, json.dumps(description.content, indent=2, ensure_ascii=False))
    return twin


def _link(source: Path, twin: Path) -> None:
    wanted = {path.name for path in source.iterdir()} - {OWN}
    for link in twin.iterdir():
        if link.is_symlink() and (link.name not in wanted or link.readlink() != source / link.name):
            link.unlink()
    for name in wanted:
        if not (twin / name).is_symlink():
            (twin / name).symlink_to(source / name)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
