"""One dataset in detail, as lines of a card and rows of tables."""

from collections.abc import Sequence

from ...schemas.datasets import DatasetDetails, Spread


def facts(dataset: DatasetDetails) -> list[tuple[str, object]]:
    """The facts that take one line each."""
    channels = [
        (f"channel {c.channel}", f"{c.percentile_00_5:g} to {c.percentile_99_5:g}, median {c.median:g}")
        for c in dataset.intensities
    ]
    found = dataset.fingerprint
    measured = f"{_by(found.median_shape)} voxels of {_by(found.median_spacing)} mm" if found else None
    return [
        ("looked at", f"{dataset.inspected} of {dataset.cases} cases"),
        ("shape (z, y, x)", _spread(dataset.shapes)),
        ("spacing in mm", _spread(dataset.spacings)),
        *channels,
        ("fingerprint", measured),
    ]


def label_rows(dataset: DatasetDetails) -> list[tuple[str, str, int]]:
    """Label, share, cases."""
    return [(name, f"{100 * found.share:.3g} %", found.cases) for name, found in dataset.label_statistics.items()]


def plan_rows(dataset: DatasetDetails) -> list[tuple[object, ...]]:
    """Plans and configuration, patch, batch, spacing, stages, preprocessed cases."""
    return [
        (name, _by(plan.patch_size), plan.batch_size, _by(plan.spacing), plan.stages, plan.preprocessed_cases)
        for name, plan in dataset.plans.items()
    ]


def _spread(found: Spread | None) -> str | None:
    if found is None:
        return None
    if found.smallest == found.largest:
        return _by(found.median)
    return f"{_by(found.median)} ({_by(found.smallest)} to {_by(found.largest)})"


def _by(lengths: Sequence[float]) -> str:
    return " × ".join(f"{length:g}" for length in lengths)
