"""How many characters a model reads in a full cycle: import, start, five looks, log, result.

    PYTHONPATH=. python benchmarks/characters.py

A real training on a made-up dataset, through an MCP client over stdio. Counted is `structuredContent` as JSON.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from tests.kit.lab import Lab, call
from tests.kit.phantom import write_phantom


async def cycle(client: Client, source: Path) -> list[tuple[str, int]]:
    """Each step with its characters."""
    counted: list[tuple[str, int]] = []

    async def step(title: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
        answer = await call(client, tool, **arguments)
        counted.append((title, len(json.dumps(answer, separators=(",", ":")))))
        return answer

    listed = (await client.list_tools()).model_dump_json(by_alias=True, exclude_none=True)
    counted.append(("tools/list", len(listed)))
    await step("prepare", "nnunet_prepare_dataset", source=str(source), dataset_id=61, name="Phantom")
    request = {"dataset_id": 61, "configuration": "2d", "fold": "0", "trainer": "MiddleTrainer", "device": "cpu"}
    run_id = (await step("start", "nnunet_training", **request))["run_id"]
    for look in range(1, 6):
        await step(f"look {look}", "nnunet_progress", run_id=run_id, wait_s=20)
    while (await call(client, "nnunet_progress", run_id=run_id, wait_s=20))["status"] in ("queued", "running"):
        pass
    await step("logs", "nnunet_logs", run_id=run_id)
    await step("results", "nnunet_results", run_id=run_id)
    return counted


async def main(folder: Path) -> None:
    """Print a table in Markdown."""
    source = folder / "Phantom"
    write_phantom(source, cases=5, shape=(24, 24, 24))
    async with Lab(folder / "work").client() as client:
        counted = await cycle(client, source)
    print("| step | characters |\n|---|---:|")
    for name, characters in counted:
        print(f"| {name} | {characters:,} |")
    print(f"| without tools/list | {sum(characters for name, characters in counted if name != 'tools/list'):,} |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as workspace:
        anyio.run(main, Path(workspace))
