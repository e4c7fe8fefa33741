"""Many servers ask for the same fold at once: one wins, the others are told its run_id."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.chaos import stand_in_worker
from tests.chaos.storm import Storm
from tests.kit.lab import Lab, call, structured
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.heavy
SERVERS, ROUNDS = 8, 25


@pytest.mark.long
def test_of_eight_servers_that_start_at_once_exactly_one_wins_each_time(tmp_path: Path) -> None:
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "NNUNET_MCP_REPEAT_WINDOW_S": "0"}
    lab = Lab(tmp_path / "work", extra)
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    won: list[list[str]] = []
    refused: list[str] = []

    async def one(client: Any, request: dict[str, Any], winners: list[str]) -> None:
        result = await client.call_tool("nnunet_training", request)
        if result.is_error:
            refused.append(result.content[0].text)
        else:
            winners.append(str(structured(result)["run_id"]))

    async def race() -> None:
        async with EightClients(lab) as clients:
            for number in range(ROUNDS):
                winners: list[str] = []
                request = {"dataset_id": 71, "fold": str(number % 5), "device": "cpu", "overwrite": True}
                async with anyio.create_task_group() as group:
                    for client in clients:
                        group.start_soon(one, client, request, winners)
                won.append(winners)
                await _end(clients[0], winners[0])

    anyio.run(race)

    assert [len(winners) for winners in won] == [1] * ROUNDS
    assert len(refused) == ROUNDS * (SERVERS - 1)
    names = {winners[0] for winners in won}
    assert all(any(name in text for name in names) for text in refused)


async def _end(client: Any, run_id: str) -> None:
    status = (await call(client, "nnunet_cancel", run_id=run_id, force=True))["status"]
    while status in ("queued", "running"):
        status = (await call(client, "nnunet_progress", run_id=run_id, wait_s=5))["status"]


class EightClients:
    """Eight clients, each with a server of its own."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.stack = lab, AsyncExitStack()

    async def __aenter__(self) -> list[Any]:
        await self.stack.__aenter__()
        return [await self.stack.enter_async_context(self.lab.client()) for _ in range(SERVERS)]

    async def __aexit__(self, *error: Any) -> None:
        await self.stack.__aexit__(*error)


@pytest.mark.long
def test_a_short_storm_breaks_no_invariant(tmp_path: Path) -> None:
    counts = Storm(tmp_path, seed=3).rage(50)
    assert counts.broken == []
    assert counts.runs > 5
