"""What nnU-Net writes for overlapping regions: whether the values in its segmentations lie in the regions they are of.

nnU-Net paints the regions one after the other, in the order in which labels names them, each with its value of
regions_class_order (2.8.1, label_handling.py:169). So the last region that holds a value decides what is written.
"""

from collections.abc import Mapping, Sequence

from ..texts import clean, some
from .dataset_json import Description

Regions = Mapping[str, Sequence[int]]


def region_problems(description: Description) -> list[str]:
    """An order of regions with which a perfect model would score less than 1, and one that works."""
    order = description.content.get("regions_class_order")
    regions = {
        name: value if isinstance(value, list) else [value]
        for name, value in description.labels.items()
        if name not in ("background", "ignore") and value not in ([0], 0)
    }
    if not isinstance(order, list) or all(len(values) == 1 for values in regions.values()):
        return []
    wrong = {value: written for value, written in _written(regions, order).items() if _differ(regions, value, written)}
    if not wrong:
        return []
    became = some([f"{value} is written as {written}" for value, written in sorted(wrong.items())])
    return [
        f"regions_class_order {clean(order)} writes values of other regions: {became}. A perfect model would score "
        f"{_scores(regions, order)}. {_remedy(regions)}"
    ]


def _written(regions: Regions, order: Sequence[int]) -> dict[int, int]:
    """The value that is written for each declared value by a perfect model."""
    return {value: new for values, new in zip(regions.values(), order, strict=False) for value in values}


def _differ(regions: Regions, one: int, other: int) -> bool:
    return any((one in values) != (other in values) for values in regions.values())


def _scores(regions: Regions, order: Sequence[int]) -> str:
    """The regions whose Dice cannot be 1."""
    written = _written(regions, order)
    scores = []
    for name, values in regions.items():
        found = {value for value, new in written.items() if new in values}
        if found != set(values):
            scores.append(f"{clean(name)} {'below 1' if found & set(values) else '0'}")
    return some(scores)


def _remedy(regions: Regions) -> str:
    nested = dict(sorted(regions.items(), key=lambda item: -len(set(item[1]))))
    for ordered in (dict(regions), nested):
        order = _order(ordered)
        if not any(_differ(ordered, value, new) for value, new in _written(ordered, order).items()):
            first = (
                "" if list(ordered) == list(regions) else f"Name the labels in the order {', '.join(ordered)}, and set "
            )
            return f"{first or 'Set '}regions_class_order to {order}."
    return "No order can tell these regions apart: declare them so that each lies in the one before or outside it."


def _order(regions: Regions) -> list[int]:
    """For each region a value that no later region holds."""
    found = []
    for number, values in enumerate(regions.values()):
        later = {value for after in list(regions.values())[number + 1 :] for value in after}
        found.append(next((value for value in values if value not in later), values[0]))
    return found
