"""nnunet_split_dataset: which cases each fold validates, kept as nnU-Net's splits_final.json beside the raw data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...calls import argument, call
from ...errors import Refused
from ...files import read_plain
from ...nnunet.best import made_from
from ...nnunet.cases import case_names, file_problems
from ...nnunet.dataset_json import Description, read_description, region_fault
from ...nnunet.datasets import DatasetFiles, find_dataset
from ...nnunet.splits import (
    Split,
    begun_otherwise,
    chosen_split,
    faults,
    keep_split,
    read_split,
    split_of,
    usual_split,
)
from ...runs.layout import StateDir
from ...runs.store import nobody_starts, trainings_on
from ...schemas.datasets import SplitAnswer, SplitFold, SplitRequest
from ...settings import Settings
from ...texts import clean, first, numbered, some
from .looks import Tell, look_into
from .patients import Patient, by_pattern, by_table, group, rare_labels, spread

LOOK_S = 40.0  # clients allow a call a minute
TABLE_BYTES = 16 << 20
FAULTS = 5
LAST_PART = re.compile(r"[_.\- ][^_.\- ]*$")
FEW_TO_MEASURE = 3  # cases: with one or two the Dice of a fold is that of its cases
SHOWN = 20  # folds, and patients with several cases


@dataclass
class Made:
    """A split with what is told of it."""

    split: Split
    how: str
    patients: dict[str, str]
    labels: dict[str, frozenset[str]]  # of each case, the rare ones
    notes: list[str]


def nnunet_split_dataset(
    request: SplitRequest, settings: Settings, tell: Tell | None = None, *, look_s: float = LOOK_S
) -> SplitAnswer:
    """Choose the folds of a dataset; kept only with `write`. `tell` gets the cases looked at, and of how many.

    Raises:
        NotFound, Refused: no such dataset, the split is not possible, or trainings began with another one.
    """
    files = find_dataset(settings.folders, request.dataset_id)
    if not files.raw.is_dir():
        raise Refused(
            f"{files.name} has no folder in {files.folders.raw}, where its split is kept. Put its data there."
        )
    description = read_description(files.raw)
    if problems := file_problems(files.raw, description):
        raise Refused(f"Dataset {files.name} cannot be split:\n- " + "\n- ".join(problems))
    made = _make(request, files, description, settings, look_s, tell)
    if fault := region_fault(description):
        made.notes.append(f"In dataset.json, {fault.told}")
    if request.write:
        blocked = _keep(files, made, settings)
        if blocked:
            raise Refused(blocked)
    elif blocked := _blocked(files, made.split, settings):
        made.notes.append(f"It cannot be kept: {blocked}")
    return _answer(request, files, made, possible=not blocked)


def _keep(files: DatasetFiles, made: Made, settings: Settings) -> str:
    """Write the split, unless trainings are in the way: they are named."""
    with nobody_starts(StateDir.of(settings)):
        blocked = _blocked(files, made.split, settings)
        if not blocked and (kept := keep_split(files, made.split, made.how)):
            made.notes.append(f"The split that was there is kept in {kept}.")
    return blocked


def _make(
    request: SplitRequest,
    files: DatasetFiles,
    description: Description,
    settings: Settings,
    look_s: float,
    tell: Tell | None,
) -> Made:
    cases = case_names(files, description)
    patients = _patients(cases, request.patients, description.file_ending, settings)
    if request.validation:
        split = _fixed(cases, patients, request.validation)
        return Made(split, "a fixed validation set", patients, {}, _notes_on_present(files, cases, patients))
    found = _labels(files, description, settings, look_s, tell) if request.stratify else {}
    units = group(cases, patients, found)
    if len(units) < request.folds:
        what = "patients" if patients else "cases"
        raise Refused(
            f"{files.name} has {len(units)} {what}, too few for {request.folds} folds. Use at most "
            f"{argument(folds=len(units))}, name a fixed set with {argument(validation=None)}, or train with "
            f"{argument(fold='full')}."
        )
    rare = rare_labels(units, request.folds)
    labels = {case: frozenset(own) & rare.keys() for case, own in found.items()}
    split = _folds(cases, group(cases, patients, labels), request)
    notes = [*_notes_on_labels(rare, units, request.folds), *_notes_on_present(files, cases, patients)]
    notes += [] if patients else _notes_on_names(cases)
    return Made(split, _how(request, rare), patients, labels, notes)


def _patients(cases: Sequence[str], told: str, ending: str, settings: Settings) -> dict[str, str]:
    """The patient of each case, by a pattern of case names or by a table."""
    if not told or "{" in told or "*" in told:
        return by_pattern(cases, told) if told else {}
    try:
        text = read_plain(Path(told), most=TABLE_BYTES, inside=settings.allowed_roots).decode("utf-8-sig")
    except (OSError, ValueError):  # ValueError: no path, or no text
        raise Refused(
            f"patients: {clean(told)} is no table in an allowed folder (NNUNET_MCP_ALLOWED_DIRS), CSV or TSV in UTF-8 "
            "with the columns case and patient; nor a pattern, which has {patient}, for example {patient}_*."
        ) from None
    return by_table(cases, text, told, ending)


def _folds(cases: Sequence[str], units: Sequence[Patient], request: SplitRequest) -> Split:
    """nnU-Net's own way where nothing has to be kept together or spread."""
    if any(len(unit.cases) > 1 or unit.labels for unit in units):
        return split_of(cases, spread(units, request.folds, request.seed))
    found = usual_split(cases, request.folds, request.seed)
    assert found is not None  # the cases were counted
    return found


