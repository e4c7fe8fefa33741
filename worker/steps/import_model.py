"""The import_model stage: unpack into a temporary folder, check everything that could run code, then install each part
in one step."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from ...errors import Refused
from ...files import DESCRIPTION_BYTES, read_json
from ...nnunet.model_zip import Contents, is_pickle, open_zip, read_contents, refuse_replacing
from ...nnunet.postprocessing import JSON_NAME, PICKLE_NAME, read_steps
from ...nnunet.safe_plans import judged_description, judged_plans
from ...schemas.jobs import ImportJob
from ...schemas.records import Outcome
from ..stage import Job, StageFailure
from ..weights import read_checkpoint
from .folders import install_beside
from .postprocessing import functions

BLOCK = 1 << 20


def carry_out(job: Job) -> Outcome:
    """Install the models of a zip."""
    results, path = Path(job.files.folders.results), Path(job.typed(ImportJob).zip)
    aside = results / f".import-{job.files.name}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with open_zip(path) as archive:
            contents = read_contents(archive, path.stat().st_size)  # the file may have been replaced since the request
            if contents.dataset != job.files.name:
                raise Refused(f"{path} has changed since the import was asked for. Ask again.")
            _unpack(job, archive, contents, aside)
        _look(job, contents, aside)
        notes = _postprocessing(contents, aside)
        notes += _install(job, contents, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    models = " + ".join(str(job.files.results / name) for name in contents.models)
    return Outcome(ok=True, model_path=models, notes=tuple(notes))


def _unpack(job: Job, archive: zipfile.ZipFile, contents: Contents, aside: Path) -> None:
    """Write each file under its checked name; a pickle stays in the zip."""
    for done, (path, info) in enumerate(contents.files.items()):
        job.reporter.stop_here()
        job.reporter.say("unpacking", done=done, total=len(contents.files))
        if is_pickle(path):
            continue
        target = aside / path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(info) as source, target.open("xb") as stream:
                shutil.copyfileobj(source, stream, BLOCK)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise StageFailure(
                "the zip is damaged", f"{path}: {error}", "Copy or download it again; its checksums do not fit."
            ) from error


def _look(job: Job, contents: Contents, aside: Path) -> None:
    """Check that nothing to be installed can run code when nnU-Net reads it.

    Raises:
        Refused, StageFailure: something would.
    """
    for path in contents.files:
        job.reporter.stop_here()
        job.reporter.say(f"looking at {path.name}")
        if path.suffix == ".pth":
            read_checkpoint(aside / path)
        elif path.name == "plans.json":
            _keep(aside / path, judged_plans(_table(aside / path), f"{path} in the zip"))
        elif path.name == "dataset.json":
            _keep(aside / path, judged_description(_table(aside / path), f"{path} in the zip"))


def _keep(path: Path, content: dict[str, Any]) -> None:
    """Write the checked content over the file, so that only that is installed."""
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")


def _table(path: Path) -> dict[str, object]:
    content = read_json(path, most=DESCRIPTION_BYTES)
    if not isinstance(content, dict):
        raise Refused(f"{path.name} in the zip is not readable JSON. Export the model again.")
    return content


def _postprocessing(contents: Contents, aside: Path) -> list[str]:
    """Write postprocessing.pkl, which nnU-Net's own functions need, anew from the JSON beside it."""
    from batchgenerators.utilities.file_and_folder_operations import save_pickle

    notes = []
    for path in filter(is_pickle, contents.files):
        described = path.with_name(JSON_NAME)
        if described in contents.files:
            save_pickle(functions(read_steps(aside / described)), str(aside / path))
        else:
            notes.append(f"{path} was left out: without {JSON_NAME} nobody can say what {PICKLE_NAME} would run.")
    return notes


def _install(job: Job, contents: Contents, aside: Path) -> list[str]:
    if not job.typed(ImportJob).overwrite:
        refuse_replacing(contents, Path(job.files.folders.results))
    old = job.files.results / "replaced" / job.record.run_id
    # The folder of an ensemble may have held only a pickle.
    pieces = [piece for piece in contents.pieces if (aside / piece).exists()]
    moved = [p for p in pieces if install_beside(aside / p, job.files.results / p, old / p)]
    return [f"What was there before lies in {old}: {', '.join(moved)}."] if moved else []
