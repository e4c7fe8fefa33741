"""Slurm options as words, e.g. "partition=gpu": the same for a request and for the server's settings.

A request comes from a model, so only these names and values of these forms get into a job script; whatever
else a site needs (lines of sbatch, `module load`) comes from the server's own settings.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Engine = Literal["local", "slurm"]

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.,-]*"
NUMBER = r"[1-9]\d{0,4}"


@dataclass(frozen=True)
class Option:
    """One option: the form of its values, what it means, and sbatch's own flag, where it has one."""

    form: str
    meaning: str
    flag: str | None = None


OPTIONS = {
    "partition": Option(NAME, "partition(s)", "--partition"),
    "cpu_partition": Option(NAME, "partition of stages that need no GPU; default: partition"),
    "account": Option(NAME, "account to charge", "--account"),
    "qos": Option(NAME, "quality of service", "--qos"),
    "reservation": Option(NAME, "reservation", "--reservation"),
    "gres": Option(r"[A-Za-z0-9_][A-Za-z0-9_.:,/-]*", "GPUs as a generic resource; default: gpu:<num_gpus>", "--gres"),
    "gpus": Option(r"(?:[A-Za-z0-9_.]+:)?\d{1,3}", "GPUs as --gpus takes them, in place of gres", "--gpus"),
    "constraint": Option(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:|&*@()\[\]-]*", "features of the nodes", "--constraint"),
    "cpus": Option(NUMBER, "cores of a job", "--cpus-per-task"),
    "memory": Option(r"[1-9]\d*[KMGT]?", "memory of a job, e.g. 32G", "--mem"),
    "time": Option(r"\d+|\d+:\d\d(?::\d\d)?|\d+-\d+(?::\d\d){0,2}", "time limit of a job, e.g. 24:00:00", "--time"),
    "parallel": Option(NUMBER, "folds that may train at the same time; default: all"),
    "attempts": Option(NUMBER, "how often a stage may start, its requeues included; default: 20"),
    "warn": Option(NUMBER, "seconds ahead of the time limit at which a training saves and is requeued; default: 600"),
}


def parse_options(words: Iterable[str]) -> dict[str, str]:
    """The options by name; of one that is given twice the last counts.

    >>> parse_options(["partition=gpu", "time=24:00:00"])
    {'partition': 'gpu', 'time': '24:00:00'}

    Raises:
        ValueError: no such option, or not a value of it.
    """
    return dict(_parse(word) for word in words)


def _parse(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"{name!r} is no Slurm option{hint} Known: {', '.join(OPTIONS)}.")
    if not equals or not re.fullmatch(OPTIONS[name].form, value, re.ASCII):
        raise ValueError(f"{word!r} is not of the form {name}=VALUE ({OPTIONS[name].meaning}), without spaces.")
    return name, value
