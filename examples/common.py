"""The examples' command line: which dataset, on which device, with which trainer."""

import argparse
import json
from typing import Any


def parse(*needed: str) -> dict[str, Any]:
    """Read --dataset, --device, --trainer and --plans (and the options named in `needed`) as tool parameters."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", dest="dataset_id", required=True, help="dataset ID, e.g. 50")
    parser.add_argument("--device", choices=["cuda", "cpu", "mps"], help="default: what the machine has")
    parser.add_argument("--trainer", help="default: nnUNetTrainer (1000 epochs)")
    parser.add_argument("--plans", dest="plans_identifier", help="default: nnUNetPlans")
    for name in needed:
        parser.add_argument(f"--{name}", required=True)
    return {name: value for name, value in vars(parser.parse_args()).items() if value is not None}


def show(result: dict[str, Any]) -> None:
    """Print the documented part of a result, and end with 1 where it is no success."""
    names = ("status", "model_path", "dataset_id", "configuration", "fold", "metrics", "failure", "notes")
    print(json.dumps({name: result[name] for name in names if name in result}, indent=2))
    if result["status"] != "success":
        raise SystemExit(1)
