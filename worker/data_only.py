"""Read checkpoints and pickles that may hold only data: tensors, numbers, texts, and lists and dictionaries of them.

PyTorch's `weights_only=True` calls only functions that it knows, but nnU-Net's logged numbers need some numpy types
too. numpy's own functions would follow pointers that a crafted file gives them, so stand-ins are called here instead:
they build a number or an array from its bytes, and use only the kind, size and byte order of the type that the file
names.
"""

import io
import pickle
import pickletools
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import IO, Any, ClassVar

# the logged numbers of a thousand epochs and the plans take less than one MB
MOST_PICKLED = 64 << 20
MOST_UNPICKLED = 1 << 30  # the properties of a case (places of each class) take a few MB
MOST_ENTRIES = 100_000
DEEPEST = 100
# The names that a checkpoint's pickle may use: tensors are built from storages of the same file (torch/_utils.py),
# numbers by the stand-ins. PyTorch itself would also build tensors of any size from nothing.
IN_CHECKPOINTS = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(?:tensor_v2|parameter)|torch\.storage (?:Untyped|Typed)Storage"
    r"|torch \w+Storage|torch (?:device|Size|b?float\d+|u?int\d+|bool|complex\d+)|_codecs encode|__builtin__ set"
    r"|builtins set|numpy (?:dtype|ndarray)|numpy\.(?:_core|core)\.multiarray (?:scalar|_reconstruct)"
)
# opcodes that name an object; torch.save writes none of them
OTHER_WAYS = ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4")
NUMBER = re.compile(r"[biufc](?:1|2|4|8|16)")


class NotData(Exception):
    """The file holds something other than tensors, numbers and texts."""


def refuse_odd_archive(stream: IO[bytes]) -> None:
    """Check that the file is a zip as PyTorch writes it: uncompressed entries, with one small pickle among them.

    Raises:
        NotData, BadZipFile: it is another file, and reading it could take any time and memory.
    """
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES or any(info.compress_type != zipfile.ZIP_STORED for info in entries):
            raise NotData("it is packed as PyTorch packs no checkpoint")
        for info in (info for info in entries if info.filename.endswith(".pkl")):
            if info.file_size > MOST_PICKLED:
                raise NotData("it has more to unpickle than any checkpoint of nnU-Net")
            _refuse_odd_names(archive.read(info))
    stream.seek(0)


def _refuse_odd_names(content: bytes) -> None:
    for name, argument in _opcodes(content):
        if name in OTHER_WAYS or (name == "GLOBAL" and IN_CHECKPOINTS.fullmatch(str(argument)) is None):
            raise NotData(f"it would call {'.'.join(str(argument or name).split())}"[:160])


