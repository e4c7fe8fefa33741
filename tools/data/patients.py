"""Which patient each case is of, and folds that keep a patient's cases together and spread rare labels."""

import csv
import io
import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import regex

from ...errors import Refused
from ...texts import clean, some
from .import_patterns import FIELD, whole_matches

MOST_FREE = 4  # parts of a pattern that match any text: more would take long on long names
CASE_WORDS, PATIENT_WORDS = ("case", "case_id", "image", "name"), ("patient", "patient_id", "subject", "subject_id")
# A label is rare if a split by chance would leave it out of some fold in more than one of 20 splits.
CHANCE = 0.05


@dataclass(frozen=True)
class Patient:
    """A patient, with the cases and the rare labels in them."""

    name: str
    cases: tuple[str, ...]
    labels: frozenset[str] = frozenset()


def by_pattern(cases: Sequence[str], pattern: str) -> dict[str, str]:
    """The patient of each case, as a pattern of their names says.

    Raises:
        Refused: it does not name one for every case.
    """
    found = whole_matches(_expression(pattern), dict(zip(cases, cases, strict=True)), pattern, "patients")
    if others := [case for case in cases if case not in found]:
        raise Refused(
            f"patients {clean(pattern)!r} does not fit {len(others)} of {len(cases)} cases: {some(others)}. Write a "
            "pattern that fits all, or name a CSV file with the columns case and patient."
        )
    patients = {case: parts["patient"] for case, parts in found.items()}
    if len(cases) > 1 and len(set(patients.values())) == 1:
        raise Refused(
            f"patients {clean(pattern)!r} says that all cases are of one patient, {clean(patients[cases[0]])!r}. "
            "{patient} ends where the text after it first occurs: write what stands before the patient, too."
        )
    return patients


def _expression(pattern: str) -> "regex.Pattern[str]":
    pieces = [piece for piece in FIELD.split(pattern) if piece]
    fields = [piece for piece in pieces if FIELD.fullmatch(piece)]
    if fields.count("{patient}") != 1 or not set(fields) <= {"{patient}", "{any}", "*"} or len(fields) > MOST_FREE:
        raise Refused(
            f"patients {clean(pattern)!r} must hold {{patient}} once, and besides at most {MOST_FREE - 1} * for any "
            "text, for example {patient}_*."
        )
    free = {"{patient}": "(?P<patient>.+?)", "{any}": ".*?", "*": ".*?"}
    return regex.compile("".join(free.get(piece) or regex.escape(piece) for piece in pieces), regex.DOTALL)


def by_table(cases: Sequence[str], text: str, path: str, ending: str) -> dict[str, str]:
    """The patient of each case, as a table says; cases may have their file ending there.

    Raises:
        Refused: it is no table, or does not name one patient for every case.
    """
    found: dict[str, str] = {}
    known = set(cases)
    for given, patient in _rows(text, path):
        case = given if given in known else given.removesuffix(ending)
        if found.setdefault(case, patient) != patient:
            raise Refused(f"{path} gives {clean(case)} to two patients, {some([found[case], patient])}. Correct it.")
    if missing := [case for case in cases if not found.get(case)]:
        raise Refused(
            f"{path} names no patient for {len(missing)} of {len(cases)} cases: {some(missing)}. Add a row for each: "
            "case, patient."
        )
    return {case: found[case] for case in cases}


def _rows(text: str, path: str) -> list[tuple[str, str]]:
    """The table's case and patient columns: those called so, else the first two."""
    first = text.partition("\n")[0]
    comma = next((sign for sign in "\t;," if sign in first), ",")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=comma) if row]
    except csv.Error:
        rows = []
    if not rows or min(map(len, rows)) < 2:
        raise Refused(
            f"patients: {clean(path)} is no table with the columns case and patient (CSV or TSV). A pattern has "
            "{patient}, for example {patient}_*."
        )
    head = [cell.lower() for cell in rows[0]]
    case = next((head.index(word) for word in CASE_WORDS if word in head), None)
    patient = next((head.index(word) for word in PATIENT_WORDS if word in head), None)
    if case is None or patient is None:
        return [(row[0], row[1]) for row in rows]
    return [(row[case], row[patient]) for row in rows[1:] if len(row) > max(case, patient)]


def group(cases: Iterable[str], patients: Mapping[str, str], labels: Mapping[str, Collection[str]]) -> list[Patient]:
    """The patients with their cases; a case whose patient is not known is one of its own."""
    held: dict[str, list[str]] = {}
    for case in cases:
        held.setdefault(patients.get(case, case), []).append(case)
    return [
        Patient(name, tuple(own), frozenset(label for case in own for label in labels.get(case, ())))
        for name, own in held.items()
    ]


def rare_labels(patients: Sequence[Patient], folds: int) -> dict[str, int]:
    """The labels that a split by chance easily leaves out of a fold, with the number of patients who have them."""
    counts = Counter(label for patient in patients for label in sorted(patient.labels))
    smallest = len(patients) // folds
    return {label: count for label, count in counts.items() if folds * _missed(count, smallest, len(patients)) > CHANCE}


def _missed(count: int, drawn: int, among: int) -> float:
    """The chance that none of `count` patients is among those drawn for a fold."""
    return math.prod(max(0, among - count - number) / (among - number) for number in range(drawn))


def spread(patients: Sequence[Patient], folds: int, seed: int) -> list[set[str]]:
    """The cases that each fold validates: the rarest label first, each patient into the fold that has the fewest with
    that label, then the fewest cases; large patients before small ones.

    This is iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011) of whole patients.
    """
    left = list(patients)
    random.Random(seed).shuffle(left)
    left.sort(key=lambda patient: -len(patient.cases))
    held: list[set[str]] = [set() for _ in range(folds)]
    labels: list[Counter[str]] = [Counter() for _ in range(folds)]
    while left:
        counts = Counter(label for patient in left for label in patient.labels)
        rarest = min(sorted(counts), key=lambda label: counts[label], default="")
        for patient in [one for one in left if not counts or rarest in one.labels]:
            fold = min(range(folds), key=lambda number: (labels[number][rarest], len(held[number])))
            held[fold].update(patient.cases)
            labels[fold].update(patient.labels)
        left = [one for one in left if counts and rarest not in one.labels]
    return held
