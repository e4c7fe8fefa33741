"""What is released works: the wheel in a clean environment, with the light dependencies alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.light import ROOT, make_environment

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True, capture_output=True)
    return folder


def test_the_wheel_made_from_the_sdist_starts_and_lists_its_tools_without_torch(built: Path, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "clean")
    wheel = next(built.glob("*.whl"))
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "NNUNET_MCP_DATA": str(tmp_path / "data")}

    answers = _speak([str(python.with_name("nnunet-mcp"))], environment, tmp_path)

    assert len(answers["result"]["tools"]) >= 9
    version = subprocess.run(
        [str(python.with_name("nnunet-mcp")), "--version"], check=True, capture_output=True, text=True
    )
    assert version.stdout.startswith("nnunet-mcp ")


def _speak(command: list[str], environment: dict[str, str], folder: Path) -> dict[str, dict[str, list[object]]]:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    messages: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list", "params": {}},
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd=folder
    )
    assert process.stdin is not None and process.stdout is not None
    for message in messages:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        process.stdin.flush()
    while (answer := json.loads(process.stdout.readline())).get("id") != 2:
        continue
    process.communicate(timeout=20)
    return dict(answer)


def test_the_wheel_has_every_room_and_no_generic_package(built: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    tops = {name.split("/")[0] for name in names}
    assert all(top == "nnunet_mcp" or top.endswith(".dist-info") for top in tops)
    for room in ("runs", "schemas", "server", "tools", "worker"):
        assert f"nnunet_mcp/{room}/__init__.py" in names
    assert "nnunet_mcp/server/dashboard/page.html" in names
