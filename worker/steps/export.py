"""The export stage: a model as a zip that nnU-Net installs, with a model card inside and beside it.

The files are those of nnU-Net's own export (nnunetv2 2.8.1, model_sharing/model_export.py) without debug.json, which
lists this machine's folders; the others are scrubbed of paths and of names of cases, and checkpoints have no state of
the optimizer, unless it is asked for.
"""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ... import scrub
from ...calls import argument
from ...errors import Refused
from ...files import open_plain, read_json, read_plain, write_text
from ...nnunet.model_zip import CARD
from ...nnunet.models import Model
from ...nnunet.output_paths import onnx_files, same_output
from ...nnunet.postprocessing import JSON_NAME, PICKLE_NAME, describe_steps, read_steps
from ...schemas.jobs import ExportJob
from ...schemas.outcomes import ExportOutcome
from ...texts import some
from ..sharing.checkpoints import checkpoint_for_others, known_to_all
from ..sharing.onnx_network import loaded, refuse_without_onnx, shape_of, write_onnx
from ..sharing.publishing import folder_beside, publish, remove_left
from ..sharing.recipe import recipe
from ..sharing.trainers import told_trainers, trainer_files
from ..stage import Job
from .model_card import write_card
from .postprocessing import functions

BLOCK = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Entry:
    """A file of the zip: its name there, and its content or a function that opens it when it is written."""

    name: str
    content: bytes | Callable[[], IO[bytes]]


def carry_out(job: Job) -> ExportOutcome:
    """Write everything into a folder beside the zip's place, then give each file its name, the zip last: where it is,
    everything is."""
    asked = job.typed(ExportJob)
    models = [Model(job.files, Path(one.folder), one.folds) for one in asked.models]
    target = same_output(job.settings, Path(asked.output), models)
    card = _card(job, asked, models)
    entries = list(_entries(job, asked, models, card.encode()))
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_left(target.parent, job)
    beside, card_file = folder_beside(target, job.record.run_id), target.with_suffix(".md")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        networks = _networks(job, asked, models, target, beside) if "onnx" in asked.include else []
        _write(job, beside / target.name, entries)
        write_text(beside / card_file.name, card)
        publish(beside, (*networks, card_file.name, target.name))
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    said = f"{len(models)} model(s), {target.stat().st_size / 1e6:.1f} MB. The model card is {card_file}."
    notes = (said, *_told(asked, networks), *told_trainers(models, included="trainer" in asked.include))
    return ExportOutcome(
        ok=True, model_path=" + ".join(str(m.folder) for m in models), archive=str(target), notes=notes
    )


def _networks(job: Job, asked: ExportJob, models: list[Model], target: Path, beside: Path) -> list[str]:
    """Write each network as ONNX, with its JSON; returns the files' names."""
    refuse_without_onnx()
    # after an ensemble of models the postprocessing belongs to no single one
    steps = read_steps(Path(asked.measured) / JSON_NAME) if asked.measured and len(models) == 1 else ()
    written = []
    for (folder, fold), file in onnx_files(target, models).items():
        job.reporter.stop_here()
        job.reporter.say(f"writing {file.name}")
        model = next(one for one in models if one.folder == folder)
        predictor = loaded(model, fold)
        difference = write_onnx(predictor.network, shape_of(predictor), beside / file.name)
        trained = {**model.name._asdict(), "dataset": model.files.name, "fold": fold}
        found = recipe(predictor, file.name, trained, steps, difference)
        write_text(beside / file.with_suffix(".json").name, _json(found).decode())
        written += [file.name, file.with_suffix(".json").name]
    return written


def _told(asked: ExportJob, networks: list[str]) -> Iterator[str]:
    if networks:
        yield f"Beside it: {some(networks)}; the JSON says what to do before and after the network."
    if len(networks) > 2:
        yield "Several networks are an ensemble: the mean of the folds' logits, then of the models' probabilities."
    if "optimizer" not in asked.include:
        yield (
            "The state of the optimizer is left out: the zip predicts and its weights can be trained on as "
            f"{argument(pretrained_weights=None)}, but no training goes on from it ({argument(include=['optimizer'])})."
        )


