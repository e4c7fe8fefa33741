"""What a look into a dataset's images finds: what is asked of the worker's Python, and what it says of each case."""

from typing import Literal

from pydantic import Field

from .base import Record

Reader = Literal["simpleitk", "nibabel", "natural", "tiff"]


class CasePaths(Record):
    """A case's files as absolute paths."""

    case: str
    images: tuple[str, ...]
    label: str | None = None


class LookJob(Record):
    """What to look at. The reader is nnU-Net's choice for the dataset; None: by the first file that can be read."""

    cases: tuple[CasePaths, ...]
    reader: Reader | None = None


class FileLook(Record):
    """An image file as nnU-Net would read it. Shape and spacing run along z, y, x."""

    error: str = ""
    passing: bool = False  # the error may be gone the next time: no memory, no access
    channels: int = 1
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()
    dtype: str = ""
    digest: str = ""
    note: str = ""
    not_numbers: int = 0
    infinite: int = 0
    lowest: float | None = None
    highest: float | None = None
    quantiles: tuple[float, float, float] | None = None  # 0.5, 50 and 99.5 %


class LabelLook(FileLook):
    """A label file: how many voxels have which value, and how many a value that is not whole."""

    values: dict[int, int] = Field(default_factory=dict)
    fractional: int = 0
    uncounted: int = 0  # voxels whose value came after too many others


class CaseLook(Record):
    """All files of a case."""

    case: str
    images: tuple[FileLook, ...]
    label: LabelLook | None = None

    @property
    def kept(self) -> bool:
        """Whether the same files would give the same look."""
        return not any(file.passing for file in (*self.images, self.label) if file is not None)


class Line(Record):
    """A line of the worker: a case is begun, or done. A reader that crashes leaves a case begun."""

    begun: str | None = None
    done: CaseLook | None = None
