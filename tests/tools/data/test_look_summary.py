"""What a look comes to: what nnU-Net makes of each channel, volumes, who stands out, in few characters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
import SimpleITK
from PIL import Image

from nnunet_mcp.settings import Settings
from tests.kit.tiny import ask

CASES = 24
LONG = "a_rather_long_name_of_a_structure_that_somebody_has_outlined_"


def _save(path: Path, array: Any, spacing: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, numpy.diag([*spacing, 1.0])), path)


def dataset(
    settings: Settings, change: Callable[..., None] = lambda number, case: None, channels: tuple[str, ...] = ("T2",)
) -> Path:
    """24 cases alike, c00 to c23, in which `change` may alter values, label and spacing (x, y, z)."""
    raw = settings.folder("raw") / "Dataset007_Alike"
    for number in range(CASES):
        random = numpy.random.default_rng(number)
        case: dict[str, Any] = {"values": random.normal(100, 10, (10, 10, 10)).astype(numpy.float32)}
        case |= {"label": numpy.zeros((10, 10, 10), numpy.uint8), "spacing": (1.0, 1.0, 2.0)}
        case["label"][:5, :5, : 4 + number % 2] = 1
        change(number, case)
        for channel in range(len(channels)):
            _save(raw / "imagesTr" / f"c{number:02d}_{channel:04d}.nii.gz", case["values"], case["spacing"])
        _save(raw / "labelsTr" / f"c{number:02d}.nii.gz", case["label"], case["spacing"])
    names = {str(number): name for number, name in enumerate(channels)}
    text = {"channel_names": names, "labels": {"background": 0, "liver": 1}, "numTraining": CASES}
    (raw / "dataset.json").write_text(json.dumps({**text, "file_ending": ".nii.gz"}), encoding="utf-8")
    return raw


def look(settings: Settings, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(settings, "nnunet_datasets", dataset_id=7, **arguments)["datasets"][0]
    return found


def test_cases_unlike_the_others_are_named_with_what_is_unusual(settings: Settings) -> None:
    def change(number: int, case: dict[str, Any]) -> None:
        if number == 3:
            case["spacing"] = (1.0, 1.0, 6.0)
            case["values"] *= 10
        if number == 7:
            case["values"] = numpy.concatenate([case["values"]] * 3)
            case["label"] = numpy.concatenate([case["label"]] + [numpy.zeros_like(case["label"])] * 2)
        if number == 11:
            case["label"][:] = 1

    dataset(settings, change)
    found = look(settings)

    assert set(found["outliers"]) == {"c03", "c07", "c11"}
    assert "spacing 6×1×1 mm" in found["outliers"]["c03"] and "T2 99.5th percentile 12" in found["outliers"]["c03"]
    assert found["outliers"]["c07"] == "shape 10×10×30"
    assert found["outliers"]["c11"] == "liver 2 mL (usual 0.225)"
    assert found["label_statistics"]["liver"]["volume"] == "0.225 mL (0.2 to 2)"


def test_alike_cases_have_no_outlier_and_empty_borders_are_left_out_of_the_z_score(settings: Settings) -> None:
    def change(number: int, case: dict[str, Any]) -> None:
        case["values"][:3] = 0

    dataset(settings, change)
    found = look(settings)

    assert "outliers" not in found and "mixed" not in found
    assert found["intensities"][0]["normalization"].endswith("of what is not zero in the image")


def test_groups_of_resolutions_and_scanners_are_told_with_their_cases(settings: Settings) -> None:
    def change(number: int, case: dict[str, Any]) -> None:
        if number < 8:
            case["spacing"], case["values"] = (0.5, 0.5, 5.0), case["values"] * 20

    dataset(settings, change)
    found = look(settings)

    assert found["mixed"][0] == "resolutions: 2×1×1 mm (16 cases), 5×0.5×0.5 mm (8 cases)"
    assert "channel T2: 99.5th percentile of 16 cases up to 1" in found["mixed"][1]
    assert "of the other 8 from 2" in found["mixed"][1]


def test_each_channel_says_what_nnunet_makes_of_it(settings: Settings) -> None:
    raw = dataset(settings, channels=("T2", "cT", "noNorm", "rescale_to_0_1"))

    said = [channel["normalization"] for channel in look(settings)["intensities"]]
    _fingerprint(settings, raw.name)
    measured = look(settings)["intensities"][1]["normalization"]

    assert said[0] == "z-score by mean and standard deviation of the image"
    assert said[1].startswith("clipped to the 0.5th to 99.5th percentile of all labelled voxels")
    assert said[2:] == ["left as it is", "scaled to 0 to 1 by the image's own lowest and highest value"]
    assert measured == "clipped to -958 to 326, then minus 99, divided by 130.5"


@pytest.mark.parametrize(("ending", "told"), [(".mha", [0.5, 0.5]), (".png", None)])
def test_the_spacing_that_nnunet_makes_up_for_2d_images_is_not_told(
    settings: Settings, ending: str, told: list[float] | None
) -> None:
    raw = settings.folder("raw") / "Dataset007_Flat"
    for part, name in (("imagesTr", "c_0000"), ("labelsTr", "c")):
        (raw / part).mkdir(parents=True)
        flat = SimpleITK.GetImageFromArray((numpy.indices((32, 40)).sum(axis=0) > 30).astype(numpy.uint8))
        flat.SetSpacing((0.5, 0.5))
        SimpleITK.WriteImage(flat, str(raw / part / f"{name}{ending}"))
    text = {"channel_names": {"0": "X"}, "labels": {"background": 0, "cell": 1}, "numTraining": 1}
    (raw / "dataset.json").write_text(json.dumps({**text, "file_ending": ending}), encoding="utf-8")

    assert (look(settings)["spacings"] or {}).get("median") == told


def test_each_colour_of_pictures_has_its_own_line(settings: Settings) -> None:
    raw = settings.folder("raw") / "Dataset007_Colours"
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for number in range(3):
        shades = numpy.linspace(0, 100, 32 * 40).reshape(32, 40)
        pixels = numpy.stack([shades, shades + 50, shades + 100 + number], axis=-1).astype(numpy.uint8)
        Image.fromarray(pixels).save(raw / "imagesTr" / f"c{number}_0000.png")
        Image.fromarray((shades > 50).astype(numpy.uint8)).save(raw / "labelsTr" / f"c{number}.png")
    names = {str(number): name for number, name in enumerate("RGB")}
    text = {"channel_names": names, "labels": {"background": 0, "cell": 1}, "numTraining": 3, "file_ending": ".png"}
    (raw / "dataset.json").write_text(json.dumps(text), encoding="utf-8")

    found = look(settings)["intensities"]

    said = {line["channel"]: [line[name] for name in ("lowest", "median", "highest", "highest_in")] for line in found}
    assert said == {"R": [0, 49.5, 100, "c0"], "G": [50, 99.5, 150, "c0"], "B": [100, 150.5, 202, "c2"]}
    assert [line["percentile_99_5"] for line in found] == pytest.approx([99.5, 149.5, 200.5], abs=1)


def _fingerprint(settings: Settings, name: str) -> None:
    """What nnU-Net has measured."""
    figures = {"percentile_00_5": -958.0, "percentile_99_5": 326.0, "mean": 99.0, "std": 130.5}
    made = {"spacings": [[1, 1, 1]], "shapes_after_crop": [[10, 10, 10]]}
    path = settings.folder("preprocessed") / name / "dataset_fingerprint.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**made, "foreground_intensity_properties_per_channel": {"1": figures}}), "utf-8")


def test_the_answer_is_short_and_the_rest_is_there_on_request(settings: Settings) -> None:
    def change(number: int, case: dict[str, Any]) -> None:
        case["label"][number % 10, :, 0] = number + 2
        if number % 4 == 0:
            case["values"][0, 0, 0], case["label"][0, 0, 1] = numpy.nan, 200

    raw = dataset(settings, change)
    text = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    text["labels"] |= {f"{LONG}{value}": value for value in range(2, 90)}
    (raw / "dataset.json").write_text(json.dumps(text), encoding="utf-8")

    short, whole = (ask(settings, "nnunet_datasets", dataset_id=7, full=full) for full in (False, True))

    length = len(json.dumps(short, ensure_ascii=False, separators=(",", ":")))
    assert length <= 2500
    assert "All of it: nnunet_datasets(dataset_id=7, full=true)." in short["next_step"]
    assert "c00 (200)" in " ".join(short["datasets"][0]["problems"])
    assert len(whole["datasets"][0]["label_statistics"]) == 40 and "All of it" not in whole["next_step"]
