"""What stands in a report beside the methods: facts in rows, what limits the numbers, and how to do it again."""

import time
from collections.abc import Callable, Iterator, Mapping

from ...calls import call
from ...texts import clean, fold_name, numbered
from ..training.repeating import OF_ONE_RUN
from . import methods_data
from .names import Names
from .subjects import Subject, told
from .wording import listed

Row = tuple[str, str]
OWN_TO_THE_MACHINE = ("engine", "slurm", "device")
QUOTED = ("source as given",)  # rows in others' words
# A 95 % percentile interval of 10 normal values holds the mean in 90 of 100 times, of 20 in 93 (Student's t).
FEW_CASES = 20


def of_data(subject: Subject) -> Iterator[Row]:
    """The dataset and its division."""
    yield "dataset", subject.files.name
    for name, tell in DATA.items():
        yield name, told(tell, subject)


def _cases(subject: Subject) -> str:
    counted, patients = methods_data.cases_of(subject), len(set(subject.patients.values()))
    several = patients < len(subject.patients)
    return f"{counted}, of {patients} patients by their names" if several else str(counted or "")


DATA: Mapping[str, Callable[[Subject], str]] = {
    "cases": _cases,
    "channels": lambda subject: listed(map(clean, subject.description["channel_names"].values())),
    "labels": lambda subject: listed(
        clean(f"{name}: {value}") for name, value in subject.description["labels"].items()
    ),
    "images": methods_data.sizes,
    "planned spacing": methods_data.spacing,
    "source as given": methods_data.origin,
    "split": methods_data.split,
}


def of_training(subject: Subject) -> Iterator[Row]:
    """What was trained."""
    trainer, plans, configuration = subject.model.name
    record = subject.record
    yield "run", record.run_id
    yield "started", time.strftime("%Y-%m-%d", time.gmtime(record.created_at))
    yield "trainer", trainer
    yield "changes", ", ".join(subject.request.changes)
    yield "plans", plans
    yield "configuration", configuration
    yield "folds", listed(map(fold_name, subject.scores.folds))


def limits(subject: Subject, names: Names) -> Iterator[str]:
    """What a reader should know before believing the numbers."""
    result, measured = subject.result, len(subject.scores.cases)
    if result.status != "success":
        yield f"The run is not finished ({result.status}); what is validated of it is reported."
    if subject.is_of_every_case:
        yield "Measured on the cases that it was trained on (resubstitution): too good for new cases."
    elif result.cross_validation:
        yield f"It is {result.cross_validation}, with {numbered(measured, 'validation case')}."
    if measured < FEW_CASES:
        yield f"{numbered(measured, 'case')} measured: intervals of so few are too narrow, and worst cases mean little."
    yield from map(names, result.notes)
    yield "A research model: it is no medical device."


def again(subject: Subject) -> str:
    """The call that repeats it."""
    given = subject.request.model_dump(mode="json", exclude_defaults=True)
    kept = {name: value for name, value in given.items() if name not in (*OWN_TO_THE_MACHINE, *OF_ONE_RUN)}
    return str(call("nnunet_training", **kept))


def digests(subject: Subject) -> Iterator[Row]:
    """By which the same plans, split and data are recognised."""
    if subject.end is not None:
        yield from subject.end.sha256.items()
        yield "raw data (names, sizes, times)", subject.end.raw_identity or ""
        yield "seeds", subject.end.seeds
