"""The subcommands: which request, which function, how it is shown, and what the exit code is."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from ... import tools
from ...errors import Refused, RunError
from ...schemas.datasets import DatasetsRequest, PrepareRequest
from ...schemas.logs import LogsRequest
from ...schemas.models import CompareRequest, ExportRequest, FindBestRequest, ImportRequest, PredictRequest
from ...schemas.preflight import PreflightRequest
from ...schemas.progress import ProgressAnswer, ProgressRequest
from ...schemas.records import ACTIVE
from ...schemas.results import Result, ResultsRequest
from ...schemas.run_list import CancelRequest, RunsRequest, TrainingStarted
from ...schemas.system import DoctorAnswer, DoctorRequest
from ...schemas.training import TrainingCall, TrainingRequest
from ...settings import Settings
from ...texts import visible
from ...tools import calls
from ..environment import read_settings
from ..explain import explain
from .codes import Code, epilog, of_error, of_status
from .flags import add_flags, given
from .phrases import spoken

Run = Callable[[Any, Settings], BaseModel]
PATIENCE_S = 24 * 3600.0  # a person sees the progress and ends it with Ctrl-C


@dataclass(frozen=True)
class Command:
    """One subcommand."""

    help: str
    model: type[BaseModel]
    run: Run
    words: tuple[str, ...] = ()
    watch: str = ""  # what --watch does, where there is one


def _progress(request: ProgressRequest, settings: Settings) -> BaseModel:
    import anyio

    return anyio.run(tools.progress.nnunet_progress, request, settings)


def _datasets(request: DatasetsRequest, settings: Settings) -> BaseModel:
    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rcase {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return tools.datasets.nnunet_datasets(request, settings, tell, look_s=PATIENCE_S)


def _prepare(request: PrepareRequest, settings: Settings) -> BaseModel:
    return tools.importing.nnunet_prepare_dataset(request, settings)


def _doctor(request: DoctorRequest, settings: Settings) -> BaseModel:
    from .doctor import examine

    if not request.quick and sys.stderr.isatty():
        print("Loading PyTorch and nnU-Net takes some seconds; --quick leaves it out.", file=sys.stderr)
    return examine(request, settings)


COMMANDS = {
    "train": Command(
        "start a training in the background",
        TrainingCall,
        calls.training,
        ("dataset_id",),
        "follow the run to its end, then show its result; Ctrl-C ends the watching, never the run",
    ),
    "preflight": Command(
        "say what a training would do and cost, without starting it",
        PreflightRequest,
        calls.preflight,
        ("dataset_id",),
    ),
    "runs": Command("list runs, newest first", RunsRequest, calls.runs),
    "progress": Command(
        "show how a run is doing",
        ProgressRequest,
        _progress,
        ("run_id",),
        "follow the run to its end; Ctrl-C ends the watching, never the run",
    ),
    "logs": Command("show a part of a stage's log", LogsRequest, calls.logs, ("run_id",)),
    "results": Command("show what nnU-Net measured", ResultsRequest, calls.results, ("run_id",)),
    "compare": Command("put models side by side", CompareRequest, calls.compare, ("dataset_id",)),
    "predict": Command("segment images with a trained model", PredictRequest, calls.predict, ("run_id", "images")),
    "find-best": Command(
        "search the best configuration, ensembles included",
        FindBestRequest,
        calls.find_best_configuration,
        ("dataset_id",),
    ),
    "export": Command("write a model into a zip", ExportRequest, calls.export_model, ("run_id", "output")),
    "import": Command("install a model from a zip", ImportRequest, calls.import_model, ("zip",)),
    "cancel": Command("stop a run and all its processes", CancelRequest, calls.cancel, ("run_id",)),
    "datasets": Command("list datasets, or look at one", DatasetsRequest, _datasets, ("dataset_id",)),
    "prepare": Command("import a folder as a dataset", PrepareRequest, _prepare, ("source", "dataset_id", "name")),
    "doctor": Command("check folders, versions, GPU, disk and client configuration", DoctorRequest, _doctor),
}
CHANGING = ("train", "predict", "find-best", "export", "import", "cancel", "prepare")


def usage(name: str) -> str:
    """How the command is called, e.g. `nnunet-mcp logs RUN_ID`."""
    command = COMMANDS[name]
    words = [word.removeprefix("dataset_").upper() for word in command.words]
    required = [command.model.model_fields[word].is_required() for word in command.words]
    shown = [word if needed else f"[{word}]" for word, needed in zip(words, required, strict=True)]
    return " ".join(["nnunet-mcp", name, *shown])


def fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a subcommand's parser its flags."""
    command = COMMANDS[name]
    parser.usage, parser.epilog = f"{usage(name)} [options]", epilog()
    add_flags(parser, command.model, command.words)
    if command.watch:
        parser.add_argument("--watch", action="store_true", help=command.watch)
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON object")


def perform(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Do what the command line says; whatever is wrong is one message on standard error."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")
    name, command = arguments.command, COMMANDS[arguments.command]
    try:
        code = _perform(command, arguments, rest)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Code.NOBODY_READS
    except (RunError, OSError) as error:
        text = str(error) if isinstance(error, RunError) else f"The file system refused: {error}."
        return _say(of_error(error), spoken(text))
    except KeyboardInterrupt:
        started = " `nnunet-mcp runs` shows whether the run was started." if name == "train" else ""
        return _say(Code.CTRL_C, f"Interrupted.{started}")
    except Exception as error:
        return _say(Code.BUG, f"This is a bug in nnunet-mcp: {type(error).__name__}: {error}")


def _perform(command: Command, arguments: argparse.Namespace, rest: list[str]) -> int:
    if arguments.read_only and arguments.command in CHANGING:
        raise Refused(f"--read-only and {arguments.command} exclude each other. Leave --read-only out.")
    request, settings = _request(command, given(arguments, rest, command.model, command.words)), read_settings()
    if getattr(arguments, "watch", False):
        return _watched(command, request, settings, as_json=arguments.json)
    answer = command.run(request, settings)
    _print(answer, as_json=arguments.json)
    return _code(answer)


def _request(command: Command, fields: dict[str, Any]) -> BaseModel:
    try:
        return command.model.model_validate(fields)
    except ValidationError as error:
        raise Refused(explain(error, command.model)) from None


def _watched(command: Command, request: Any, settings: Settings, *, as_json: bool) -> int:
    from .watch import watch

    if not isinstance(request, TrainingRequest):
        ended = watch(request.run_id, settings, quiet=as_json)
        _print(ended if as_json else _result(ended.run_id, settings), as_json=as_json)
        return _code(ended)
    started = command.run(request, settings)
    assert isinstance(started, TrainingStarted)
    if not as_json:
        print(f"run {started.run_id}", flush=True)
    ended = watch(started.run_id, settings, quiet=as_json)
    _print(_result(started.run_id, settings), as_json=as_json)
    return _code(ended)


def _result(run_id: str, settings: Settings) -> Result:
    return calls.results(ResultsRequest(run_id=run_id), settings)


def _print(answer: BaseModel, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(json.loads(answer.model_dump_json()), indent=2))
    else:
        from .show import show

        show(answer)


def _code(answer: BaseModel) -> Code:
    if isinstance(answer, DoctorAnswer):
        return Code.FAILED if answer.problems else Code.DONE
    if isinstance(answer, Result) and answer.status in ACTIVE:
        return Code.NOT_YET
    return of_status(answer.status) if isinstance(answer, ProgressAnswer | Result) else Code.DONE


def _say(code: Code, text: str) -> Code:
    print(visible(text), file=sys.stderr)
    return code
