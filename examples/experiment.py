"""A baseline and its changes on one fold, as an agent does it: one MCP client, one server, a table at the end.

    python examples/experiment.py --dataset 4 --base epochs=20 --change loss=dice_topk --change mirroring=none

Each --change is one training: the baseline with these words besides.
"""

import argparse
import sys
from typing import Any

import anyio
from from_raw_data_to_prediction import call, finish, server_environment
from mcp import Client
from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=int, required=True, help="dataset ID, e.g. 4")
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--fold", default="0")
    parser.add_argument("--device", choices=["cuda", "cpu", "mps"], help="default: what the machine has")
    parser.add_argument("--base", nargs="*", default=[], help="changes of all trainings, e.g. epochs=20 iterations=50")
    parser.add_argument("--change", nargs="+", action="append", default=[], help="what one training changes besides")
    return parser.parse_args()


async def main(given: argparse.Namespace) -> None:
    """Start the baseline, then each change like it; wait for all; compare."""
    environment = {**get_default_environment(), **server_environment()}
    server = StdioServerParameters(command=sys.executable, args=["-P", "-m", "nnunet_mcp"], env=environment)
    async with Client(stdio_client(server)) as client:
        request = {"dataset_id": given.dataset, "configuration": given.configuration, "fold": given.fold}
        first = await call(client, "nnunet_training", **request, device=given.device, changes=given.base)
        runs = {"baseline": first["run_id"]}
        await finish(client, first["run_id"])  # the others reuse what it has preprocessed
        for words in given.change:
            started = await call(
                client, "nnunet_training", dataset_id=given.dataset, like=first["run_id"], changes=words
            )
            runs[" ".join(words)] = started["run_id"]
        show({name: await finish(client, run_id) for name, run_id in runs.items()})


def show(results: dict[str, dict[str, Any]]) -> None:
    """One line for each training, with the Dice of each class."""
    for name, result in results.items():
        classes = ", ".join(f"{one['label']} {one['dice'] or 0:.3f}" for one in result["per_class"])
        print(f"| {name} | {result['metrics']['dice']:.3f} | {classes} | {result['run_id']} |")


if __name__ == "__main__":
    anyio.run(main, parse())
