"""Look at the images of a prediction before nnU-Net reads them: it would end at the first that it cannot use."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import R_OK, access
from pathlib import Path

from ...schemas.datasets import FileLook, Reader
from ...texts import some
from ..asks.inspection.images import look_at_image

THREADS = 4  # decompression and ITK release Python's lock
COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}
MENDED = {"grey": "save it in grey", "RGB": "save it as RGB without alpha", "RGBA": "save it as RGBA"}
# nnU-Net's own readers, by the beginning of their names; of others nothing is known.
READERS: dict[str, Reader] = {
    "SimpleITKIO": "simpleitk",
    "NibabelIO": "nibabel",
    "NaturalImage2DIO": "natural",
    "Tiff3DIO": "tiff",
}


@dataclass
class Seen:
    """What a look at the images found: shape and spacing of each case along z, y, x, and why some cannot be used."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    spacings: dict[str, tuple[float, ...]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def look_at_all(
    cases: Mapping[str, Sequence[str]], reader_name: str, channels: int, tell: Callable[[int], None]
) -> Seen:
    """Read every image once, as nnU-Net's reader will; `tell` is called with the number of finished cases."""
    seen = Seen()
    reader = next((found for name, found in READERS.items() if reader_name.startswith(name)), None)
    if reader is None:
        return seen
    with ThreadPoolExecutor(THREADS) as pool:
        every = pool.map(lambda paths: [look_at_image(Path(path), reader) for path in paths], cases.values())
        for done, (case, looks) in enumerate(zip(cases, every, strict=True), 1):
            if fault := _fault(looks, cases[case], reader, channels):
                seen.faults[case] = fault
            elif looks[0].shape:
                seen.shapes[case], seen.spacings[case] = looks[0].shape, looks[0].spacing
            tell(done)
    return seen


def flat_notes(shapes: Mapping[str, Sequence[int]], usual: Sequence[float]) -> list[str]:
    """Of a model that was trained on volumes (`usual` is their median shape): which images are a single slice."""
    flat = [case for case, shape in shapes.items() if shape[0] == 1 and len(shape) == len(usual) == 3]
    if not flat or min(usual) <= 1:
        return []
    return [f"A single slice, where the model was trained on volumes: {some(flat)}. Do not trust these predictions."]


def _fault(looks: Sequence[FileLook], paths: Sequence[str], reader: Reader, channels: int) -> str:
    """Why nnU-Net could not use the images of a case; what only this look had no memory for, it may."""
    for look, path in zip(looks, paths, strict=True):
        if look.error and not (look.passing and access(path, R_OK)):
            return f"{Path(path).name}: {look.error}" if len(paths) > 1 else look.error
    if any(look.error for look in looks):
        return ""
    if reader == "natural" and (odd := _of_other_colours(looks, channels // len(looks))):
        return odd
    if len(shapes := dict.fromkeys(look.shape for look in looks)) > 1:
        return f"its channels differ in size: {' and '.join(_size(shape) for shape in list(shapes)[:2])} voxels"
    if (held := sum(look.channels for look in looks)) != channels:
        return f"it holds {held} channels, the model takes {channels}"
    return ""


def _of_other_colours(looks: Sequence[FileLook], wanted: int) -> str:
    for held in (look.channels for look in looks if look.channels != wanted):
        has, taken = (COLOURS.get(count, f"{count} channels") for count in (held, wanted))
        return f"it is {has}, the model takes {taken}: {MENDED.get(taken, 'save it with as many')}"
    return ""


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
