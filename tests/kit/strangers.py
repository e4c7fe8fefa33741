"""What strangers send: mutated plans, and model folders as somebody else may have made them."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SAMPLES = sorted((Path(__file__).parents[1] / "plans").glob("*.json"))
TEXTS = (
    *("subprocess.Popen", "os.system", "builtins.eval", "torch.hub.load", "torch.nn.modules.conv.os.system", "Pool"),
    *(
        "torch.nn.Module.load_state_dict",
        "torch.nn.Conv3d\n",
        "ｔorch.nn.Conv3d",
        "torch.nn.conv3d",
        "nnunetv2",
        "join",
    ),
    *(
        "/etc/passwd",
        "../../x",
        "a/../../b",
        "~root/x",
        "-rf",
        "$(id)",
        "`id`",
        "x;id",
        "..",
        ".",
        "",
        " ",
        "\0",
        "a\nb",
    ),
    *(
        "\u202egpj.exe",
        "\x1b[31m",
        "x" * 100_000,
        "Dataset001_/../..",
        "C:\\x",
        "\\\\host\\share",
        "%2e%2e",
        "gt_segmentations",
    ),
)
NUMBERS = (0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 1e308, -1e308, 5e-324, float("nan"), float("inf"), True, None)
OTHERS: tuple[Any, ...] = ([], {}, [[]], {"a": {"b": []}}, [1] * 10_000, "1", [None], {"0": "x"})


def sample(number: int = 0) -> dict[str, Any]:
    """Plans that nnU-Net has written."""
    found: dict[str, Any] = json.loads(SAMPLES[number].read_text(encoding="utf-8"))
    return found


def mutants(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Plans of nnU-Net in each of which one to three places are another's."""
    choose = random.Random(seed)
    for _ in range(count):
        plans = copy.deepcopy(sample(choose.randrange(len(SAMPLES))))
        for _ in range(choose.randint(1, 3)):
            _mutate(plans, choose)
        yield plans


def _mutate(plans: dict[str, Any], choose: random.Random) -> None:
    holder, key = choose.choice(list(_places(plans)))
    pool: Any = choose.choice((TEXTS, NUMBERS, OTHERS))
    value = copy.deepcopy(choose.choice(pool))
    if isinstance(holder, dict) and choose.random() < 0.15:
        holder[choose.choice(TEXTS)] = holder.pop(key)
    else:
        holder[key] = value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a structure."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(inside):
        yield value, key
        yield from _places(inner)


def make_model(folder: Path, change: Callable[[dict[str, Any]], None] = lambda plans: None) -> Path:
    """A model folder TRAINER__PLANS__2d with one fold, whose plans `change` has had."""
    import torch

    plans = small(sample())
    change(plans)
    (folder / "fold_0").mkdir(parents=True)
    description = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "block": 1}, "file_ending": ".nii.gz"}
    for name, content in (("plans.json", plans), ("dataset.json", description)):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    content = {
        "network_weights": weights(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"plans": plans, "configuration": "2d", "fold": 0, "dataset_json": description},
        "inference_allowed_mirroring_axes": (0, 1),
    }
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def small(plans: dict[str, Any]) -> dict[str, Any]:
    """The same plans with a network of few weights, for one configuration."""
    two = plans["configurations"]["2d"]
    two.update(patch_size=[16, 16], batch_size=2)
    two["architecture"]["arch_kwargs"].update(
        n_stages=2,
        features_per_stage=[4, 8],
        kernel_sizes=[[3, 3], [3, 3]],
        strides=[[1, 1], [2, 2]],
        n_conv_per_stage=[1, 1],
        n_conv_per_stage_decoder=[1],
    )
    return {**plans, "dataset_name": "Dataset007_Elsewhere", "configurations": {"2d": two}}


def weights() -> dict[str, Any]:
    """Those of the small network."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    network = PlainConvUNet(
        1, 2, [4, 8], torch.nn.Conv2d, [[3, 3], [3, 3]], [[1, 1], [2, 2]], [1, 1], 2, [1], True,
        torch.nn.InstanceNorm2d, {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True},
    )  # fmt: skip
    found: dict[str, Any] = network.state_dict()
    return found
