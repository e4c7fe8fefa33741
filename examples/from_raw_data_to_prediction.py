"""From raw data to a prediction and a picture of it, as an agent does it: one MCP client, one server over stdio.

    python examples/from_raw_data_to_prediction.py --source /data/Task04_Hippocampus --dataset 4 --name Hippocampus

The source holds imagesTr and labelsTr, and imagesTs to segment. The picture shows the worst validation case.
"""

import argparse
import base64
import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client
from mcp.types import ImageContent

ACTIVE = ("queued", "running")
Answer = dict[str, Any]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="a Medical Segmentation Decathlon task or an nnU-Net dataset")
    parser.add_argument("--dataset", type=int, required=True, help="a free dataset ID, e.g. 4")
    parser.add_argument("--name", required=True, help="a name for the dataset")
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--trainer", help="default: nnUNetTrainer (1000 epochs)")
    parser.add_argument("--change", action="append", help="e.g. epochs=5 and iterations=20, for a quick look")
    parser.add_argument("--device", choices=["cuda", "cpu", "mps"], help="default: what the machine has")
    parser.add_argument("--picture", default="overlay.png", help="where the picture goes")
    return parser.parse_args()


class Stopped(Exception):
    """The example cannot go on; the text says why."""


async def call(client: Client, tool: str, **arguments: Any) -> Answer:
    """A tool's answer; what it refuses ends the example with its own sentence."""
    result = await client.call_tool(tool, {name: value for name, value in arguments.items() if value is not None})
    if result.is_error or result.structured_content is None:
        raise Stopped(" ".join(getattr(block, "text", "") for block in result.content))
    return dict(result.structured_content)


async def finish(client: Client, run_id: str) -> Answer:
    """Follow a run to its end; its result."""
    while True:
        now = await call(client, "nnunet_progress", run_id=run_id, wait_s=25)
        left = f", about {now['eta_s'] / 60:.0f} minutes left" if "eta_s" in now else ""
        print(f"{run_id}: {now['status']}, {now.get('stage', 'done')}, {now['percent']} %{left}", flush=True)
        if now["status"] not in ACTIVE:
            break
    result = await call(client, "nnunet_results", run_id=run_id)
    if result["status"] != "success":
        failure = result.get("failure") or {}
        raise Stopped(f"{run_id} ended as {result['status']}. {failure.get('cause', '')} {failure.get('remedy', '')}")
    return result


async def main(given: argparse.Namespace) -> None:
    """Import, look, train one fold, measure, predict the test images, draw."""
    environment = {**get_default_environment(), **server_environment()}
    server = StdioServerParameters(command=sys.executable, args=["-P", "-m", "nnunet_mcp"], env=environment)
    async with Client(stdio_client(server)) as client:
        where = {"source": given.source, "dataset_id": given.dataset, "name": given.name}
        imported = await call(client, "nnunet_prepare_dataset", **where)
        print(f"Imported {imported['cases']} cases as {imported['dataset_name']}")
        request = {"dataset_id": given.dataset, "configuration": given.configuration, "fold": "0"}
        request |= {"trainer": given.trainer, "changes": given.change, "device": given.device}
        ahead = await call(client, "nnunet_preflight", **request)
        if not ahead["possible"]:
            raise Stopped("\n".join(ahead["problems"]))
        hours = ahead.get("hours") or {"expected": "an unknown number of"}
        print(f"It will train on {ahead.get('device', 'a device')} for {hours['expected']} hours")
        training = await finish(client, (await call(client, "nnunet_training", **request))["run_id"])
        for one in training["per_class"]:
            print(f"{one['label']}: Dice {one['dice']:.3f}, IoU {one['iou']:.3f}")
        started = await call(client, "nnunet_predict", run_id=training["run_id"], device=given.device)
        predicted = await finish(client, started["run_id"])
        print(f"{started['cases']} images of imagesTs are segmented in {predicted['predictions']}")
        await draw(client, training["run_id"], Path(given.picture))


async def draw(client: Client, run_id: str, target: Path) -> None:
    """The worst validation case: image, truth, prediction and their differences."""
    result = await client.call_tool("nnunet_plot", {"run_id": run_id, "kind": "overlay"})
    for block in result.content:
        if isinstance(block, ImageContent):
            target.write_bytes(base64.b64decode(block.data))
            print(f"The picture is {target}")


def server_environment() -> dict[str, str]:
    """The settings of nnU-Net and nnunet-mcp, which a client hands to its server by name."""
    names = ("nnUNet_", "NNUNET_MCP_", "CUDA_")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


def run(given: argparse.Namespace) -> int:
    """Do it; what stops it is said in one line."""
    why = []
    try:
        anyio.run(main, given)
    except* Stopped as stopped:
        group: BaseException = stopped
        while isinstance(group, BaseExceptionGroup):
            group = group.exceptions[0]
        why.append(str(group))
    if why:
        print(why[0], file=sys.stderr)
    return len(why)


if __name__ == "__main__":
    sys.exit(run(parse()))
