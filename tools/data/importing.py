"""nnunet_prepare_dataset: make a valid nnU-Net v2 dataset from a folder; the source is only read."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...allowed_paths import allowed_path
from ...calls import call
from ...errors import NotFound, Refused, Unavailable
from ...files import NotPlain, open_plain
from ...locks import Lock
from ...nnunet.cases import file_problems, unread_files
from ...nnunet.dataset_json import Description, read_description, region_fault
from ...nnunet.datasets import dataset_folders, trained_folders
from ...runs.machine.disk import SPARE_BYTES, refuse_without_room
from ...schemas.datasets import Prepared, PrepareRequest
from ...settings import Settings
from ...texts import clean, numbered, some
from ...whole_images import voxels_elsewhere
from .import_copies import Copy, copies_of
from .import_folders import write_folder
from .import_proposals import propose

NIFTI = (".nii", ".nii.gz")
LISTS = ("dataset", "training", "test", "tensorImageSize")
BLOCK = 1 << 20
Tell = Callable[[int, int], None]


def nnunet_prepare_dataset(
    request: PrepareRequest, settings: Settings, tell: Tell = lambda done, total: None
) -> Prepared:
    """Import a dataset as DatasetXXX_<name> in nnUNet_raw, completely or not at all.

    Raises:
        NotFound, Refused: the source is missing, outside the allowed folders or broken, or the id is taken.
        Unavailable: there is not enough space.
    """
    source = allowed_path(settings, request.source, what="source")
    if not source.is_dir():
        raise NotFound(f"source {request.source!r} is not a folder. Name the folder that holds the images.")
    if not request.images and not (source / "dataset.json").exists():
        return propose(source, request, settings, tell)
    settings.create_folders()
    with _alone(settings, request):
        return _import(source, _free_target(settings, request), request, settings, tell)


@contextmanager
def _alone(settings: Settings, request: PrepareRequest) -> Iterator[None]:
    """Allow only one import of an id at a time. Servers with other results see the lock beside the data, too."""
    lock = Lock(settings.folder("raw") / f".importing-Dataset{request.dataset_id:03d}.lock")
    mine = request.model_dump(mode="json")
    try:
        taken = lock.try_acquire(mine) and _is_there(lock)
    except OSError as error:
        raise Unavailable(f"{settings.folder('raw')} cannot be written to: {error}") from error
    if not taken:
        lock.release()
        raise Refused(_under_way(request, same=lock.holder() == mine, other=lock.holder().get("name", "?")))
    try:
        yield
    finally:
        lock.path.unlink(missing_ok=True)
        lock.release()


def _is_there(lock: Lock) -> bool:
    """Whether the lock was not removed by its last holder while it was opened."""
    return lock.path.is_file() and lock.path.stat().st_ino == os.fstat(lock.fileno()).st_ino


def _under_way(request: PrepareRequest, *, same: bool, other: object) -> str:
    if same:
        return (
            f"This import is already under way. {call('nnunet_datasets')} lists "
            f"Dataset{request.dataset_id:03d}_{request.name} when it is complete."
        )
    return f"Dataset id {request.dataset_id:03d} is just being imported as {clean(other)}. Choose another id."


def _import(source: Path, target: Path, request: PrepareRequest, settings: Settings, tell: Tell) -> Prepared:
    for killed in target.parent.glob(f".importing-{target.name[:10]}_*"):
        shutil.rmtree(killed, ignore_errors=True)
    refuse_without_room({target.parent: SPARE_BYTES})
    partial = Path(tempfile.mkdtemp(prefix=f".importing-{target.name}-", dir=target.parent))
    try:
        partial.chmod(0o755)
        if request.images:
            content, plan = write_folder(partial, request, source, settings, tell)
            imported, doubts = Description(content, plan.changes), plan.doubts
        else:
            imported, doubts = _copy_dataset(partial, source, settings, tell), []
        _refuse_incomplete(partial, imported)
        partial.rename(target)
    except OSError as error:
        raise Unavailable(f"{request.source!r} could not be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    fault = region_fault(imported)
    return _answer(request, target, imported, [*doubts, *([fault.told] if fault else [])])


def _copy_dataset(folder: Path, source: Path, settings: Settings, tell: Tell) -> Description:
    if (source / "dataset.json").exists():
        allowed_path(settings, str(source / "dataset.json"), what="the source's file")
    description = read_description(source)
    copies = copies_of(source, description, settings)
    refuse_without_room({folder.parent: sum(copy.source.stat().st_size for copy in copies) + SPARE_BYTES})
    imported = _fill(folder, copies, description, settings, tell)
    if unread := unread_files(source, description):
        imported.changes.append(f"not imported, because they do not end in {description.file_ending}: {some(unread)}")
    return imported


def _refuse_incomplete(folder: Path, imported: Description) -> None:
    if problems := file_problems(folder, imported):
        raise Refused("The source is not a complete dataset:\n- " + "\n- ".join(problems))


def _free_target(settings: Settings, request: PrepareRequest) -> Path:
    """The new folder. The id may be used by models if they have the same dataset name."""
    name = f"Dataset{request.dataset_id:03d}_{request.name}"
    if taken := dataset_folders(settings.folders, request.dataset_id):
        raise Refused(
            f"Dataset id {request.dataset_id:03d} is taken by {', '.join(taken)}. Choose another id, or "
            f"ask the person whether to train it: {call('nnunet_training', dataset_id=request.dataset_id)}."
        )
    if others := sorted({*trained_folders(settings.folders, request.dataset_id)} - {name}):
        raise Refused(
            f"Dataset id {request.dataset_id:03d} is taken by the models of {some(others)}. Choose another id, or the "
            "same name if these are their data."
        )
    return settings.folder("raw") / name


def _fill(folder: Path, copies: list[Copy], description: Description, settings: Settings, tell: Tell) -> Description:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for done, copy in enumerate(copies):
        tell(done, len(copies))
        target = folder / copy.target
        target.parent.mkdir(exist_ok=True)
        _bring(copy, target, settings.allowed_roots)
    tell(len(copies), len(copies))
    imported = _described(description)
    split = len({copy.source for copy in copies if copy.channel is not None})
    imported.changes += [f"{numbered(split, 'image')} split into a file for each channel"] if split else []
    (folder / "dataset.json").write_text(json.dumps(imported.content, indent=2, ensure_ascii=False), encoding="utf-8")
    return imported


def _described(description: Description) -> Description:
    changes = list(description.changes)
    if description.listed is not None:
        changes.append("the files that dataset.json lists lie in imagesTr and labelsTr, and the list is gone")
    return Description({k: v for k, v in description.content.items() if k not in LISTS}, changes)


def _bring(copy: Copy, target: Path, allowed: Sequence[Path]) -> None:
    """Copy the very file that was opened and checked; from then on only the copy is read."""
    aside = target.with_name(f".{target.name}") if copy.source.name.endswith(NIFTI) else target
    try:
        with open_plain(copy.source, inside=allowed) as source, aside.open("xb") as stream:
            shutil.copyfileobj(source, stream, BLOCK)
    except NotPlain as error:
        raise Refused(f"{copy.source.name} {error.strerror}. Put a copy of the file there.") from None
    if why := voxels_elsewhere(aside):
        raise Refused(f"{copy.source.name}: {why}. Write the image into one file.")
    if aside == target:
        if copy.channel is not None:
            raise Refused(
                f"{copy.source.name} has no channel number, and only NIfTI images are split into channels. Write each "
                f"channel to a file of its own, CASE_0000{copy.source.suffix} and so on."
            )
        return
    image = _open(aside, copy.source)
    if copy.channel is None and not _is_4d(image):
        aside.rename(target)
    else:
        _split(copy, image, target)
        aside.unlink()


def _is_4d(image: Any) -> bool:
    return len(image.shape) > 3 and any(size > 1 for size in image.shape[3:])


def _open(aside: Path, source: Path) -> Any:
    import nibabel

    try:
        return nibabel.load(aside)
    except Exception as error:  # nibabel raises many kinds of errors; all mean the same here
        why = str(error).replace(str(aside), source.name)
        raise Refused(f"{source.name} cannot be read ({why}). Export it again.") from error


def _split(copy: Copy, image: Any, target: Path) -> None:
    """Write one channel of a 4D NIfTI image, with the geometry of the whole."""
    import nibabel

    channels = image.shape[3] if len(image.shape) == 4 else 1
    if copy.channel is None or copy.channels != channels:
        raise Refused(
            f"{copy.source.name} has {channels} channels; dataset.json declares {copy.channels}. Correct modality "
            "(channel_names), or the image."
        )
    # dataobj is read lazily: one channel at a time in memory.
    part = nibabel.Nifti1Image(image.dataobj[..., copy.channel], image.affine, image.header)
    nibabel.save(part, target)


def _answer(request: PrepareRequest, target: Path, description: Description, doubts: list[str]) -> Prepared:
    images = {p.name.rsplit("_", 1)[0] for p in (target / "imagesTs").glob("*")}
    return Prepared(
        dataset_id=request.dataset_id,
        dataset_name=target.name,
        path=str(target),
        cases=description.content["numTraining"],
        test_cases=len(images),
        channels=tuple(description.channels),
        labels=description.labels,
        changes=tuple(description.changes),
        doubts=tuple(doubts),
        next_step="Ask the person whether to train it: "
        f"{call('nnunet_training', dataset_id=request.dataset_id, configuration=None, fold=None)}.",
    )