def _write(job: Job, path: Path, entries: list[Entry]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for done, entry in enumerate(entries):
            job.reporter.stop_here()
            job.reporter.say("writing the zip", done=done, total=len(entries))
            if isinstance(entry.content, bytes):
                archive.writestr(entry.name, entry.content)
            else:
                with entry.content() as source, archive.open(entry.name, "w", force_zip64=True) as stream:
                    shutil.copyfileobj(source, stream, BLOCK)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _card(job: Job, asked: ExportJob, models: list[Model]) -> str:
    description = scrub.dataset_json(models[0].description)
    steps = read_steps(Path(asked.measured) / JSON_NAME) if asked.measured else ()
    best = [*asked.best, *describe_steps(steps, description.get("labels", {}))]
    versions = {**asked.trained_with, **{f"{key} (export)": value for key, value in job.record.versions.items()}}
    named = {model.name.trainer: known_to_all(model.name.trainer) for model in models}
    return write_card(
        Path(asked.output).name,
        models,
        description,
        versions or job.record.versions,
        best,
        resumable="optimizer" in asked.include,
        named=named,
    )


def _entries(job: Job, asked: ExportJob, models: list[Model], card: bytes) -> Iterator[Entry]:
    name = job.files.name
    for model in models:
        yield from _model_entries(model, f"{name}/{model.folder.name}", resumable="optimizer" in asked.include)
        yield Entry(f"{name}/{model.folder.name}/{CARD}", card)
    if "trainer" in asked.include:
        for inside, text in trainer_files(models):
            yield Entry(f"{name}/{inside}", text)
    if asked.measured and len(asked.best_models) > 1:
        yield from _measured(Path(asked.measured), f"{name}/ensembles/{Path(asked.measured).name}")
    if asked.measured:
        found = scrub.without_paths(read_json(job.files.best_file) or {})
        yield Entry(f"{name}/{job.files.best_file.name}", _json(found))


def _model_entries(model: Model, prefix: str, *, resumable: bool) -> Iterator[Entry]:
    """The model's own files. Links in its folder are not followed."""
    yield Entry(f"{prefix}/plans.json", _json(scrub.without_paths(model.plans)))
    yield Entry(f"{prefix}/dataset.json", _json(scrub.dataset_json(model.description)))
    fingerprint = model.folder / "dataset_fingerprint.json"
    if fingerprint.is_file():
        yield Entry(f"{prefix}/{fingerprint.name}", _json(scrub.without_paths(_read(fingerprint, model.folder))))
    for fold in model.folds:
        files, inside = model.fold(fold), f"{prefix}/fold_{fold}"
        yield Entry(
            f"{inside}/{files.final.name}",
            partial(checkpoint_for_others, files.final, model.folder, resumable=resumable),
        )
        if (files.path / "progress.png").is_file():
            yield Entry(f"{inside}/progress.png", partial(_picture, files.path / "progress.png", model.folder))
        if files.summary.is_file():
            summary = scrub.summary(_read(files.summary, model.folder))
            yield Entry(f"{inside}/validation/summary.json", _json(summary))
    for merged in sorted(model.folder.glob(f"crossval_results_folds_{'_'.join(model.folds)}")):
        yield from _measured(merged, f"{prefix}/{merged.name}")


def _measured(folder: Path, prefix: str) -> Iterator[Entry]:
    """The measurements over all folds, and the postprocessing that was determined from them."""
    if (folder / "summary.json").is_file():
        yield Entry(f"{prefix}/summary.json", _json(scrub.summary(_read(folder / "summary.json", folder.parent))))
    if (folder / JSON_NAME).is_file():
        steps = read_steps(folder / JSON_NAME)
        yield Entry(f"{prefix}/{JSON_NAME}", _json(scrub.without_paths(_read(folder / JSON_NAME, folder.parent))))
        yield Entry(f"{prefix}/{PICKLE_NAME}", pickle.dumps(functions(steps)))


def _picture(path: Path, model: Path) -> IO[bytes]:
    """nnU-Net's picture of the losses, if the file is a picture.

    Raises:
        Refused: it is another file under that name.
    """
    stream = open_plain(path, inside=[model])
    if stream.read(len(PNG)) != PNG:
        stream.close()
        raise Refused(f"{path} is no PNG picture. Remove it, then export again.")
    stream.seek(0)
    return stream


def _read(path: Path, model: Path) -> Any:
    """Read JSON as nnU-Net writes it, NaN included."""
    return json.loads(read_plain(path, inside=[model]))


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=4).encode()
