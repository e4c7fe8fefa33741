"""nnunet_prepare_dataset: a valid nnU-Net v2 dataset made from what people have; the source is only read."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.datasets import dataset_folders
from ..runs.disk import SPARE_BYTES, refuse_without_room
from ..runs.errors import NotFound, Refused, Unavailable
from ..runs.settings import Settings
from ..runs.texts import clean
from ..schemas.answers import Prepared
from ..schemas.requests import PrepareRequest
from .cases import CaseFiles, file_problems, list_cases, listed_names
from .description import Description, read_description
from .paths import allowed_path

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Copy:
    """One file to bring over: as it is, or one of the `channels` of a 4D image."""

    source: Path
    target: str
    channel: int | None = None
    channels: int = 1


def nnunet_prepare_dataset(
    request: PrepareRequest, settings: Settings, tell: Tell = lambda done, total: None
) -> Prepared:
    """Import a dataset under DatasetXXX_<name> in nnUNet_raw, whole or not at all.

    Raises:
        NotFound, Refused: the source is missing, outside the allowed folders or broken, or the id is taken.
        Unavailable: there is not enough space.
    """
    source = allowed_path(settings, request.source, what="source")
    if not source.is_dir():
        raise NotFound(f"source {request.source!r} is not a folder. Name the folder that holds dataset.json.")
    settings.create_folders()
    target = _free_target(settings, request)
    _refuse_links_elsewhere([source / "dataset.json"], settings)
    description = read_description(source)
    _refuse_variables(description)
    copies = list(_copies(source, description))
    _refuse_links_elsewhere([copy.source for copy in copies], settings)
    refuse_without_room({target.parent: sum(copy.source.stat().st_size for copy in copies) + SPARE_BYTES})
    partial = Path(tempfile.mkdtemp(prefix=f".importing-{target.name}-", dir=target.parent))
    try:
        partial.chmod(0o755)
        _fill(partial, copies, description, tell)
        partial.rename(target)
    except OSError as error:
        raise Unavailable(f"{request.source!r} could not be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _answer(request, target, description)


def _free_target(settings: Settings, request: PrepareRequest) -> Path:
    taken = dataset_folders(settings.folders, request.dataset_id)
    if taken:
        raise Refused(
            f"Dataset id {request.dataset_id:03d} is taken by {', '.join(taken)}. Train it with "
            f"nnunet_training(dataset_id={request.dataset_id}), or choose another id."
        )
    return settings.folder("raw") / f"Dataset{request.dataset_id:03d}_{request.name}"


def _refuse_links_elsewhere(paths: list[Path], settings: Settings) -> None:
    """A file of the source may be a link, but not one that leads out of the folders that tools may read."""
    for path in paths:
        if path.exists():
            allowed_path(settings, str(path), what="the source's file")


def _refuse_variables(description: Description) -> None:
    """A copy must not depend on the environment of whoever reads it, nor tell it."""
    listed = description.content.get("dataset")
    for case, entry in listed.items() if isinstance(listed, dict) else ():
        images, label = listed_names(entry)
        if named := next((name for name in (*images, label) if "$" in name), None):
            raise Refused(
                f"dataset.json lists {clean(named)!r} for case {clean(case)}: names with $ are not imported. Write the "
                "paths out."
            )


def _copies(source: Path, description: Description) -> Iterator[Copy]:
    ending = description.file_ending
    train, test = list_cases(source, ending), list_cases(source, ending, "Ts")
    for folder, unnumbered in (
        ("imagesTr", train.unnumbered),
        ("imagesTs", _unnumbered_tests(train, test, description)),
    ):
        for path in _files(source / folder, ending):
            yield from _image_copies(
                path, folder, description, numbered=path.name.removesuffix(ending) not in unnumbered
            )
    for path in _files(source / "labelsTr", ending):
        yield Copy(path, f"labelsTr/{path.name}")


def _unnumbered_tests(train: CaseFiles, test: CaseFiles, description: Description) -> set[str]:
    """Test images have no labels to compare with; they are named as the training images are."""
    numbers = {number for channels in test.images.values() for number in channels}
    if train.images or numbers <= set(range(len(description.channels))):
        return set(test.unnumbered)
    return {*test.unnumbered, *(f"{case}_{n:04d}" for case, channels in test.images.items() for n in channels)}


def _files(folder: Path, ending: str) -> list[Path]:
    # MSD archives carry macOS resource forks (._case.nii.gz) that are no images.
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.endswith(ending) and p.name[0] != "." and p.is_file())


def _image_copies(path: Path, folder: str, description: Description, *, numbered: bool) -> Iterator[Copy]:
    ending = description.file_ending
    name = path.name.removesuffix(ending)
    if numbered:
        yield Copy(path, f"{folder}/{path.name}")
    elif len(description.channels) == 1:
        yield Copy(path, f"{folder}/{name}_0000{ending}")
    else:
        for channel in range(len(description.channels)):
            yield Copy(path, f"{folder}/{name}_{channel:04d}{ending}", channel, len(description.channels))


def _fill(folder: Path, copies: list[Copy], description: Description, tell: Tell) -> None:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for done, copy in enumerate(copies):
        tell(done, len(copies))
        target = folder / copy.target
        target.parent.mkdir(exist_ok=True)
        _bring(copy, target)
    tell(len(copies), len(copies))
    kept = {k: v for k, v in description.content.items() if k not in ("training", "test", "tensorImageSize")}
    (folder / "dataset.json").write_text(json.dumps(kept, indent=2, ensure_ascii=False), encoding="utf-8")
    if problems := file_problems(folder, description):
        raise Refused("The source is not a complete dataset:\n- " + "\n- ".join(problems))


def _bring(copy: Copy, target: Path) -> None:
    if copy.channel is None and not _is_4d(copy.source):
        shutil.copyfile(os.path.realpath(copy.source), target)
        return
    _split(copy, target)


def _is_4d(path: Path) -> bool:
    if not path.name.endswith((".nii", ".nii.gz")):
        return False
    shape = tuple(_open(path).shape)
    return len(shape) > 3 and any(size > 1 for size in shape[3:])


def _open(path: Path) -> Any:
    import nibabel

    try:
        return nibabel.load(path)
    except Exception as error:  # nibabel raises many kinds, all of them mean the same here
        raise Refused(f"{path.name} cannot be read ({error}). Export it again.") from error


def _split(copy: Copy, target: Path) -> None:
    """Write one channel of a 4D NIfTI image with the geometry of the whole."""
    import nibabel

    image = _open(copy.source)
    channels = image.shape[3] if len(image.shape) == 4 else 1
    if copy.channel is None or copy.channels != channels:
        raise Refused(
            f"{copy.source.name} has {channels} channels; dataset.json declares {copy.channels}. Correct modality "
            "(channel_names), or the image."
        )
    # dataobj is read lazily: one channel at a time in memory.
    part = nibabel.Nifti1Image(image.dataobj[..., copy.channel], image.affine, image.header)
    nibabel.save(part, target)


def _answer(request: PrepareRequest, target: Path, description: Description) -> Prepared:
    images = {p.name.rsplit("_", 1)[0] for p in (target / "imagesTs").glob("*")}
    return Prepared(
        dataset_id=request.dataset_id,
        dataset_name=target.name,
        path=str(target),
        cases=int(description.content.get("numTraining", 0)),
        test_cases=len(images),
        channels=tuple(description.channels),
        labels=description.labels,
        changes=tuple(description.changes),
        next_step=f"Train it: nnunet_training(dataset_id={request.dataset_id}, configuration=…, fold=…).",
    )
