"""The subcommands: one for each tool, with its flags, and how its answer is printed."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from ...errors import Refused, RunError
from ...schemas.progress import ProgressAnswer
from ...schemas.records import ACTIVE
from ...schemas.results import Result, ResultsRequest
from ...schemas.system import DoctorAnswer
from ...settings import Settings
from ...texts import visible
from ...tools import BY_NAME, TOOLS
from ...tools.helping import told
from ...tools.tool import Command, Steps, Tool, load
from ..environment import read_settings
from ..explain import explain
from .codes import Code, epilog, of_error, of_status
from .flags import add_flags, given
from .spelling import PROGRAM, flag, shown, spelled, spelled_for

COMMANDS: dict[str, tuple[Command, Tool]] = {tool.command.name: (tool.command, tool) for tool in TOOLS if tool.command}


def request_of(name: str) -> type[BaseModel]:
    """The request of a subcommand: that of its tool, or its own if it asks more."""
    command, tool = COMMANDS[name]
    return command.request or tool.request


def usage(name: str) -> str:
    """How the command is called, e.g. `nnunet-mcp logs RUN_ID`."""
    command, model = COMMANDS[name][0], request_of(name)
    words = [shown(word) if model.model_fields[word].is_required() else f"[{shown(word)}]" for word in command.words]
    return " ".join([PROGRAM, name, *words])


def own_flags(name: str) -> dict[str, str]:
    """The flags that belong to the terminal, not to the tool, and their help."""
    command = COMMANDS[name][0]
    watch = {"--watch": command.watch} if command.watch else {}
    return {**watch, "--json": "print the answer as one JSON object"}


def fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a subcommand's parser its flags."""
    parser.usage, parser.epilog = f"{usage(name)} [options]", epilog()
    add_flags(parser, request_of(name), COMMANDS[name][0].words)
    for option, help_text in own_flags(name).items():
        parser.add_argument(option, dest=f"own {option}", help=help_text, action="store_true")


def perform(arguments: argparse.Namespace, rest: list[str]) -> int:
    """Carry out a tool's command line."""
    name = arguments.command
    started = f" `{PROGRAM} runs` shows whether the run was started." if _starts_a_run(COMMANDS[name][1]) else ""
    return guarded(lambda: _perform(name, arguments, rest), interrupted=f"Interrupted.{started}")


def follow(run_id: str | None, settings: Settings) -> int:
    """Follow one run to its end, or all runs."""
    if run_id is None:
        from .watch_all import watch_all

        return watch_all(settings)
    request = _request(request_of("progress"), {"run_id": run_id})
    return _watched(COMMANDS["progress"][1], request, settings, as_json=False)


def guarded(work: Callable[[], int], *, interrupted: str = "Interrupted.") -> int:
    """The exit code of the work; any error is one message on standard error."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="replace")
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has ended, e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Code.NOBODY_READS
    except (RunError, OSError) as error:
        text = spelled(told(error)) if isinstance(error, RunError) else f"The file system refused: {error}."
        return _say(of_error(error), text)
    except KeyboardInterrupt:
        return _say(Code.CTRL_C, interrupted)
    except Exception as error:
        return _say(Code.BUG, f"This is a bug in nnunet-mcp: {type(error).__name__}: {error}")


def _starts_a_run(tool: Tool) -> bool:
    return tool.changes and "run_id" in tool.answer.model_fields


def _perform(name: str, arguments: argparse.Namespace, rest: list[str]) -> int:
    command, tool = COMMANDS[name]
    if arguments.read_only and tool.changes:
        raise Refused(f"--read-only and {name} exclude each other. Leave --read-only out.")
    asked = given(arguments, rest, request_of(name), command.words, tuple(own_flags(name)))
    request, settings = _request(request_of(name), asked), read_settings()
    own = {option: getattr(arguments, f"own {option}") for option in own_flags(name)}
    if own.get("--watch"):
        return _watched(tool, request, settings, as_json=own["--json"])
    answer = _answer(command, tool, request, settings)
    _print(answer, as_json=own["--json"])
    return _code(answer)


def _request(model: type[BaseModel], fields: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = explain(error, model, named=flag, words=lambda text: spelled_for(model, text))
        raise Refused(wrong) from None


def _answer(command: Command, tool: Tool, request: BaseModel, settings: Settings) -> BaseModel:
    more = {**command.more, **({"tell": _teller(tool.steps)} if tool.steps else {})}
    if command.first and sys.stderr.isatty() and (notice := command.first(request)):
        print(spelled(notice), file=sys.stderr)
    if tool.waits:
        import anyio

        waited: BaseModel = anyio.run(tool.load(), request, settings)
        return waited
    function = load(command.function) if command.function else tool
    answer: BaseModel = function(request, settings, **more)
    return answer


def _teller(steps: Steps) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{steps.word} {done} of {total}", end=end, file=sys.stderr, flush=True)

    return tell


def _watched(tool: Tool, request: Any, settings: Settings, *, as_json: bool) -> int:
    """Follow the named run, or the one that the tool starts."""
    from .watch import watch

    if not tool.changes:
        ended = watch(request.run_id, settings, quiet=as_json)
        _print(ended if as_json else _result(ended.run_id, settings), as_json=as_json)
        return _code(ended)
    run_id = tool(request, settings).run_id
    if not as_json:
        print(f"run {run_id}", flush=True)
    ended = watch(run_id, settings, quiet=as_json)
    _print(_result(run_id, settings), as_json=as_json)
    return _code(ended)


def _result(run_id: str, settings: Settings) -> BaseModel:
    found: BaseModel = BY_NAME["nnunet_results"](ResultsRequest(run_id=run_id), settings)
    return found


def _print(answer: BaseModel, *, as_json: bool) -> None:
    if as_json:
        from ...texts import for_agents
        from ..portable import lean

        answer = for_agents(answer)
        print(json.dumps(lean(answer, answer.model_dump(mode="json")), indent=2))
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
