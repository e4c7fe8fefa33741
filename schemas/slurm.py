"""Slurm options as words, e.g. "partition=gpu", in a request and in the server's settings.

A request comes from a language model, so only these options, and values of these forms, get into a job script.
Everything else that a site needs (lines of sbatch, `module load`) comes from the server's settings.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

EngineName = Literal["local", "slurm"]

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.,-]*"
NUMBER = r"[1-9]\d{0,4}"
# Whole GPUs and parts of one (slurm.conf(5), GresTypes).
GPU_RESOURCES = ("gpu", "shard", "mps")


@dataclass(frozen=True)
class Option:
    """One option: the form of its values, its meaning, and sbatch's flag, if there is one."""

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
    "gpus": Option(
        r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*:)?\d{1,3}", "GPUs as --gpus takes them, in place of gres", "--gpus"
    ),
    "constraint": Option(r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:|&*@()\[\]-]*", "features of the nodes", "--constraint"),
    "cpus": Option(NUMBER, "cores of a job", "--cpus-per-task"),
    "memory": Option(r"[1-9]\d*[KMGT]?", "memory of a job, e.g. 32G", "--mem"),
    "time": Option(r"\d+|\d+:\d\d(?::\d\d)?|\d+-\d+(?::\d\d){0,2}", "time limit of a job, e.g. 24:00:00", "--time"),
    "parallel": Option(NUMBER, "folds that may train at the same time; default: all"),
    "attempts": Option(NUMBER, "how often a stage may start, its requeues included; default: 20"),
    "warn": Option(NUMBER, "seconds ahead of the time limit at which a training saves and is requeued; default: 600"),
}


def parse_options(words: Iterable[str]) -> dict[str, str]:
    """The options by name; if one is given twice, the last counts.

    Raises:
        ValueError: no such option, or not a value of it.
    """
    return dict(map(parse_option, words))


def gpus_asked(options: Mapping[str, str]) -> int | None:
    """How many GPUs a job's options ask for; None if they do not say.

    >>> gpus_asked({"gres": "gpu:a100:2,lscratch:100"}), gpus_asked({"gpus": "a100:4"}), gpus_asked({"gres": "shard:1"})
    (2, 4, None)
    """
    counts = [int(count) for item in _gpu_items(options) if (count := _kind_and_count(item)[1])]
    return sum(counts) if counts else None


def with_gpus(options: Mapping[str, str], count: int) -> dict[str, str]:
    """The options with this many GPUs, of the type that they name.

    >>> with_gpus({"gres": "gpu:a100:1,lscratch:100"}, 2), with_gpus({"gpus": "a100:1"}, 2), with_gpus({}, 1)
    ({'gres': 'gpu:a100:2,lscratch:100'}, {'gpus': 'a100:2'}, {'gres': 'gpu:1'})
    >>> with_gpus({"gres": "lscratch:100"}, 2), with_gpus({"gpus": "1", "gres": "gpu:1,lscratch:100"}, 2)
    ({'gres': 'gpu:2,lscratch:100'}, {'gpus': '2', 'gres': 'lscratch:100'})
    """
    changed, items = dict(options), _items_of_gres(options)
    if "gpus" in options:
        changed["gpus"] = _counted(options["gpus"], count)
        items = [item for item in items if _resource(item) not in GPU_RESOURCES]
    elif names_gpus(options):
        items = [_counted(item, count) if _resource(item) == "gpu" else item for item in items]
    else:
        items = [f"gpu:{count}", *items]
    changed.pop("gres", None)
    return {**changed, "gres": ",".join(items)} if items else changed


def names_gpus(options: Mapping[str, str]) -> bool:
    """Whether gres says which GPUs, or which part of one."""
    return any(_resource(item) in GPU_RESOURCES for item in _items_of_gres(options))


def _items_of_gres(options: Mapping[str, str]) -> list[str]:
    return list(filter(None, options.get("gres", "").split(",")))


def _resource(item: str) -> str:
    return item.split(":")[0].removeprefix("gres/")


def _gpu_items(options: Mapping[str, str]) -> list[str]:
    if "gpus" in options:
        return [options["gpus"]]
    return [item for item in _items_of_gres(options) if _resource(item) == "gpu"]


def _kind_and_count(item: str) -> tuple[str, str]:
    """("gpu:a100", "2") of "gpu:a100:2"; the count is empty where there is none."""
    kind, _, last = item.rpartition(":")
    return (kind, last) if last.isdigit() else (item, "")


def _counted(item: str, count: int) -> str:
    kind, _ = _kind_and_count(item)
    return f"{kind}:{count}" if kind else str(count)


def parse_option(word: str) -> tuple[str, str]:
    """Name and value of one option.

    Raises:
        ValueError: no such option, or not a value of it.
    """
    name, equals, value = word.partition("=")
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"{name!r} is no Slurm option{hint} Known: {', '.join(OPTIONS)}.")
    if not equals or not re.fullmatch(OPTIONS[name].form, value, re.ASCII):
        raise ValueError(f"{word!r} is not of the form {name}=VALUE ({OPTIONS[name].meaning}), without spaces.")
    return name, value
