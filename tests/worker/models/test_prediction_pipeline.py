"""Cases that pools prepare and export come out as nnU-Net predicts them one after the other."""

import copy
import json
import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image

from nnunet_mcp.worker import nnunet_seam
from nnunet_mcp.worker.predicting import pipeline
from nnunet_mcp.worker.predicting.pipeline import work_side_by_side

PLANS = Path(__file__).parents[2] / "plans" / "default_with_cascade.json"
SHAPES = [(9, 14, 12), (12, 9, 17), (6, 21, 8), (10, 10, 10), (17, 7, 11)]
LABELS: dict[str, Any] = {"background": 0, "left": 1, "right": 2}
REGIONS: dict[str, Any] = {"background": 0, "whole": [1, 2], "core": 2}


@pytest.fixture(autouse=True)
def pools_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, which import for seconds, predict in tests/real/test_scenarios.py."""
    monkeypatch.setattr(pipeline, "_pool", ThreadPool)


def predictor_of(configuration: str, labels: dict[str, Any], *, folds: int = 1, pictures: bool = False) -> Any:
    """A predictor whose small networks have drawn their weights."""
    description: dict[str, Any] = {
        "labels": labels,
        "channel_names": {"0": "MRI"},
        "file_ending": ".png" if pictures else ".nii.gz",
    }
    if labels is REGIONS:
        description["regions_class_order"] = [1, 2]
    content = json.loads(PLANS.read_text(encoding="utf-8"))
    content["image_reader_writer"] = "NaturalImage2DIO" if pictures else "SimpleITKIO"
    for one in content["configurations"].values():
        if "spacing" in one:  # not one that inherits it
            one.update({name: [size] * len(one["spacing"]) for name, size in (("patch_size", 8), ("spacing", 1.0))})
    plans = PlansManager(content)
    heads = plans.get_label_manager(description).num_segmentation_heads
    inputs = 3 if configuration == "3d_cascade_fullres" else 1
    kind = torch.nn.Conv2d if configuration == "2d" else torch.nn.Conv3d
    torch.manual_seed(7)
    networks = [kind(inputs, heads, 3, padding=1) for _ in range(folds)]
    weights = [copy.deepcopy(network.state_dict()) for network in networks]
    axes = (0, 1) if configuration == "2d" else (0, 1, 2)
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    made = plans.get_configuration(configuration)
    predictor.manual_initialization(networks[0], plans, made, weights, description, "nnUNetTrainer", axes)
    return predictor


def write_images(folder: Path, *, pictures: bool) -> list[list[str]]:
    folder.mkdir()
    draw = numpy.random.default_rng(1)
    for number, shape in enumerate(SHAPES):
        path = folder / f"case_{number}_0000{'.png' if pictures else '.nii.gz'}"
        if pictures:
            Image.fromarray(draw.integers(0, 255, shape[1:], dtype=numpy.uint8)).save(path)
        else:
            values = draw.normal(size=shape).astype(numpy.float32)
            nibabel.save(nibabel.Nifti1Image(values, numpy.diag([1.5, 1.0, 0.8, 1.0])), path)
    return [[str(path)] for path in sorted(folder.iterdir())]


def write_stage_before(folder: Path, images: list[list[str]]) -> str:
    folder.mkdir()
    for (path,) in images:
        image = nibabel.load(path)
        labels = (numpy.asarray(image.dataobj) > 0).astype(numpy.uint8) * 2
        nibabel.save(nibabel.Nifti1Image(labels, image.affine), folder / Path(path).name.replace("_0000", ""))
    return str(folder)


@pytest.mark.parametrize(
    ("configuration", "labels", "folds", "npz"),
    [
        pytest.param("3d_fullres", LABELS, 2, True, id="3d of two folds"),
        pytest.param("pictures", LABELS, 1, True, id="pictures"),
        pytest.param("2d", LABELS, 1, False, id="2d", marks=pytest.mark.heavy),
        pytest.param("3d_fullres", REGIONS, 1, True, id="regions", marks=pytest.mark.heavy),
        pytest.param("3d_fullres", {**LABELS, "ignore": 3}, 1, False, id="ignore label", marks=pytest.mark.heavy),
        pytest.param("3d_cascade_fullres", LABELS, 1, False, id="cascade", marks=pytest.mark.heavy),
    ],
)
def test_every_voxel_and_probability_is_as_nnunet_predicts_it_case_by_case(
    tmp_path: Path, configuration: str, labels: dict[str, Any], folds: int, npz: bool
) -> None:
    pictures = configuration == "pictures"
    predictor = predictor_of("2d" if pictures else configuration, labels, folds=folds, pictures=pictures)
    images = write_images(tmp_path / "images", pictures=pictures)
    cascade = configuration == "3d_cascade_fullres"
    before = write_stage_before(tmp_path / "before", images) if cascade else None
    outputs = {name: [str(tmp_path / name / f"case_{number}") for number in range(len(SHAPES))] for name in ("a", "b")}
    (tmp_path / "a").mkdir()
    how = {"save_probabilities": npz, "folder_with_segs_from_prev_stage": before}
    predictor.predict_from_files_sequential(images, outputs["a"], **how)

    work_side_by_side(predictor)
    predictor.predict_from_files(
        images, outputs["b"], **how, num_processes_preprocessing=2, num_processes_segmentation_export=1
    )

    made = [sorted(path for path in (tmp_path / name).glob("case_*") if path.suffix != ".pkl") for name in "ab"]
    assert [path.name for path in made[0]] == [path.name for path in made[1]]
    assert len(made[0]) == len(SHAPES) * (2 if npz else 1)
    found = [tuple(map(content_of, pair)) for pair in zip(*made, strict=True)]
    assert all(numpy.array_equal(one, other) for one, other in found)
    assert any(len(numpy.unique(one)) > 1 for one, _ in found)


def content_of(path: Path) -> Any:
    if path.suffix == ".npz":
        return numpy.load(path)["probabilities"]
    return numpy.asarray(Image.open(path) if path.suffix == ".png" else nibabel.load(path).dataobj)


def test_who_replaces_the_steps_afterwards_sees_each_case_by_its_name_with_its_logits(tmp_path: Path) -> None:
    predictor = predictor_of("3d_fullres", LABELS)
    images = write_images(tmp_path / "images", pictures=False)
    (tmp_path / "out").mkdir()
    seen: list[Any] = []

    def noted(method: Any, cases: Any, *more: Any) -> None:
        method(map(named, cases), *more)

    def named(case: Any) -> Any:
        seen.append(Path(case["ofile"]).name)
        return case

    def measured(method: Any, data: Any) -> Any:
        logits = method(data)
        seen.append(logits.shape[0])
        return logits

    work_side_by_side(predictor)
    nnunet_seam.replace_on(predictor, f"{nnunet_seam.PREDICTOR}.predict_from_data_iterator", noted)
    logits_of = predictor.predict_logits_from_preprocessed_data
    predictor.predict_logits_from_preprocessed_data = lambda data: measured(logits_of, data)
    predictor.predict_from_files(images, [str(tmp_path / "out" / f"case_{n}") for n in range(len(SHAPES))])

    assert seen == [word for number in range(len(SHAPES)) for word in (f"case_{number}", 3)]


def test_a_case_that_cannot_be_read_or_written_ends_the_prediction_and_keeps_what_is_done(tmp_path: Path) -> None:
    predictor = predictor_of("3d_fullres", LABELS)
    images = write_images(tmp_path / "images", pictures=False)
    shutil.copy(PLANS, images[3][0])
    work_side_by_side(predictor)
    (tmp_path / "out").mkdir()
    outputs = [str(tmp_path / "out" / f"case_{number}") for number in range(len(SHAPES))]

    with pytest.raises(RuntimeError, match="case_3_0000"):
        predictor.predict_from_files(images, outputs, num_processes_preprocessing=1)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3

    (tmp_path / "out" / "case_0.nii.gz").unlink()
    (tmp_path / "out" / "case_0.nii.gz").mkdir()
    with pytest.raises(RuntimeError, match=r"case_0\.nii\.gz"):
        predictor.predict_from_files(images[:1], outputs[:1], num_processes_preprocessing=1)
