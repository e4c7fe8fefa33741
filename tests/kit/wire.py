"""Raw JSON-RPC to a real server process, as a host speaks it."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Message = dict[str, Any]
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Wire:
    """A server process and everything that it has said."""

    def __init__(
        self, environment: Mapping[str, str] | None = None, cwd: Path | None = None, *, start_new_session: bool = False
    ) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nnunet_mcp"],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe if environment else None,
            text=True,
            env=environment,
            cwd=cwd,
            start_new_session=start_new_session,
        )
        self.number, self.heard = 0, list[Message]()

    def begin(self) -> None:
        """Shake hands."""
        self.request("initialize", INITIALIZE)
        self.tell("notifications/initialized")

    def line(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def tell(self, method: str, params: Message | None = None) -> None:
        """A notification."""
        self.line(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}}))

    def send(self, method: str, params: Message | None = None) -> int:
        """A request whose answer is not waited for; returns its id."""
        self.number += 1
        self.line(json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params or {}}))
        return self.number

    def hear(self, wanted: Callable[[Message], bool]) -> Message:
        """The next message of that kind."""
        assert self.process.stdout is not None
        while True:
            self.heard.append(json.loads(self.process.stdout.readline()))
            if wanted(self.heard[-1]):
                return self.heard[-1]

    def request(self, method: str, params: Message | None = None) -> Message:
        number = self.send(method, params)
        return self.hear(lambda message: message.get("id") == number)

    def call(self, tool: str, **arguments: Any) -> Message:
        """The result of a tool."""
        found: Message = self.request("tools/call", {"name": tool, "arguments": arguments})["result"]
        return found

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.communicate()
