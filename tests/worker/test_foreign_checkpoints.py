"""Checkpoints of strangers: data is read as data, whatever else is in them is a refusal and never a crash or a wait."""

import io
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from numpy._core import multiarray

from nnunet_mcp.worker.data_only import DEEPEST, NotData, unpickled
from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.weights import read_checkpoint, refuse_odd_names

READ = """
import sys
from pathlib import Path
from nnunet_mcp.worker.stage import StageFailure
from nnunet_mcp.worker.weights import read_checkpoint
try:
    found = read_checkpoint(Path(sys.argv[1]))
except StageFailure as failure:
    print("refused:", failure.failure.evidence)
else:
    print("read", found)
"""


class Call:
    """Pickled as a call of a function with arguments, and a state for what it returns."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def object_type(flags: int) -> Call:
    """A type of eight bytes with an object in them: numpy takes the file's bytes for a pointer."""
    fields = {"a": (numpy.dtype("O"), 0)}
    return Call(numpy.dtype, ("V8", False, True), (3, "|", None, ("a",), fields, 8, 1, flags))


def array(of: Any, content: bytes = b"\x41" * 8, shape: tuple[int, ...] = (1,)) -> Call:
    return Call(multiarray._reconstruct, (numpy.ndarray, (0,), b"b"), (1, shape, of, False, content))


def swapped(code: str, state: tuple[Any, ...]) -> Call:
    return Call(numpy.dtype, (code, False, True), state)


CRAFTED = {
    "a pointer of the file's": array(object_type(1)),
    "a type of objects": array(numpy.dtype("O")),
    "a number of objects": Call(multiarray.scalar, (numpy.dtype("O"), b"\x41" * 8)),
    "a number of a void type": Call(multiarray.scalar, (object_type(1), b"\x41" * 8)),
    "text": array(numpy.dtype("U2")),
    "dates": array(numpy.dtype("M8[ns]")),
    "a harmless type that becomes a void one": array(
        swapped("f8", (3, "<", None, ("a",), {"a": (numpy.dtype("O"), 0)}, 8, 1, 63))
    ),
    "fewer bytes than numbers": array(numpy.dtype("f8"), b"\0" * 8, (1 << 40,)),
    "a shape of negative length": array(numpy.dtype("f8"), b"\0" * 8, (-5, -7)),
    "a number without bytes": Call(multiarray.scalar, (numpy.dtype("f8"), b"")),
    "an array that is none": Call(multiarray._reconstruct, (numpy.ndarray, (0,), b"b")),
}


@pytest.fixture(scope="session")
def crafted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, evil in CRAFTED.items():
        found[name] = tmp_path_factory.mktemp("crafted") / "x.pth"
        torch.save({"network_weights": {}, "x": evil}, found[name])
    return found


@pytest.mark.parametrize("name", CRAFTED)
def test_what_numpy_would_make_of_a_crafted_type_is_refused(crafted: dict[str, Path], name: str) -> None:
    try:
        read = read_checkpoint(crafted[name])
    except StageFailure as failure:
        assert failure.failure.evidence.isprintable()
        return
    # Of a type whose state lies only kind and size count.
    assert name == "a harmless type that becomes a void one" and read["x"].dtype == numpy.dtype("f8")


def test_the_process_that_reads_a_crafted_pointer_lives_on(crafted: dict[str, Path]) -> None:
    command = [sys.executable, "-c", READ, str(crafted["a pointer of the file's"])]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0 and done.stdout.startswith("refused:"), done.stderr[-500:]


def test_numbers_and_arrays_of_every_plain_kind_are_what_they_were(tmp_path: Path) -> None:
    kinds = ["?", "i1", "i8", "u2", "f2", "f4", "f8", ">f4", "c8"]
    arrays = {kind: numpy.arange(6).reshape(2, 3).astype(kind) for kind in kinds}
    numbers = {kind: found[1, 1] for kind, found in arrays.items()}
    columns = numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3))
    torch.save({"network_weights": {}, "a": arrays, "n": numbers, "c": columns}, tmp_path / "x.pth")

    read = read_checkpoint(tmp_path / "x.pth")

    for kind in kinds:
        assert read["a"][kind].dtype == arrays[kind].dtype and (read["a"][kind] == arrays[kind]).all()
        assert read["n"][kind] == numbers[kind] and type(read["n"][kind]) is type(numbers[kind])
    assert (read["c"] == columns).all()


def refused(content: Any, path: Path) -> str:
    torch.save(content, path)
    begun = time.monotonic()
    with pytest.raises(StageFailure) as failure:
        read_checkpoint(path)
    assert time.monotonic() - begun < 5
    return failure.value.failure.evidence


