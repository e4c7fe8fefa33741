"""The folders at the top install as one package, and the server stays light."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("nnunet", "runs", "schemas", "server", "tools", "worker")


def test_every_package_folder_is_in_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    on_disk = {
        "nnunet_mcp." + ".".join(init.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for init in (ROOT / room).rglob("__init__.py")
    }
    assert set(settings["packages"]) == {"nnunet_mcp", *on_disk}
    assert set(settings["package-dir"]) == set(settings["packages"])


@pytest.mark.parametrize("room", ROOMS)
def test_a_link_leads_to_its_room(room: str) -> None:
    link = ROOT / "nnunet_mcp" / room
    if link.is_file():
        pytest.skip("checked out without symbolic links: only the type checker needs them")
    assert link.resolve() == ROOT / room


def test_the_server_lists_its_tools_without_torch_or_nnunet() -> None:
    script = (
        "import sys, anyio\n"
        "from mcp import Client\n"
        "from nnunet_mcp.settings import Settings\n"
        "from nnunet_mcp.server.app import create_server\n"
        "async def main():\n"
        "    async with Client(create_server(Settings())) as client:\n"
        "        assert (await client.list_tools()).tools\n"
        "anyio.run(main)\n"
        "print(sorted({'torch', 'nnunetv2', 'nibabel', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
