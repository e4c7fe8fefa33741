"""What nnU-Net will plan is told before anything is preprocessed, and what it will not plan is refused with figures."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

from nnunet_mcp.settings import Settings
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, make_dataset, save

PRESETS = {"nnUNetPlans", "nnUNetResEncUNetMPlans", "nnUNetResEncUNetLPlans", "nnUNetResEncUNetXLPlans"}


def dataset(settings: Settings, shape: tuple[int, int, int], spacing: float = 1.0) -> Path:
    """Images of noise, x, y, z, within a border of zeros that is two voxels wide where there is room for it."""
    folder = make_dataset(settings.folder("raw"), "Dataset007_Ahead")
    for number in range(5):
        inner = tuple(slice(2, -2) if length > 8 else slice(None) for length in shape)
        values = numpy.zeros(shape, numpy.float32)
        values[inner] = numpy.random.default_rng(number).normal(100, 10, values[inner].shape)
        save(folder / "imagesTr" / f"case_{number:03d}_0000.nii.gz", values, spacing=spacing)
        save(folder / "labelsTr" / f"case_{number:03d}.nii.gz", (values > 110).astype(numpy.uint8), spacing=spacing)
    return folder


def asked(tool: str, settings: Settings, configuration: str, **arguments: Any) -> dict[str, Any]:
    request = {"dataset_id": 7, "configuration": configuration, "fold": "0", "device": "cpu", **arguments}
    return ask(settings, tool, **request)


def runs(settings: Settings) -> list[Path]:
    return list((settings.state_dir / "runs").glob("*"))


@pytest.mark.heavy
def test_a_cascade_of_small_images_is_refused_at_once_with_the_numbers(settings: Settings, plans_ahead: None) -> None:
    folder = dataset(settings, (44, 36, 36))
    text = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    no_letters = {"channel_names": {"0": "\ud800"}, "labels": {"background": 0, "\udfff": 1}}
    (folder / "dataset.json").write_text(json.dumps({**text, **no_letters}), encoding="utf-8")

    seen = asked("nnunet_preflight", settings, "3d_cascade_fullres")
    full = asked("nnunet_preflight", settings, "3d_fullres")
    look = ask(settings, "nnunet_datasets", dataset_id=7)["datasets"][0]
    changed = asked("nnunet_preflight", settings, "3d_fullres", changes=["patch_size=16x16x16", "batch_size=3"])
    with pytest.raises(ToolRefused, match=r"will plan no 3d_cascade_fullres for Dataset007_Ahead: .*100%"):
        asked("nnunet_training", settings, "3d_cascade_fullres", changes=["batch_size=4"])
    with pytest.raises(
        ToolRefused, match=r"will plan no 3d_lowres for Dataset007_Ahead: .*100%.* 40×32×32 of 40×32×32"
    ):
        asked("nnunet_training", settings, "3d_lowres")

    assert not seen["possible"] and "will plan no 3d_cascade_fullres" in " ".join(seen["problems"])
    assert "for less than 25%" in " ".join(seen["problems"]) and not runs(settings)
    assert full["possible"] and full["network"]["patch_size"] == [40, 32, 32]
    assert (changed["network"]["patch_size"], changed["network"]["batch_size"]) == ([16, 16, 16], 3)
    assert list(changed["plans_ahead"]) == ["nnUNetPlans_bs3_patch16x16x16"], "a small patch may bring a 3d_lowres"
    assert "3d_cascade_fullres" in changed["plans_ahead"]["nnUNetPlans_bs3_patch16x16x16"]
    assert full["recommended"]["configuration"] == "3d_fullres"
    assert full["plans_ahead"] == look["plans_ahead"] and set(look["plans_ahead"]) >= PRESETS
    assert "3d_fullres 40×32×32 of 40×32×32, batch " in look["plans_ahead"]["nnUNetPlans"]


@pytest.mark.heavy
def test_3d_of_single_slices_is_refused_and_2d_is_not(settings: Settings, plans_ahead: None) -> None:
    dataset(settings, (48, 40, 1), spacing=8.0)
    ask(settings, "nnunet_datasets", dataset_id=7)

    with pytest.raises(ToolRefused, match=r"single slices, 36×44 pixels.* no 3d_fullres.* configuration='2d'"):
        asked("nnunet_training", settings, "3d_fullres")
    flat = asked("nnunet_preflight", settings, "2d")

    assert flat["possible"] and flat["recommended"]["configuration"] == "2d" and not runs(settings)
    assert set(flat["plans_ahead"]) >= PRESETS and "3d" not in flat["plans_ahead"]["nnUNetPlans"]


def test_where_the_images_are_not_looked_at_yet_the_training_says_that_it_is_not_known(settings: Settings) -> None:
    dataset(settings, (44, 36, 36))

    seen = asked("nnunet_preflight", settings, "3d_lowres")

    assert seen["possible"] and "network" not in seen
    assert any("0 of 5 cases are looked at; nnunet_datasets(dataset_id=7)" in note for note in seen["notes"])