def test_a_tensor_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(1 << 40)

    assert "larger than its content" in refused({"network_weights": {"x": huge}}, tmp_path / "x.pth")


def test_a_structure_without_end_is_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(DEEPEST + 1):
        deep = [deep]

    for value in (endless, deep):
        assert "nested" in refused({"network_weights": {}, "x": value}, tmp_path / "x.pth")


def test_a_list_that_stands_in_itself_twice_at_each_level_is_looked_at_once(tmp_path: Path) -> None:
    wide: list[Any] = []
    for _ in range(DEEPEST - 10):
        wide = [wide, wide]
    torch.save({"network_weights": {}, "x": wide}, tmp_path / "x.pth")
    begun = time.monotonic()

    read_checkpoint(tmp_path / "x.pth")

    assert time.monotonic() - begun < 5


def test_a_checkpoint_that_grows_when_it_is_unpacked_is_refused(tmp_path: Path) -> None:
    torch.save({"network_weights": {"x": torch.zeros(1 << 20)}}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "x.pth", "w") as packed:
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info), zipfile.ZIP_DEFLATED)

    with pytest.raises(StageFailure, match="packed as PyTorch packs no checkpoint"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"PK\x03\x04" + b"\0" * 100, b"\x1f\x8b" + b"\0" * 50])
def test_a_file_of_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)

    with pytest.raises(StageFailure, match="damaged, or no checkpoint"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "wrong",
    [
        {"trainer_name": "../x"},
        {"trainer_name": None},
        {"init_args": {"configuration": "a/b"}},
        {"init_args": []},
        {"inference_allowed_mirroring_axes": (7,)},
        {"inference_allowed_mirroring_axes": "012"},
    ],
)
def test_what_the_predictor_looks_up_in_a_checkpoint_is_a_plain_name(wrong: dict[str, Any]) -> None:
    good = {
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "2d"},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    assert refuse_odd_names(good, "x.pth") is good

    with pytest.raises(StageFailure):
        refuse_odd_names({**good, **wrong}, "x.pth")


PROPERTIES = {
    "spacing": [numpy.float64(1.5), 1.0],
    "class_locations": {1: numpy.arange(12).reshape(3, 4), 2: numpy.zeros((0, 4), numpy.int64)},
    "sitk_stuff": {"origin": (0.0, 1.0), "name": "case", "bytes": b"x"},
}


@pytest.mark.parametrize("protocol", range(3, 6))
def test_the_properties_of_a_preprocessed_case_are_read_as_they_were_written(protocol: int) -> None:
    read = unpickled(io.BytesIO(pickle.dumps(PROPERTIES, protocol=protocol)))

    assert repr(read) == repr(PROPERTIES)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_of_preprocessed_data_that_would_run_code_runs_nothing(tmp_path: Path, protocol: int) -> None:
    evil = {"x": Call(open, (str(tmp_path / "marker"), "w")), **PROPERTIES}

    with pytest.raises(NotData, match=r"it would call \w+\.open"):
        unpickled(io.BytesIO(pickle.dumps(evil, protocol=protocol)))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", CRAFTED)
def test_a_pickle_with_a_crafted_type_is_refused_too(name: str) -> None:
    try:
        read = unpickled(io.BytesIO(pickle.dumps(CRAFTED[name], protocol=4)))
    except NotData:
        return
    assert name == "a harmless type that becomes a void one" and read.dtype == numpy.dtype("f8")


SIZED = {
    "bytes of any number": Call(bytearray, (10**10,)),
    "a tensor of nothing": Call(torch.FloatTensor, (3 * 10**9,)),
    "another tensor of nothing": Call(torch.Tensor, (3 * 10**9,)),
    "a tensor without storage": Call(
        torch._utils._rebuild_meta_tensor_no_storage,
        (torch.float32, (10**6, 10**6), (10**6, 1), False),
    ),
}


@pytest.mark.parametrize("name", SIZED)
def test_nothing_is_made_of_a_size_that_the_file_only_names(tmp_path: Path, name: str) -> None:
    assert "it would call" in refused({"network_weights": {"x": SIZED[name]}}, tmp_path / "x.pth")


@pytest.mark.parametrize("number", [250_000_000, 2**31 - 1])
def test_ten_bytes_do_not_fill_the_memory(number: int) -> None:
    evil = b"\x80\x02}r" + number.to_bytes(4, "little") + b"."

    with pytest.raises(NotData, match="numbered beyond their count"):
        unpickled(io.BytesIO(evil))
