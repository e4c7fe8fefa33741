"""Nobody ever sees half of a file, and a kill or a full disk loses no more than the last line."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel

from nnunet_mcp.files import append_line, read_json, read_last_lines, read_lines, read_model, write_model, write_new
from nnunet_mcp.runs.layout import StageDir
from nnunet_mcp.schemas.records import Epoch


class Note(BaseModel):
    number: int
    text: str = ""


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_model(path, Note(number=0))
    ended = threading.Event()
    writer = threading.Thread(target=_rewrite, args=(path, ended))
    writer.start()

    found = []
    while not ended.is_set():
        found.append(read_model(path, Note))
    writer.join()

    assert len(found) > 100
    assert all(note is not None and note.text == "x" * note.number for note in found)


def _rewrite(path: Path, ended: threading.Event) -> None:
    for number in range(300):
        write_model(path, Note(number=number, text="x" * number), durable=False)
    ended.set()


def test_writing_leaves_no_other_file_and_lets_the_group_read(tmp_path: Path) -> None:
    write_model(tmp_path / "note.json", Note(number=1))

    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]
    assert (tmp_path / "note.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_never_replaces_one_also_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    if not has_links:
        monkeypatch.setattr("os.link", refused)
    write_new(tmp_path / "a.md", "first")

    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a.md", "second")

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.md", "first")]


def test_when_writing_fails_the_old_file_stays_and_nothing_else_is_left(tmp_path: Path) -> None:
    class Unwritable(Note):
        text: str = "\ud800"  # a lone surrogate cannot be encoded, so the write fails half-way

    path = tmp_path / "note.json"
    write_model(path, Note(number=1))
    with pytest.raises((UnicodeEncodeError, ValueError)):
        write_model(path, Unwritable(number=2))

    assert read_model(path, Note) == Note(number=1)
    assert [found.name for found in tmp_path.iterdir()] == ["note.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_raises_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_model(path, Note(number=1))
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError):
            write_model(path, Note(number=2))
    finally:
        tmp_path.chmod(0o755)

    assert read_model(path, Note) == Note(number=1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_raises_when_a_line_is_appended() -> None:
    with pytest.raises(OSError, match="No space left"):
        append_line(Path("/dev/full"), Note(number=1))


@pytest.mark.parametrize("content", [b"", b'{"number": 1', b"[]", b"\xff\xfe", b'{"number": "one"}'])
def test_what_is_not_valid_reads_as_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "note.json").write_bytes(content)

    assert read_model(tmp_path / "note.json", Note) is None
    assert read_model(tmp_path / "missing" / "note.json", Note) is None


def test_fields_of_a_newer_version_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"number": 1, "colour": "blue"}', encoding="utf-8")

    assert read_model(tmp_path / "note.json", Note) == Note(number=1)


def test_the_nan_that_nnunet_writes_reads_as_null(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text('{"Dice": NaN, "IoU": -Infinity}', encoding="utf-8")

    assert read_json(tmp_path / "summary.json") == {"Dice": None, "IoU": None}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe{}", id="no text"),
        pytest.param(b"[" * 100_000, id="bottomless"),
        pytest.param(b"1" * 10_000, id="a number of thousands of digits"),
    ],
)
def test_json_that_cannot_be_parsed_reads_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.json").write_bytes(content)

    assert read_json(tmp_path / "odd.json") is None


def test_a_folder_in_the_place_of_a_json_file_reads_as_none(tmp_path: Path) -> None:
    assert read_json(tmp_path) is None
    assert read_json(tmp_path / "missing" / "odd.json") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_json_that_may_not_be_read_reads_as_none(tmp_path: Path) -> None:
    (tmp_path / "odd.json").write_text("{}", encoding="utf-8")
    (tmp_path / "odd.json").chmod(0)

    assert read_json(tmp_path / "odd.json") is None


def test_a_half_written_last_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, Note(number=1))
    path.write_bytes(path.read_bytes() + b'{"number": 2, "te')

    assert list(read_lines(path, Note)) == [Note(number=1)]
    assert read_last_lines(path, Note, 5) == [Note(number=1)]


def test_a_torn_line_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"number": 1}\n{"number": 2, "te')

    append_line(path, Note(number=3))

    assert list(read_lines(path, Note)) == [Note(number=1), Note(number=3)]


@given(notes=st.lists(st.text(max_size=30), max_size=12), cut=st.integers(0, 40), count=st.integers(1, 15))
def test_wherever_a_kill_cuts_only_the_cut_line_is_lost(
    tmp_path_factory: pytest.TempPathFactory, notes: list[str], cut: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "lines.jsonl"
    written = [Note(number=number, text=text) for number, text in enumerate(notes)]
    for note in written:
        append_line(path, note)
    path.touch()
    kept = path.read_bytes()[: max(0, path.stat().st_size - cut)]
    path.write_bytes(kept)
    append_line(path, Note(number=99))

    whole = [note for note in written if note.model_dump_json().encode() in kept]
    assert list(read_lines(path, Note)) == [*whole, Note(number=99)]
    assert read_last_lines(path, Note, count)[-1] == Note(number=99)


def test_the_last_lines_of_a_long_file_are_whole_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"number": {n}, "text": "{"x" * 60}"}}\n' for n in range(5000)), encoding="utf-8")

    found = read_last_lines(path, Note, 40)

    assert [note.number for note in found] == list(range(4960, 5000))


def test_a_file_that_was_replaced_while_it_was_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tries = tmp_path / "state.json", list[Path]()
    write_model(path, Note(number=1))
    real = Path.read_bytes

    def stale_once(self: Path) -> bytes:
        tries.append(self)
        if len(tries) % 2:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", stale_once)

    assert read_model(path, Note) == Note(number=1)
    assert read_json(path)["number"] == 1


@pytest.mark.parametrize("classes", [2, 60, 500])
def test_the_last_epochs_are_found_whatever_the_length_of_their_lines(tmp_path: Path, classes: int) -> None:
    stage = StageDir(tmp_path)
    dice = tuple([0.1234567890123456] * classes)
    names = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice", "seconds")
    fields = {"pseudo_dice_per_class": dice, **dict.fromkeys(names, 0.1)}
    lines = [Epoch.model_validate({"epoch": number, **fields}).model_dump_json() for number in range(300)]
    stage.epochs_file.write_text("\n".join(lines) + '\n{"epoch": 300, "tr', encoding="utf-8")

    assert [epoch.epoch for epoch in stage.recent_epochs(1)] == [299]
    assert [epoch.epoch for epoch in stage.recent_epochs(200)] == list(range(100, 300))


def test_of_an_epoch_that_was_trained_twice_the_last_line_counts(tmp_path: Path) -> None:
    stage = StageDir(tmp_path)
    line = '{{"epoch": {}, "train_loss": {}, "val_loss": null, "learning_rate": null, "pseudo_dice": null, '
    line += '"ema_pseudo_dice": null, "seconds": null}}\n'
    text = "".join(line.format(epoch, loss) for epoch, loss in [(0, 0.5), (1, 0.4), (2, 0.3), (1, -0.1), (2, -0.2)])
    stage.epochs_file.write_text(text, encoding="utf-8")

    assert [(epoch.epoch, epoch.train_loss) for epoch in stage.epochs()] == [(0, 0.5), (1, -0.1), (2, -0.2)]