def _fixed(cases: Sequence[str], patients: Mapping[str, str], names: Iterable[str]) -> Split:
    """One fold that validates the named cases, and all cases of the named patients."""
    wanted = set(names)
    held_out = {case for case in cases if case in wanted or patients.get(case) in wanted}
    if unknown := sorted(wanted - set(cases) - set(patients.values())):
        what = "cases or patients" if patients else "cases"
        raise Refused(f"validation names no {what} of the dataset: {some(unknown)}. It has {some(cases)}.")
    if len(held_out) == len(cases):
        raise Refused("validation names every case, so none is left to train on. Name fewer.")
    torn = sorted(
        {patients[case] for case in held_out if case in patients}
        & {patients[case] for case in cases if case not in held_out and case in patients}
    )
    if torn:
        raise Refused(
            f"validation has some cases of these patients, and training would have the others: {some(torn)}. Name "
            "the patients instead."
        )
    return split_of(cases, [held_out])


def _labels(
    files: DatasetFiles, description: Description, settings: Settings, look_s: float, tell: Tell | None
) -> dict[str, frozenset[str]]:
    """The labels in each case, from the kept looks; only cases that are new are opened.

    Raises:
        Refused: not every case could be looked at.
    """
    looks = look_into(files, description, settings, budget_s=look_s, tell=tell)
    seen = {name: look.label for name, look in looks.found.items() if look.label and not look.label.error}
    if unseen := sorted(set(case_names(files, description)) - set(seen)):
        ways = "Call again to go on" if looks.partial else f"See {call('nnunet_datasets', dataset_id=files.dataset_id)}"
        raise Refused(
            f"The labels of {len(unseen)} cases are not known yet: {some(unseen)}. {ways}, or use "
            f"{argument(stratify=False)}."
        )
    values = {
        name: set(value if isinstance(value, list) else [value])
        for name, value in description.labels.items()
        if name not in ("background", "ignore")
    }
    return {case: frozenset(n for n, own in values.items() if own & look.values.keys()) for case, look in seen.items()}


def _how(request: SplitRequest, rare: Mapping[str, int]) -> str:
    patients = f", patients by {clean(request.patients)} kept together" if request.patients else ""
    spread_ = f", rare labels spread ({some(sorted(rare))})" if rare else ""
    return f"seed {request.seed}{patients}{spread_}"


def _notes_on_labels(rare: Mapping[str, int], units: Sequence[Patient], folds: int) -> list[str]:
    what = "patient" if any(len(unit.cases) > 1 for unit in units) else "case"
    few = [f"{clean(label)} ({numbered(count, what)})" for label, count in rare.items() if count < folds]
    if not few:
        return []
    return [f"Labels that cannot be in each of {folds} folds, so that some folds do not measure them: {some(few)}."]


def _notes_on_names(cases: Sequence[str]) -> list[str]:
    """A doubt where names look like several scans of a patient: p1_a, p1_b."""
    alike = [one for one in group(cases, {case: LAST_PART.sub("", case) for case in cases}, {}) if len(one.cases) > 1]
    if not alike or len(alike[0].cases) == len(cases):  # all cases begin alike: case_001, case_002
        return []
    return [
        f"Some names begin alike ({some(alike[0].cases)}). If these are scans of one patient, keep them together with "
        f"{argument(patients='{patient}_*')} or a table: else the validation measures patients that were trained on."
    ]


