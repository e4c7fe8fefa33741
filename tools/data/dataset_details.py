"""One dataset in detail: look at its images, and sum up what was found."""

from ...calls import call
from ...errors import Refused, RunError
from ...nnunet.cases import file_warnings
from ...nnunet.dataset_json import Description, read_description
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...schemas.datasets import DatasetDetails, DatasetLine
from ...settings import Settings
from ...texts import clean, some
from .findings import findings
from .look_summary import first_images, intensities, label_statistics, spread, voxel_types
from .looks import Looks, Tell, look_into
from .plans_there import fingerprint_of, plans_of, read_plans


def details(
    line: DatasetLine, files: DatasetFiles, settings: Settings, *, budget_s: float, tell: Tell | None
) -> DatasetDetails:
    """The line of the list, and what the images and plans add to it."""
    known = {**dict(line), "fingerprint": fingerprint_of(files), "plans": plans_of(files, read_plans(files))}
    try:
        description = read_description(files.raw)
    except RunError:  # the line of the list reports this as a problem
        return DatasetDetails(**known, inspected=0)
    looks = look_into(files, description, settings, budget_s=budget_s, tell=tell)
    return DatasetDetails(**{**known, **_looked(line, files, description, looks)})


def _looked(line: DatasetLine, files: DatasetFiles, description: Description, looks: Looks) -> dict[str, object]:
    found = findings(looks, description)
    cases = [looks.found[name] for name in sorted(looks.found)]
    images = first_images(cases)
    return {
        "inspected": len(cases),
        "partial": looks.partial,
        "problems": (*line.problems, *found.problems),
        "warnings": (*_about_the_look(looks), *file_warnings(files.raw, description), *found.warnings),
        "shapes": spread([image.shape for image in images]),
        "spacings": spread([image.spacing for image in images]),
        "voxel_types": voxel_types(cases),
        "intensities": intensities(cases, description),
        "label_statistics": label_statistics(cases, description),
    }


def _about_the_look(looks: Looks) -> list[str]:
    said = []
    if looks.not_allowed:
        said.append(
            "cases whose files lie outside the allowed folders, so that they were not looked at: "
            f"{some(looks.not_allowed)}. Add their folder to NNUNET_MCP_ALLOWED_DIRS."
        )
    if looks.ended:
        said.append(
            f"the images could not all be looked at ({clean(looks.ended, 200)}). {call('nnunet_system')} says "
            "what is missing."
        )
    return said


def refuse_known_damage(settings: Settings, dataset_id: int) -> None:
    """Refuse what an earlier look has found to end a training. No image is opened.

    Raises:
        Refused: files that are still as they were would fail; the message names the cases.
    """
    files = find_dataset(settings.folders, dataset_id)
    if not files.raw.is_dir():
        return
    description = read_description(files.raw)
    looks = look_into(files, description, settings, budget_s=0)
    if breaks := findings(looks, description).breaks:
        raise Refused(f"Dataset {files.name} cannot be trained:\n- " + "\n- ".join(breaks))
