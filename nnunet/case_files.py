"""A case's files: its image, its labels, and the names of what the labels mean."""

from pathlib import Path

from ..errors import NotFound
from .cases import list_cases
from .dataset_json import Description
from .datasets import CASE_ENDINGS, DatasetFiles
from .raw_files import listed_names, listed_path


def case_names(files: DatasetFiles, description: Description) -> list[str]:
    """The training cases that have an image and labels, sorted."""
    if description.listed is not None:
        return sorted(description.listed)
    found = list_cases(files.raw, description.file_ending)
    return sorted((set(found.images) | set(found.unnumbered)) & found.labels)


def image_of(files: DatasetFiles, description: Description, case: str) -> Path:
    """The first channel's image.

    Raises:
        NotFound: the raw images are not there.
    """
    listed, _ = listed_names((description.listed or {}).get(case))
    names = [f"{case}_0000", case]
    inside = [files.raw / "imagesTr" / f"{name}{description.file_ending}" for name in names]
    return _first([*(listed_path(files.raw, name) for name in listed[:1]), *inside], files, f"image of case {case}")


def truth_of(files: DatasetFiles, description: Description, case: str) -> Path:
    """The labels that the case was trained on.

    Raises:
        NotFound: they are not there.
    """
    name = f"{case}{description.file_ending}"
    _, listed = listed_names((description.listed or {}).get(case))
    own = [listed_path(files.raw, listed)] if listed else []
    return _first([*own, files.raw / "labelsTr" / name, files.ground_truth / name], files, f"labels of case {case}")


def _first(candidates: list[Path], files: DatasetFiles, what: str) -> Path:
    for path in candidates:
        if path.is_file() and path.name.endswith(CASE_ENDINGS):
            return path
    raise NotFound(f"The {what} is not in {files.raw}. It is needed for this picture: put {candidates[-1].name} back.")


def label_names(description: Description) -> tuple[dict[int, str], int | None]:
    """The name of each label value, and the value that nnU-Net ignores. A region names all values it holds."""
    names: dict[int, list[str]] = {}
    for name, value in description.labels.items():
        for part in value if isinstance(value, list) else [value]:
            names.setdefault(part, []).append(name)
    ignored = description.labels.get("ignore")
    found = {value: ", ".join(given) for value, given in names.items() if value != 0}
    return found, ignored if isinstance(ignored, int) else None
