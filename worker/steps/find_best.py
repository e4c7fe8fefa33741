"""The find_best stage: nnU-Net's own search, in a temporary results folder; its files then replace the old ones.

Of its steps we do one in another way, the postprocessing (`worker/best_postprocessing.py`), with the same files.

nnU-Net empties its folders before it computes. Here the old files stay complete until the new ones are there.
"""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...files import read_json, write_text
from ...nnunet.best import source_of
from ...nnunet.datasets import DatasetFiles
from ...nnunet.postprocessing import JSON_NAME, describe_steps, read_steps
from ...nnunet.summary import Summary, finite
from ...schemas.jobs import SearchJob
from ...schemas.model_name import ModelName
from ...schemas.outcomes import SearchOutcome
from ...schemas.records import BestConfiguration, Candidate
from .. import nnunet_seam
from ..best_postprocessing import determine_postprocessing
from ..nnunet_seam import SEARCH
from ..pool_watch import end_when_a_pool_process_is_killed
from ..stage import Job
from .folders import replace_folder

SCRATCH = ".find_best"
SHOWN = 20  # ten models give 55 candidates; inference_information.json lists them all
INSTRUCTIONS = "inference_instructions.txt"
TEXTS = (".json", ".txt")
MODEL_FILES = ("plans.json", "dataset.json")


def carry_out(job: Job) -> SearchOutcome:
    """Search among the models of the request, then install what nnU-Net wrote."""
    end_when_a_pool_process_is_killed(job.stage)
    asked = job.typed(SearchJob)
    models, folds = list(asked.models), [int(fold) for fold in asked.folds]
    scratch = job.files.results / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _lay_out(job.files, scratch, models, folds)
        _search(job, scratch, asked)
        job.reporter.say("installing")
        _rename_in_texts(scratch, Path(job.files.folders.results))
        _install(scratch / job.files.name, job.files.results)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _outcome(job.files)


def _lay_out(files: DatasetFiles, scratch: Path, models: list[str], folds: list[int]) -> None:
    """A results folder that shows nnU-Net the trained folds through links."""
    for name in models:
        folder = scratch / files.name / name
        folder.mkdir(parents=True)
        for part in (*MODEL_FILES, *(f"fold_{fold}" for fold in folds)):
            (folder / part).symlink_to(files.results / name / part)


def _search(job: Job, scratch: Path, asked: SearchJob) -> None:
    """As nnUNetv2_find_best_configuration with these models.

    Source: nnunetv2 2.8.1, evaluation/find_best_configuration.py:73-215.
    """
    os.environ["nnUNet_results"] = str(scratch)  # noqa: SIM112 - nnU-Net's own name
    from nnunetv2.configuration import default_num_processes
    from nnunetv2.evaluation.find_best_configuration import find_best_configuration

    models, folds = [ModelName.parse(name) for name in asked.models], tuple(map(int, asked.folds))
    steps = _Steps(job, len(models) + asked.ensembling * len(models) * (len(models) - 1) // 2 + 1)
    nnunet_seam.replace(f"{SEARCH}:accumulate_cv_results", partial(steps.told, "accumulating the folds"))
    nnunet_seam.replace(f"{SEARCH}:ensemble_crossvalidations", partial(steps.told, "ensembling"))
    ours = steps.told("determining the postprocessing", partial(determine_postprocessing, reporter=job.reporter))
    nnunet_seam.replace(f"{SEARCH}:determine_postprocessing", lambda _: ours)
    allowed = [model._asdict() for model in models]
    find_best_configuration(job.files.name, allowed, asked.ensembling, default_num_processes, True, folds)


class _Steps:
    """Reports which step nnU-Net has reached, and stops between two steps if somebody asked for it."""

    def __init__(self, job: Job, total: int) -> None:
        self._reporter, self._total, self._done = job.reporter, total, 0

    def told(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self._reporter.stop_here()
            self._reporter.section(self._done / self._total, (self._done + 1) / self._total)
            self._reporter.say(phase)
            found = function(*given, **named)
            self._done += 1
            return found

        return step


def _rename_in_texts(scratch: Path, results: Path) -> None:
    """nnU-Net writes absolute paths into its files."""
    old, new = str(scratch), str(results)
    pairs = ((old, new), (json.dumps(old)[1:-1], json.dumps(new)[1:-1]))
    for path in scratch.rglob("*"):
        if path.suffix in TEXTS and path.is_file() and not path.is_symlink():
            text = path.read_text(encoding="utf-8")
            for before, after in pairs:
                text = text.replace(before, after)
            write_text(path, text, durable=False)


def _install(made: Path, results: Path) -> None:
    """Install each folder in one step; the file that names them all comes last."""
    for folder in (*made.glob("*__*__*/crossval_results_*"), *made.glob("ensembles/*")):
        replace_folder(folder, results / folder.relative_to(made))
    for path in sorted(made.glob("inference_*"), reverse=True):
        path.replace(results / path.name)


def _outcome(files: DatasetFiles) -> SearchOutcome:
    content = read_json(files.best_file)
    best, folds = content["best_model_or_ensemble"], [str(fold) for fold in content["folds"]]
    selected = best["selected_model_or_models"]
    names = [str(ModelName(one["trainer"], one["plans_identifier"], one["configuration"])) for one in selected]
    source = source_of(files, names, folds)
    labels = (read_json(source / "dataset.json") or {}).get("labels", {})
    summary = Summary(source / "postprocessed" / "summary.json", labels)
    found = BestConfiguration(
        name=source.parent.name if len(names) == 1 else source.name,
        models=tuple(str(files.results / name) for name in names),
        dice=finite(best["result_on_crossval_pre_pp"]),
        dice_postprocessed=finite(best["result_on_crossval_post_pp"]),
        candidates=_candidates(content["all_results"]),
        postprocessing=describe_steps(read_steps(source / JSON_NAME), labels),
        instructions=(files.results / INSTRUCTIONS).read_text(encoding="utf-8"),
        instructions_file=str(files.results / INSTRUCTIONS),
    )
    return SearchOutcome(
        ok=True,
        model_path=" + ".join(found.models),
        metrics=summary.metrics(None),
        per_class=summary.per_class(),
        cases=summary.cases(),
        best=found,
        notes=(f"Metrics over all cases of {len(folds)} folds, after postprocessing.",),
    )


def _candidates(results: dict[str, Any]) -> tuple[Candidate, ...]:
    found = [Candidate(name=name, dice=finite(dice)) for name, dice in results.items()]
    return tuple(sorted(found, key=lambda one: -(one.dice or 0.0))[:SHOWN])
