"""Resources, prompts and completions, through a client in memory."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp.types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from tests.kit.tiny import make_dataset
from tests.server.test_answers import run_at


def with_client(settings: Settings, act: Callable[[Client], Awaitable[Any]]) -> Any:
    async def once() -> Any:
        async with Client(create_server(settings)) as client:
            return await act(client)

    return anyio.run(once)


def read(settings: Settings, uri: str) -> str:
    found = with_client(settings, lambda client: client.read_resource(uri))
    return str(found.contents[0].text)


def test_a_run_its_log_a_dataset_and_the_schema_can_be_read(settings: Settings) -> None:
    run = run_at(settings, "success")
    run.stage("train_fold_0").log_file.write_text("first\nlast\n", encoding="utf-8")
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")

    assert json.loads(read(settings, f"nnunet://runs/{run.run_id}"))["progress"]["status"] == "success"
    assert read(settings, f"nnunet://runs/{run.run_id}/log/train_fold_0").splitlines()[-1] == "last"
    assert json.loads(read(settings, "nnunet://datasets/7"))["name"] == "Dataset007_Tiny"
    assert "dataset_id" in json.loads(read(settings, "nnunet://schema/training"))["properties"]


def test_a_run_that_does_not_exist_is_an_error_and_no_path(settings: Settings) -> None:
    for name in ("no-such-run", "..%2F..%2Fetc"):
        with pytest.raises(Exception, match=r"."):
            read(settings, f"nnunet://runs/{name}")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("nnunet://datasets/abc", "names nothing that can be there"),
        ("nnunet://datasets/9999", "less than or equal to 999"),
        ("nnunet://runs/d004-none/log/Pre-process", "names nothing that can be there"),
        ("nnunet://runs/d004-none", "There is no run"),
    ],
)
def test_an_address_of_nothing_says_what_is_wrong_with_it(settings: Settings, uri: str, said: str) -> None:
    async def refusal(client: Client) -> str:
        with pytest.raises(MCPError) as refused:
            await client.read_resource(uri)
        return str(refused.value)

    assert said in with_client(settings, refusal)


def test_every_prompt_names_the_tools_to_use(settings: Settings) -> None:
    async def texts(client: Client) -> list[str]:
        found = []
        for prompt in (await client.list_prompts()).prompts:
            arguments = {argument.name: "7" for argument in prompt.arguments or []}
            message = (await client.get_prompt(prompt.name, arguments)).messages[0]
            found.append(str(getattr(message.content, "text", "")))
        return found

    prompts = with_client(settings, texts)

    assert len(prompts) == 4
    assert all("nnunet_" in text and "7" in text for text in prompts)


def test_dataset_and_run_ids_are_completed(settings: Settings) -> None:
    run = run_at(settings, "success")
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")

    async def complete(client: Client, prompt: str, name: str, value: str) -> list[str]:
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await client.complete(reference, {"name": name, "value": value})).completion.values

    runs = with_client(settings, lambda client: complete(client, "diagnose_run", "run_id", "d004"))
    datasets = with_client(settings, lambda client: complete(client, "choose_configuration", "dataset_id", ""))

    assert runs == [run.run_id]
    assert datasets == ["7"]
