"""The command `nnunet-mcp`: serves MCP over stdio, runs the demonstration, forgets old runs."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Parse the arguments and do what they say; without any, serve stdio."""
    arguments = _parser().parse_args()
    command = arguments.command or "serve"
    if command == "serve":
        _serve(read_only=arguments.read_only)
    elif command == "forget":
        _forget(arguments.days)
    else:
        from .demo import run_demo

        sys.exit(run_demo(arguments.folder))


def _parser() -> argparse.ArgumentParser:
    from nnunet_mcp import __version__

    parser = argparse.ArgumentParser(prog="nnunet-mcp", description="nnU-Net training over MCP")
    parser.add_argument("--version", action="version", version=f"nnunet-mcp {__version__}")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve MCP over stdio (the default)")
    parser.add_argument("--read-only", action="store_true", help="serve only the tools that change nothing")
    demo = commands.add_parser("demo", help="train a small model on a made-up dataset through an MCP client")
    demo.add_argument(
        "--folder",
        type=Path,
        default=Path("demo-workspace"),
        help="folder to work in (default: demo-workspace)",
    )
    forget = commands.add_parser("forget", help="remove the records of old runs; models are never touched")
    forget.add_argument("--days", type=float, default=90.0, help="runs recorded longer ago than this (default: 90)")
    return parser


def _forget(days: float) -> None:
    from ..runs.layout import StateDir
    from ..runs.settings import Settings
    from ..runs.store import forget

    for run_id in forget(StateDir(Settings().state_dir), older_than_s=days * 86400):
        print(f"forgot {run_id}")


def _serve(*, read_only: bool) -> None:
    from ..runs.settings import Settings
    from .app import create_server
    from .stdio import serve

    settings = Settings()
    settings.create_folders()
    serve(create_server(settings, read_only=read_only))
