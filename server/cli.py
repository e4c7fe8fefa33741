"""The command `nnunet-mcp`: serves MCP over stdio or HTTP, and offers the same tools to people at a terminal."""

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

CTRL_C = 130


def main() -> None:
    """Parse the arguments and carry them out; without any, serve stdio."""
    try:
        _main()
    except KeyboardInterrupt:
        sys.exit(CTRL_C)


def _main() -> None:
    from ..launch import leave_out_working_folder  # imported here, so that Ctrl-C during the import shows no traceback

    leave_out_working_folder()
    from .terminal.commands import COMMANDS, perform

    parser = _parser(next((word for word in sys.argv[1:] if word in COMMANDS), None))
    arguments, rest = parser.parse_known_args()
    command = arguments.command or "serve"
    if command in COMMANDS:
        sys.exit(perform(arguments, rest))
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    sys.exit(_without_tool(command, arguments))


def _without_tool(command: str, arguments: argparse.Namespace) -> int:
    """Carry out a command that is no tool; errors in the environment become one message on standard error."""
    from ..errors import RunError
    from ..texts import visible
    from ..tools.helping import told
    from .terminal.codes import of_error
    from .terminal.spelling import spelled

    try:
        return OTHERS[command](arguments)
    except RunError as error:
        print(visible(spelled(told(error))), file=sys.stderr)
        return of_error(error)


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser. Of the tools' subcommands only the chosen one gets its flags."""
    from nnunet_mcp import __version__

    from .terminal.codes import epilog
    from .terminal.commands import COMMANDS, fill
    from .terminal.flags import Parser

    parser = Parser(prog="nnunet-mcp", description="nnU-Net training over MCP and at the terminal", epilog=epilog())
    parser.add_argument("--version", action="version", version=f"nnunet-mcp {__version__}")
    parser.add_argument("--read-only", action="store_true", help="serve only the tools that change nothing")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _add_serve(commands)
    for name, (command, _) in COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help, description=f"{command.help}.".capitalize())
        if name == chosen:
            fill(subparser, name)
    _add_the_rest(commands)
    return parser


def listed() -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Every command that --help lists: its name, its line there, its parser."""
    for action in _parser(None)._actions:
        if isinstance(action, argparse._SubParsersAction):
            lines = {line.dest: line.help or "" for line in action._choices_actions}
            yield from ((name, lines[name], parser) for name, parser in action.choices.items())


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser("serve", help="serve MCP over stdio (the default) or HTTP")
    http = "serve streamable HTTP instead of stdio; needs a bearer token"
    serve.add_argument("--http", action="store_true", help=http)
    serve.add_argument("--host", default="127.0.0.1", help="address to bind with --http (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8765, help="port to bind with --http (default: 8765)")


def _add_the_rest(commands: Any) -> None:
    """Add the commands that are no tools."""
    from .terminal.configure import CLIENTS

    client = commands.add_parser("client", help="print what makes a client start this nnunet-mcp on these folders")
    client.add_argument("name", choices=sorted(CLIENTS), help="the client")
    demo = commands.add_parser("demo", help="train a small model on a made-up dataset through an MCP client")
    place = "folder to work in (default: demo-workspace)"
    demo.add_argument("--folder", type=Path, default=Path("demo-workspace"), help=place)
    watch = commands.add_parser("watch", help="follow all runs on one screen, or one run; Ctrl-C never ends a run")
    watch.add_argument("run_id", nargs="?", metavar="RUN_ID", help="follow this run to its end (default: all runs)")
    page = commands.add_parser("dashboard", help="show all runs in a browser, on this machine's own address")
    page.add_argument("--port", type=int, help="port to bind (default: 8766, or a free one where it is taken)")
    page.add_argument("--no-open", action="store_true", help="only print the address")
    commands.add_parser("notify", help="send a test message to the addresses of NNUNET_MCP_NOTIFY")
    forget = commands.add_parser("forget", help="remove the records of old runs; models are never touched")
    forget.add_argument("--days", type=float, default=90.0, help="runs recorded longer ago than this (default: 90)")


def _forget(arguments: argparse.Namespace) -> int:
    from ..tools.watching.runs import forget
    from .environment import read_settings

    for run_id in forget(read_settings(), older_than_s=arguments.days * 86400):
        print(f"forgot {run_id}")
    return 0


def _notify(arguments: argparse.Namespace) -> int:
    from ..tools.following.notify import test_message
    from .environment import read_settings

    told = list(test_message(read_settings()))
    for kind, why in told:
        print(why or f"{kind}: sent")
    return int(any(why for _, why in told))


def _client(arguments: argparse.Namespace) -> int:
    from .environment import read_settings
    from .terminal.configure import CLIENTS, configuration

    client, settings = CLIENTS[arguments.name], read_settings()
    print(f"{client.title}: {client.where}", file=sys.stderr)
    print(configuration(arguments.name, settings))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import run_demo

    return run_demo(arguments.folder)


def _watch(arguments: argparse.Namespace) -> int:
    from .environment import read_settings
    from .terminal.commands import follow, guarded

    return guarded(lambda: follow(arguments.run_id, read_settings()))


def _dashboard(arguments: argparse.Namespace) -> int:
    from .dashboard.local import serve_dashboard
    from .environment import read_settings
    from .protocol.file_descriptors import raise_file_limit

    raise_file_limit()
    show = not arguments.no_open
    serve_dashboard(read_settings(), port=arguments.port, show=show, read_only=arguments.read_only)
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from .app import create_server
    from .environment import read_settings
    from .protocol.file_descriptors import log_plainly, raise_file_limit
    from .protocol.stdio import serve

    raise_file_limit()
    settings = read_settings()
    if not arguments.read_only:
        with suppress(OSError):  # nnunet_system reports what is wrong with a folder
            settings.create_folders()
            if settings.notify or settings.track:
                from ..tools.following.start import follow_again

                follow_again(settings)
    if getattr(arguments, "http", False):
        from .protocol.http import serve_http

        gc.freeze()
        serve_http(settings, host=arguments.host, port=arguments.port, read_only=arguments.read_only)
    else:
        app = create_server(settings, read_only=arguments.read_only)
        log_plainly()
        # What is imported stays. A full collection that looks at it takes 75 ms, in the midst of an answer.
        gc.freeze()
        serve(app)
    return 0


OTHERS = {
    "serve": _serve,
    "forget": _forget,
    "client": _client,
    "demo": _demo,
    "dashboard": _dashboard,
    "notify": _notify,
    "watch": _watch,
}
