"""The command `nnunet-mcp`: serves MCP over stdio, or runs the demonstration."""

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Parse the arguments and do what they say; without any, serve stdio."""
    arguments = _parser().parse_args()
    command = arguments.command or "serve"
    if command == "serve":
        _serve()
    else:
        from .demo import run_demo

        sys.exit(run_demo(arguments.folder))


def _parser() -> argparse.ArgumentParser:
    from nnunet_mcp import __version__

    parser = argparse.ArgumentParser(prog="nnunet-mcp", description="nnU-Net training over MCP")
    parser.add_argument("--version", action="version", version=f"nnunet-mcp {__version__}")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve MCP over stdio (the default)")
    demo = commands.add_parser("demo", help="train a small model on a made-up dataset through an MCP client")
    demo.add_argument(
        "--folder",
        type=Path,
        default=Path("demo-workspace"),
        help="folder to work in (default: demo-workspace)",
    )
    return parser


def _serve() -> None:
    from ..runs.settings import Settings
    from .app import create_server
    from .stdio import serve

    settings = Settings()
    settings.create_folders()
    serve(create_server(settings))