def _opcodes(content: bytes) -> Iterator[tuple[str, Any]]:
    """The opcodes of a pickle; none is executed.

    Raises:
        NotData: it is none, or would number its parts so high that the table of them fills the memory.
    """
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(str(argument)) > len(content):
                raise NotData("its parts are numbered beyond their count")
            yield opcode.name, argument
    except ValueError as error:
        raise NotData(f"it is no pickle ({error})"[:160]) from None


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: object = "", *_: object) -> None:
        if not isinstance(code, str) or NUMBER.fullmatch(code) is None:
            raise NotData(f"it has numbers of the type {str(code)[:40]!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        self.order = order if order in ("<", ">", "=", "|") else "="

    def numpy(self) -> Any:
        import numpy

        return numpy.dtype(self.code if self.order in "=|" else f"{self.order}{self.code}")


class _Array:
    """Stands in for numpy.ndarray; `plain` puts the array in its place."""

    def __init__(self, *_: object) -> None:
        self.made: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, of, in_columns, content = state
        if not isinstance(of, _Type) or not isinstance(content, bytes):
            raise NotData("it has an array of something else than numbers")
        import numpy

        flat = numpy.frombuffer(content, dtype=of.numpy())
        self.made = flat.reshape(tuple(map(int, shape)), order="F" if in_columns else "C").copy()


def _number(of: object, content: object = b"") -> Any:
    """Stands in for numpy's `scalar`."""
    import numpy

    if not isinstance(of, _Type) or not isinstance(content, bytes | str):
        raise NotData("it has a number that is none")
    found = content.encode("latin-1") if isinstance(content, str) else content
    return numpy.frombuffer(found, dtype=of.numpy(), count=1)[0]


def _array(*_: object) -> _Array:
    """Stands in for numpy's `_reconstruct`; its content comes later."""
    return _Array()


def stand_ins() -> list[Any]:
    """The stand-ins for `torch.serialization.safe_globals`, also under numpy's names before version 2."""
    places = ("numpy._core.multiarray", "numpy.core.multiarray")
    functions = [(made, f"{place}.{name}") for place in places for made, name in _FUNCTIONS]
    return [(_Type, "numpy.dtype"), (_Array, "numpy.ndarray"), *functions]


def unpickled(stream: IO[bytes]) -> Any:
    """The content of a pickle. Nothing that the pickle names is called.

    Raises:
        NotData: it is no pickle, or holds more than numbers, texts, lists and dictionaries of them.
    """
    content = stream.read(MOST_UNPICKLED + 1)
    if len(content) > MOST_UNPICKLED:
        raise NotData("it has more to unpickle than any case")
    for _ in _opcodes(content):
        pass
    try:
        return plain(_OfData(io.BytesIO(content)).load())
    except NotData:
        raise
    except Exception as error:  # a crafted pickle can fail in any way
        raise NotData(f"it cannot be read ({type(error).__name__})") from error


class _OfData(pickle.Unpickler):
    """An unpickler that knows only numpy's numbers and arrays, through the stand-ins."""

    known: ClassVar[dict[str, Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        if not self.known:
            self.known.update({place: made for made, place in stand_ins()})
            self.known.update({f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("_core", "core")})
            self.known["collections.OrderedDict"] = OrderedDict
        try:
            return self.known[f"{module}.{name}"]
        except KeyError:
            raise NotData(f"it would call {module}.{name}"[:160]) from None


def _from_buffer(content: Any, of: object, shape: Any, order: object) -> Any:
    """Stands in for numpy's function of that name, which protocol 5 calls."""
    made = _Array()
    made.__setstate__((1, shape, of, order == "F", bytes(content)))
    return made


_FUNCTIONS = ((_number, "scalar"), (_array, "_reconstruct"))


def plain(value: Any) -> Any:
    """The value, if each part of it is a tensor, a number or a text.

    Raises:
        NotData: a part is not.
    """
    return _plain(value, {}, 0)


def _plain(value: Any, known: dict[int, Any], depth: int) -> Any:
    """`known`: one list may occur in a thousand places and is checked only once."""
    import torch

    if depth > DEEPEST:
        raise NotData("it is nested without end")
    if type(value) in (dict, OrderedDict, list, tuple, set, torch.Size):
        if id(value) not in known:
            known[id(value)] = _container(value, known, depth + 1)
        return known[id(value)]
    if isinstance(value, _Array) and value.made is not None:
        return value.made
    if isinstance(value, torch.Tensor):
        return _dense(value)
    if value is None or isinstance(value, _simple()):
        return value
    raise NotData(f"it holds a {type(value).__name__}")


def _container(value: Any, known: dict[int, Any], depth: int) -> Any:
    if isinstance(value, dict):
        return type(value)((_plain(key, known, depth), _plain(inner, known, depth)) for key, inner in value.items())
    return type(value)(_plain(inner, known, depth) for inner in value)


def _simple() -> tuple[type, ...]:
    import numpy
    import torch

    return (bool, int, float, complex, str, bytes, numpy.number, numpy.bool_, torch.device, torch.dtype)


def _dense(tensor: Any) -> Any:
    """Refuse a view that is larger than its storage: a file of few bytes could claim any size."""
    import torch

    if (
        tensor.device.type != "cpu"
        or tensor.layout != torch.strided
        or tensor.is_quantized
        or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
    ):
        raise NotData("it has a tensor that is larger than its content")
    return tensor
