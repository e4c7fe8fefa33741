"""How models were trained differently, in words: by their runs' records, what the runs noted at their end, and plans.

Facts are in groups: a text per name. A group that is unknown of one model is named, so that whatever is not mentioned
is the same.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...nnunet.datasets import DEFAULT_PLANS, DEFAULT_TRAINER
from ...nnunet.models import Model
from ...schemas.changes.table import read_changes
from ...schemas.records import Provenance, RunRecord
from ...texts import NOTE_LENGTH, clean, short

Facts = Mapping[str, str]
# Arguments that can decide a result, beside trainer, plans, device and GPUs; the fold is in the table.
DECIDING = ("configuration", "pretrained_weights", "bf16", "val_best", "no_preprocessing")
NAMES_IN_PLANS = ("data_identifier", "inherits_from")
# Of these only a digest is known.
DIGESTS = {"raw data": "other files, sizes or times", "dataset.json": "another one", "split": "another one"}
SHOWN = 60  # three numbers with all digits; of lists of lists, which are longer, only the name is told
COMPARED = 10_000
YES_NO = {"True": "yes", "False": "no"}


@dataclass(frozen=True)
class Origin:
    """A model, the records of those of our runs that trained it, and what each noted at its end; or an evaluation."""

    model: Model
    records: tuple[RunRecord, ...] = ()
    ends: tuple[Provenance | None, ...] = ()

    @property
    def evaluation(self) -> RunRecord | None:
        """The run that measured predictions of which nobody knows the model."""
        return next((record for record in self.records if record.job.kind == "evaluate"), None)

    @property
    def note(self) -> str | None:
        """Why its runs were started."""
        notes = dict.fromkeys(record.note for record in self.records if record.note)
        return short("; ".join(notes), NOTE_LENGTH) or None

    @cached_property
    def facts(self) -> dict[str, Facts | None]:
        """What is known of it, by group."""
        trained = [record for record in self.records if record.training]
        return {
            "arguments": _together(map(_arguments, trained)),
            "changes": _together(map(_changes, trained), may_be_empty=True),
            "plans": _planned(self.model),
            **{name: _together(_digest(end, name) for end in self.ends) for name in DIGESTS},
            "versions": _together(record.versions for record in trained),
        }


def trained_otherwise(own: Origin, first: Origin) -> Iterator[str]:
    """How a model was trained other than the first."""
    if own is first or own.evaluation or first.evaluation:
        return
    known = {group: (facts, other) for group, facts in own.facts.items() if (other := first.facts[group]) is not None}
    pairs = {group: (facts, other) for group, (facts, other) in known.items() if facts is not None}
    if "arguments" not in pairs:  # names of models tell some of them
        yield from _in_words("model", own.model.name._asdict(), first.model.name._asdict())
    for group, (facts, other) in pairs.items():
        yield from _in_words(group, facts, other)
    if unknown := [group for group in own.facts if group not in pairs]:
        yield f"not known: {', '.join(unknown)}"


def _in_words(group: str, own: Facts, first: Facts) -> Iterator[str]:
    names = [name for name in dict.fromkeys((*own, *first)) if own.get(name) != first.get(name)]
    if names and group in DIGESTS:
        yield f"{group}: {DIGESTS[group]}"
    elif names:
        missing = "nnU-Net's" if group == "changes" else "none"
        values = ((name, own.get(name, missing), first.get(name, missing)) for name in names)
        yield f"{group}: {', '.join(_instead(*found) for found in values)}"


def _instead(name: str, own: str, first: str) -> str:
    return f"{name} {own} instead of {first}" if max(len(own), len(first)) <= SHOWN else f"another {name}"


def _together(of_runs: Iterable[Facts], *, may_be_empty: bool = False) -> Facts | None:
    """The facts of all runs of a model; null where one of them is unknown."""
    every = list(of_runs)
    if not every or not (may_be_empty or all(every)):
        return None
    names = dict.fromkeys(name for one in every for name in one)
    return {name: " and ".join(dict.fromkeys(one[name] for one in every if name in one)) for name in names}


def _arguments(record: RunRecord) -> Facts:
    assert record.training is not None
    request = record.training.request
    base = {
        "trainer": request.trainer or DEFAULT_TRAINER,
        "plans_identifier": request.plans_identifier or DEFAULT_PLANS,
    }
    given = {name: getattr(request, name) for name in DECIDING}
    return _texts({**base, **given, "device": record.device, "num_gpus": record.num_gpus})


def _changes(record: RunRecord) -> Facts:
    assert record.training is not None
    return read_changes(record.training.request.changes)


def _digest(end: Provenance | None, name: str) -> Facts:
    if end is None:
        return {}
    found = end.raw_identity if name == "raw data" else end.sha256.get("splits_final.json" if name == "split" else name)
    return {name: found} if found else {}


def _planned(model: Model) -> Facts | None:
    found = model.planned
    if found is None:
        return None
    network = found.get("architecture")
    layers = network.get("arch_kwargs") if isinstance(network, dict) else None
    name = str(network.get("network_class_name")).rpartition(".")[2] if isinstance(network, dict) else None
    told = {key: value for key, value in found.items() if key not in (*NAMES_IN_PLANS, "architecture")}
    return _texts({**told, "network": name, **(layers if isinstance(layers, dict) else {})})


def _texts(values: Mapping[str, Any]) -> Facts:
    """What is set, as text."""
    told = {name: YES_NO.get(str(value), value) for name, value in values.items() if value is not None}
    return {clean(name): clean(value, COMPARED) for name, value in told.items()}