def _notes_on_present(files: DatasetFiles, cases: Sequence[str], patients: Mapping[str, str]) -> list[str]:
    """What is wrong with the split that is there, as far as these patients show it."""
    present = read_split(files.own_splits_file) or read_split(files.splits_file)
    found = faults(present, cases, patients) if present else []
    more = f"; and {len(found) - FAULTS} more faults" if len(found) > FAULTS else ""
    return [f"In the split that is there, {'; '.join(found[:FAULTS])}{more}."] if found else []


def _blocked(files: DatasetFiles, split: Split, settings: Settings) -> str:
    """Why the split cannot be kept: trainings began with another one, or may begin with it at any moment."""
    try:
        chosen_split(files, split)
    except Refused:
        return f"{files.splits_file} is another split, which was put there by hand. Remove it first."
    again = call("nnunet_prepare_dataset", source=str(files.raw), dataset_id=None, name=None)
    if begun := begun_otherwise(files, split):
        models = dict.fromkeys(name.partition("/")[0] for name in begun)
        folds = [name.rpartition("_")[2] for name in begun]
        made = ", ".join(filter(None, (made_from(files, model, folds) for model in models)))
        rests = f" On them rest {made}." if made else ""
        return (
            f"{files.name} has models that began with another split: {some(begun)}.{rests} Folds of two splits do not "
            f"go together. Import the data once more, under another id, with {again}, and split them there; what is "
            "trained stays as it is."
        )
    same = split == (read_split(files.own_splits_file) or read_split(files.splits_file))
    run_id = None if same else next(trainings_on(StateDir.of(settings), files.name), None)
    if run_id is None:
        return ""
    return (
        f"Run {run_id} is active on {files.name}, and its folds keep to the split that is there. Stop it with "
        f"{call('nnunet_cancel', run_id=run_id)} before its training begins, or import the data once more, under "
        f"another id, with {again}, and split them there."
    )


def _answer(request: SplitRequest, files: DatasetFiles, made: Made, *, possible: bool) -> SplitAnswer:
    cases = sorted({case for fold in made.split for case in fold.every})
    several = [unit for unit in group(cases, made.patients, {}) if len(unit.cases) > 1]
    grouped = [f"{clean(unit.name)}: {some(unit.cases)}" for unit in several]
    if (fewest := min(len(fold.val) for fold in made.split)) < FEW_TO_MEASURE:
        made.notes.append(
            f"A fold validates {numbered(fewest, 'case')} only: read the Dice over all folds, not of one."
        )
    if len(made.split) > SHOWN:
        made.notes.append(f"The first {SHOWN} of {len(made.split)} folds are shown.")
    return SplitAnswer(
        written=request.write,
        dataset_id=files.dataset_id,
        dataset_name=files.name,
        cases=len(cases),
        patients=len(set(made.patients.values())) if made.patients else None,
        made=made.how,
        count=len(made.split),
        folds=tuple(_line(number, made) for number in range(min(SHOWN, len(made.split)))),
        grouped=first(grouped, SHOWN),
        notes=tuple(made.notes),
        path=str(files.own_splits_file),
        next_step=_next_step(request, len(made.split), possible=possible),
    )


def _line(number: int, made: Made) -> SplitFold:
    fold = made.split[number]
    rare = sorted(frozenset[str]().union(*made.labels.values()))
    return SplitFold(
        fold=str(number),
        training=len(fold.train),
        validation=len(fold.val),
        patients=len({made.patients[case] for case in fold.val}) if made.patients else None,
        labels={clean(label): sum(label in made.labels[case] for case in fold.val) for label in rare[:SHOWN]},
        cases=some(fold.val),
    )


def _next_step(request: SplitRequest, folds: int, *, possible: bool) -> str:
    if request.write:
        train = call("nnunet_training", dataset_id=request.dataset_id, configuration=None, fold="all")
        return f"Ask the person whether to train, e.g. {train} ({numbered(folds, 'fold')})."
    if not possible:
        return "Read the notes: this split cannot be kept now."
    again = request.model_dump(mode="json", exclude_defaults=True) | {"write": True}
    if len(request.validation) > SHOWN:
        again["validation"] = None
    return f"Ask the person whether to keep it: {call('nnunet_split_dataset', **again)}."
