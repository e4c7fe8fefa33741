"""Plans and dataset.json files that others wrote: checked first, and used only in the checked form.

Every reader of plans or of a dataset.json that nnU-Net will use, or that names are taken from, goes through this
module.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import Refused
from ..files import DESCRIPTION_BYTES, read_json
from ..settings import Settings
from ..texts import SAID_LENGTH, clean
from .plans import AdaptationPlan, DatasetDescription, Plans

SHOWN, SHOWN_VALUE = 3, 100
NEEDED = ("channel_names", "labels", "file_ending")
ONLY = "Only nnU-Net's own networks, readers and functions are used, with plain names."
OWN = "For plans of your own in nnU-Net's folders, set NNUNET_MCP_TRUST_PLANS=1 where the server starts."


def read_plans(path: Path, *, inside: Sequence[Path] = ()) -> dict[str, Any] | None:
    """The plans in a file, checked so that nnU-Net may use them; None where there are none.

    Raises:
        Refused: they name what nnU-Net would import, call, read or write elsewhere, or are no plans.
    """
    content = read_json(path, most=DESCRIPTION_BYTES, inside=inside)
    return None if content is None else content if is_trusted(path) else judged_plans(content, path)


def read_dataset_json(path: Path, *, inside: Sequence[Path] = ()) -> dict[str, Any] | None:
    """The dataset.json in a file, checked so that nnU-Net may use it; None where there is none.

    Raises:
        Refused: it is no dataset.json of nnU-Net v2.
    """
    content = read_json(path, most=DESCRIPTION_BYTES, inside=inside)
    return None if content is None else content if is_trusted(path) else judged_dataset(content, path)


def judged_plans(content: object, source: Path | str) -> dict[str, Any]:
    """Plans without the keys that nnU-Net does not read.

    Raises:
        Refused: a name, class or number in them is none that nnU-Net writes.
    """
    return _judged(Plans, content, source, "not as nnU-Net v2 writes plans", f"{ONLY} {OWN}")


def judged_dataset(content: object, source: Path | str) -> dict[str, Any]:
    """A dataset.json without the keys that nnU-Net does not read.

    Raises:
        Refused: something in it is not as nnU-Net v2 has it.
    """
    return _judged(
        DatasetDescription, content, source, "not as nnU-Net v2 writes it", "Correct it, or import the data."
    )


def judged_description(content: object, source: Path | str) -> dict[str, Any]:
    """As `judged_dataset`, of a model: with all that a prediction needs.

    Raises:
        Refused: as there, or something is missing.
    """
    found = judged_dataset(content, source)
    if lacking := [key for key in NEEDED if key not in found]:
        raise Refused(f"{source} lacks {', '.join(lacking)}, so nnU-Net v2 did not write it.")
    return found


def judged_adaptation(content: object, source: Path | str) -> dict[str, Any]:
    """The adaptation plan of a checkpoint of nnssl, without what nnU-Net does not read.

    Raises:
        Refused: it names a network that nnU-Net does not build, or is not as nnssl writes it.
    """
    way_on = "Use a checkpoint that nnssl published or wrote, of one of these networks."
    return _judged(AdaptationPlan, content, source, "not as nnssl writes it", way_on)


def is_trusted(path: Path) -> bool:
    """Whether the owner of the server vouches for the plans in nnU-Net's own folders."""
    settings = Settings()
    if not settings.trust_plans:
        return False
    own = (settings.folder("preprocessed"), settings.folder("results"), settings.folder("raw"))
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in own)


def _judged(model: type[BaseModel], content: object, source: Path | str, verdict: str, way_on: str) -> dict[str, Any]:
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        raise Refused(f"{_named(source)} is {verdict}: {_told(error)}. {way_on}") from None
    kept: dict[str, Any] = _kept(found, content)
    return kept


def _named(source: Path | str) -> str:
    """A file name with its folder; answers about a live run have no room for the whole path."""
    return clean("/".join(source.parts[-2:]) if isinstance(source, Path) else source, SAID_LENGTH)


def _kept(model: Any, content: Any) -> Any:
    """The checked content, with the values and the order of the file."""
    if isinstance(model, BaseModel) and isinstance(content, Mapping):
        names = {field.alias or name: name for name, field in type(model).model_fields.items()}
        return {key: _kept(getattr(model, names[key]), value) for key, value in content.items() if key in names}
    if isinstance(model, dict) and isinstance(content, Mapping):
        return {key: _kept(model[key], value) for key, value in content.items()}
    return content if model == content else model


def _told(error: ValidationError) -> str:
    """The first errors, each with its place. The arms of a union report the same error for one place."""
    found: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False):
        place = ".".join(clean(part) for part in fault["loc"][:5] if not _is_an_arm(part)) or "it"
        given = f"is {clean(repr(fault['input']), SHOWN_VALUE)}: "
        found.setdefault(place, f"{place} {given}{clean(fault['msg'].removeprefix('Value error, '), SAID_LENGTH)}")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(list(found.values())[:SHOWN]) + more


def _is_an_arm(part: object) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "constrained-int", "constrained-float"))
