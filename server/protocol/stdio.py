"""Serve stdio such that a `server/discover` probe does not decide the protocol version.

mcp 2.3.0 takes the probe as the choice of 2026-07-28 and then refuses `initialize` (-32022); some clients probe first
and initialize then (anthropics/claude-code#96183). So a probe is answered here and not passed on.

mcp also drops a line that is no message, so its sender would wait for ever. Here it gets an error.
"""

import os
import signal
import sys
from typing import Any

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.runner import serve_dual_era_loop
from mcp.server.stdio import stdio_server
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCRequest
from pydantic import ValidationError


def serve(app: MCPServer) -> None:
    """Serve until stdin closes, or until SIGINT. Runs go on."""
    # Python would wait for the thread that reads stdin, which reads until the client has gone.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Otherwise a buffered print would reach the client when the server ends.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    anyio.run(_serve, app)
    os.dup2(2, 1)  # the same for prints while the interpreter ends


async def _serve(app: MCPServer) -> None:
    server = app._lowlevel_server  # mcp 2.3.0 has no public accessor
    async with stdio_server() as (read, write), server.lifespan(server) as state:
        to_loop, loop_read = create_context_streams[Any](0)
        async with anyio.create_task_group() as group:
            group.start_soon(_pump, read, write, to_loop, server, state)
            await serve_dual_era_loop(
                server,
                loop_read,
                write,
                lifespan_state=state,
                init_options=server.create_initialization_options(),
            )
            group.cancel_scope.cancel()


async def _pump(read: Any, write: Any, to_loop: Any, server: Any, state: Any) -> None:
    """Pass messages on. Answer lines that are no message, and probes until the first other request."""
    undecided = True
    async with to_loop:
        async for item in read:
            if isinstance(item, Exception):
                if not _is_blank(item):
                    await write.send(SessionMessage(_no_message(item)))
                continue
            if undecided and isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
                if item.message.method == "server/discover":
                    await _answer_probe(item, write, server, state)
                    continue
                undecided = False
            await to_loop.send(item)


def _is_blank(error: Exception) -> bool:
    return isinstance(error, ValidationError) and not str(error.errors()[0]["input"]).strip()


def _no_message(error: Exception) -> JSONRPCError:
    """The error for a line that cannot be read, or that is JSON but no message; its sender's id is unknown."""
    odd = isinstance(error, ValidationError) and error.errors()[0]["type"] != "json_invalid"
    said = "This line is no JSON-RPC message" if odd else "This line is no JSON that can be read"
    told = ErrorData(code=INVALID_REQUEST if odd else PARSE_ERROR, message=f"{said}: nothing was done for it.")
    return JSONRPCError(jsonrpc="2.0", id=None, error=told)


async def _answer_probe(message: SessionMessage, write: Any, server: Any, state: Any) -> None:
    probe_in, probe_read = create_context_streams[Any](1)
    probe_write, probe_out = create_context_streams[Any](1)
    await probe_in.send(message)
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: serve_dual_era_loop(server, probe_read, probe_write, lifespan_state=state))
        await write.send(await probe_out.receive())
        await probe_in.aclose()
        group.cancel_scope.cancel()
