"""Files as archives and neighbours bring them: pipes, sockets, devices, endless ones, links and exchanged ones."""

import json
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nnunet_mcp
from nnunet_mcp.allowed_paths import readable_file
from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.files import NotPlain, open_plain, read_json, read_plain
from nnunet_mcp.locks import Lock
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.preprocessed import DatasetNote, dataset_note_file, raw_identity
from nnunet_mcp.nnunet.splits import made_here, read_split
from nnunet_mcp.nnunet.trainers import planner_for
from nnunet_mcp.runs.failures.diagnosis import read_end
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.provenance import compose_provenance
from nnunet_mcp.runs.slurm.job_states import last_word
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data import importing
from nnunet_mcp.tools.watching.log_file import count_lines
from nnunet_mcp.whole_images import voxels_elsewhere
from tests.kit.lab import ToolRefused
from tests.kit.strangers import sample
from tests.kit.tiny import ask, make_dataset, record_of

MODEL = "nnUNetTrainer__nnUNetPlans__2d"
SOURCES = Path(nnunet_mcp.__file__).parent
PACKAGES = ("nnunet", "runs", "tools", "schemas", "server")
OPENING = re.compile(r"\.read_text\(|\.read_bytes\(|\bopen\(")
# What is opened otherwise than through `files.py`: the kernel's files, our own package's, and what we make or write.
OPENED_OTHERWISE = {
    "runs/machine/capacity.py": 1,  # /proc and /sys
    "runs/local/engine.py": 1,  # the log that our process has just made
    "nnunet/installed.py": 1,  # of the installed PyTorch
    "liveness.py": 2,  # /proc
    "locks.py": 3,  # locks never wait (below); /proc/locks
    "runs/machine/nvidia_smi.py": 1,  # /proc
    "runs/machine/processor.py": 1,  # /proc
    "server/dashboard/__init__.py": 1,  # our page
    "server/dashboard/local.py": 1,  # the browser
    "server/reference.py": 1,  # our documents
    "server/terminal/commands.py": 1,  # /dev/null
    "tools/data/importing.py": 1,  # to write
    "tools/models/zip_look.py": 2,  # members of an archive, each up to a limit
    "tools/training/kept_asks.py": 2,  # to write
    "tools/data/ready.py": 1,  # our own description in the state folder
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    short = Path(tempfile.mkdtemp()) / "s"  # a socket's name has at most 107 characters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short))
    shutil.move(short, path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def bottomless(path: Path) -> None:
    path.write_text("[" * 200_000, encoding="utf-8")


def endless(path: Path) -> None:
    with path.open("wb") as stream:  # a hole: nothing is on the disk
        stream.truncate(1 << 40)


def many_lists(path: Path) -> None:
    path.write_text('{"channel_names": {}, "x": [' + "[]," * 7_000_000 + "[]]}", encoding="utf-8")


KINDS = [pipe, listening_socket, device, folder, bottomless, endless, many_lists]


@pytest.fixture(params=KINDS, ids=lambda make: str(make.__name__))
def make(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    found: Callable[[Path], None] = request.param
    return found


def quick(act: Callable[[], object]) -> None:
    begun = time.monotonic()
    act()
    assert time.monotonic() - begun < 5  # seconds of a busy machine; what is meant is: it does not wait


def test_a_json_of_an_odd_kind_is_none_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.json")

    quick(lambda: read_json(tmp_path / "x.json", most=16 << 20) is None or pytest.fail("it was read"))


def test_an_import_whose_description_is_of_an_odd_kind_is_refused_in_a_sentence(
    settings: Settings, downloads: Path, make: Callable[[Path], None]
) -> None:
    source = make_dataset(downloads, "Task01_Odd")
    (source / "dataset.json").unlink()
    make(source / "dataset.json")

    def act() -> None:
        with pytest.raises(ToolRefused, match=r"dataset\.json"):
            ask(Settings(), "nnunet_prepare_dataset", source=str(source), dataset_id=7, name="Odd")

    quick(act)
    assert not list(settings.folder("raw").iterdir())


def test_a_dataset_of_an_odd_kind_hides_no_other(settings: Settings, make: Callable[[Path], None]) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Whole")
    odd = settings.folder("raw") / "Dataset500_F"
    odd.mkdir()
    make(odd / "dataset.json")

    quick(lambda: ask(settings, "nnunet_datasets"))
    whole, strange = ask(settings, "nnunet_datasets")["datasets"]
    assert whole["problems"] == [] and len(strange["problems"]) == 1


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_model_with_a_file_of_an_odd_kind_is_refused(
    settings: Settings, downloads: Path, make: Callable[[Path], None], name: str
) -> None:
    model = downloads / MODEL
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_final.pth").touch()
    (model / "plans.json").write_text(json.dumps(sample()), encoding="utf-8")
    (model / "dataset.json").write_text("{}", encoding="utf-8")
    (model / name).unlink()
    make(model / name)

    def act() -> None:
        with pytest.raises(ToolRefused, match=r"json|model folder"):
            ask(Settings(), "nnunet_predict", model=str(model), images=str(downloads), device="cpu")

    quick(act)


@pytest.mark.parametrize("make_image", [pipe, listening_socket, device])
def test_images_that_are_no_files_are_refused(
    settings: Settings, downloads: Path, make_image: Callable[[Path], None]
) -> None:
    make_image(downloads / "x_0000.nii.gz")

    with pytest.raises(Exception, match=r"no regular file|outside the allowed"):
        readable_file(downloads / "x_0000.nii.gz", Settings())


def test_nothing_outside_the_folders_is_opened_through_a_link(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for one in (inside, outside):
        one.mkdir()
    (outside / "secret").write_text("s", encoding="utf-8")
    (inside / "file").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)

    for path in (inside / "file", inside / "folder" / "secret", inside / ".." / "outside" / "secret"):
        with pytest.raises(NotPlain, match="leads out"):
            open_plain(path, inside=[inside])
    assert read_plain(inside / "file", inside=[inside, outside]) == b"s"


def test_a_file_that_is_exchanged_between_look_and_use_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker's best moment: a link outside while it is opened, the harmless file again when it is looked at."""
    inside, secret = tmp_path / "inside", tmp_path / "secret"
    inside.mkdir()
    secret.write_text("s", encoding="utf-8")
    (inside / "file").symlink_to(secret)
    opened = os.open

    def exchanged(path: Path, flags: int) -> int:
        descriptor = opened(path, flags)
        (inside / "file").unlink()
        (inside / "file").write_text("harmless", encoding="utf-8")
        return descriptor

    monkeypatch.setattr(os, "open", exchanged)
    with pytest.raises(NotPlain):
        open_plain(inside / "file", inside=[inside])


@pytest.mark.parametrize("part", ["labelsTr/case_004.nii.gz", "imagesTr/case_004.nii.gz"])
def test_an_import_copies_nothing_that_a_link_was_exchanged_for(
    settings: Settings, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """As soon as the copying begins all checks of names are over."""
    source = make_dataset(downloads, "Task01_Race", style="msd")
    secret = shutil.copy(source / "imagesTr" / "case_000.nii.gz", tmp_path / "secret.nii.gz")
    bring, swapped = importing._bring, threading.Event()

    def attacked(*arguments: object) -> None:
        if not swapped.is_set():
            swapped.set()
            (source / part).unlink()
            (source / part).symlink_to(secret)
        bring(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "_bring", attacked)
    with pytest.raises(ToolRefused, match="leads out of the folders"):
        ask(Settings(), "nnunet_prepare_dataset", source=str(source), dataset_id=7, name="Race")
    assert swapped.is_set() and not list(settings.folder("raw").iterdir())


def meta(path: Path, secret: Path) -> None:
    header = f"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {secret}\n"
    path.with_suffix(".mha").write_text(header, encoding="utf-8")


def nrrd(path: Path, secret: Path) -> None:
    header = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {secret}\n\n"
    path.with_suffix(".nrrd").write_text(header, encoding="utf-8")


def hdf5(path: Path, secret: Path) -> None:
    path.with_suffix(".nii").write_bytes(bytes(1024) + b"\x89HDF\r\n\x1a\n" + str(secret).encode())


def ome(path: Path, secret: Path) -> None:
    text = f'<OME><TiffData><UUID FileName="{secret}">x</UUID></TiffData></OME>'
    path.with_suffix(".tif").write_bytes(b"II*\0" + bytes(100_000) + text.encode())


@pytest.mark.parametrize("make_image", [meta, nrrd, hdf5, ome])
def test_an_image_whose_voxels_lie_in_another_file_is_neither_imported_nor_predicted(
    settings: Settings, downloads: Path, tmp_path: Path, make_image: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "secret").write_bytes(b"12345678")
    source = downloads / "Task01_Led"
    for part in ("imagesTr", "labelsTr"):
        (source / part).mkdir(parents=True)
        make_image(source / part / "case_000", tmp_path / "secret")
    [image] = (source / "imagesTr").iterdir()
    described = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1}, "file_ending": image.suffix}
    (source / "dataset.json").write_text(json.dumps(described), encoding="utf-8")

    with pytest.raises(ToolRefused, match=r"other files?|another file|several files"):
        ask(Settings(), "nnunet_prepare_dataset", source=str(source), dataset_id=7, name="Led")
    with pytest.raises(Exception, match="Write the image into one file"):
        readable_file(image, Settings())
    assert voxels_elsewhere(image) and not list(settings.folder("raw").iterdir())


def test_images_that_are_whole_in_themselves_are_no_others(tmp_path: Path, downloads: Path) -> None:
    import SimpleITK

    source = make_dataset(downloads, "Task01_Whole")
    image = SimpleITK.ReadImage(str(source / "imagesTr" / "case_000_0000.nii.gz"))
    for ending in ("nii", "nii.gz", "mha", "nrrd", "gipl", "tif"):
        SimpleITK.WriteImage(SimpleITK.Cast(image, SimpleITK.sitkUInt8), str(tmp_path / f"x.{ending}"))
        assert voxels_elsewhere(tmp_path / f"x.{ending}") == ""


def test_every_file_of_others_is_opened_as_a_plain_one() -> None:
    found = {
        str(path.relative_to(SOURCES)): count
        for path in (*SOURCES.glob("*.py"), *(path for room in PACKAGES for path in (SOURCES / room).rglob("*.py")))
        if path.name != "files.py" and (count := len(OPENING.findall(path.read_text(encoding="utf-8"))))
    }
    assert found == OPENED_OTHERWISE, "open_plain and read_plain neither wait nor fill the memory"


@pytest.mark.parametrize("make", [kind for kind in KINDS if kind is not many_lists], indirect=True)  # only slow
def test_a_split_of_an_odd_kind_is_no_split_and_not_ours(settings: Settings, make: Callable[[Path], None]) -> None:
    files = DatasetFiles(settings.folders, "Dataset001_X")
    files.preprocessed.mkdir(parents=True)
    note = DatasetNote(raw_identity="", own_splits="x")
    dataset_note_file(files).write_text(note.model_dump_json(), encoding="utf-8")
    make(files.splits_file)

    def act() -> None:
        with pytest.raises(Refused, match="is no split of nnU-Net"):
            read_split(files.splits_file)
        assert not made_here(files)

    quick(act)


def test_a_log_of_an_odd_kind_says_nothing(tmp_path: Path) -> None:
    for kind in (pipe, listening_socket, device, folder):
        kind(path := tmp_path / kind.__name__)
        quick(lambda path=path: read_end(path, 1000) == "" or pytest.fail("it was read"))  # type: ignore[misc]
        quick(lambda path=path: last_word(path) is None or pytest.fail("it was read"))  # type: ignore[misc]
        with pytest.raises(NotPlain):
            count_lines(path, 1)


def test_an_owner_of_an_odd_kind_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    fold = FoldFiles(tmp_path)
    make(fold.owner_file)

    quick(lambda: fold.owner() is None or pytest.fail("it was read"))


@pytest.mark.parametrize("make", [kind for kind in KINDS if kind is not many_lists], indirect=True)  # only slow
def test_a_description_of_an_odd_kind_has_no_hash(settings: Settings, make: Callable[[Path], None]) -> None:
    record = record_of(settings)
    files = DatasetFiles(record.folders, record.dataset_name)
    for path in (files.raw / "dataset.json", files.splits_file):
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)

    def act() -> None:
        found = compose_provenance(StateDir(settings.state_dir).run(record.run_id), record)
        if make is bottomless:
            assert set(found.sha256) == {"splits_final.json"} and found.raw_identity
        else:
            assert (found.sha256, found.raw_identity) == ({}, None)
            with pytest.raises(OSError):
                raw_identity(files)

    quick(act)


def test_plans_of_an_odd_kind_are_not_named(settings: Settings, make: Callable[[Path], None]) -> None:
    files = DatasetFiles(settings.folders, "Dataset001_X")
    files.preprocessed.mkdir(parents=True)
    (files.preprocessed / "mine.json").write_text('{"plans_name": "mine"}', encoding="utf-8")
    make(files.preprocessed / "odd.json")

    def act() -> None:
        with pytest.raises(NotFound, match=r"has mine\."):
            planner_for(files, "yours")

    quick(act)


@pytest.mark.parametrize("kind", [pipe, device, endless])
def test_what_lies_in_the_place_of_a_lock_is_locked_without_waiting(
    tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    kind(tmp_path / "lock")
    rights = Path("/dev/zero").stat().st_mode

    def act() -> None:
        mine, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
        assert mine.is_free() and mine.holder() == {}
        assert mine.try_acquire({"run_id": "x"}) and not other.try_acquire() and not other.is_free()
        assert mine.holder() == ({"run_id": "x"} if kind is endless else {})
        mine.release()
        assert other.is_free()

    quick(act)
    assert Path("/dev/zero").stat().st_mode == rights
