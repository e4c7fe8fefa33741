"""What nnunet_predict says of minutes, disk and memory before anything starts."""

import json
import math
import os
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import SimpleITK
from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from PIL import Image

from nnunet_mcp.errors import Unavailable
from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.image_headers import Size, size_of
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.nnunet.models import Model
from nnunet_mcp.prediction_work import PROCESS, Memory, Network, fitting_workers
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.machine import capacity
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.jobs import PredictStep
from nnunet_mcp.schemas.model_name import ModelName
from nnunet_mcp.schemas.outcomes import PredictionOutcome, PredictionPace
from nnunet_mcp.schemas.records import Epoch, Progress, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.models import prediction_costs
from nnunet_mcp.worker.predicting import costs as worker_costs
from nnunet_mcp.worker.predicting.checks import Seen
from nnunet_mcp.worker.predicting.costs import Costs
from tests.kit.tiny import record_of, save, stage
from tests.tools.models.test_predict import DATASET, RUN, model as model, predict, prepared, recorded, segment

assert recorded  # a fixture
GB = 1e9
DONE = StageState(status="success")
NULLS = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")


def planned(model: Path, **changed: Any) -> None:
    """Plans of a network that sees images of make_dataset in 2 x 1 x 1.5 mm, patch by patch."""
    plan = {"patch_size": [4, 4, 4], "spacing": [2.0, 1.0, 1.5], "median_image_size_in_voxels": [8.0, 7.0, 6.0]}
    plan |= {"batch_size": 2, **changed}
    plans: dict[str, Any] = {"dataset_name": DATASET, "transpose_forward": [0, 1, 2], "configurations": {"2d": plan}}
    plans["original_median_shape_after_transp"] = [8, 7, 6]
    (model / "plans.json").write_text(json.dumps(plans), "utf-8")


def test_passes_are_as_many_as_nnunet_computes() -> None:
    chance = random.Random(1)
    for _ in range(300):
        axes, step = chance.choice([2, 3]), chance.choice([0.1, 0.33, 0.5, 0.7, 1.0])
        patch = tuple(chance.randint(4, 20) for _ in range(axes))
        shape, spacing = ([chance.randint(1, 60) for _ in range(3)], [chance.uniform(0.3, 4) for _ in range(3)])
        target = [chance.uniform(0.3, 4) for _ in range(axes)]
        transpose = tuple(chance.sample(range(3), 3))
        network = Network(patch, tuple(target), transpose, (), channels=1, classes=2, regions=False, folds=3)
        seen = network.resampled(shape, spacing)

        turned = [[one[axis] for axis in transpose] for one in (shape, spacing)]
        theirs = compute_new_shape(turned[0], turned[1], [*turned[1][: 3 - axes], *target])
        assert seen == tuple(max(1, length) for length in theirs)
        padded = tuple(max(pair) for pair in zip(seen[3 - axes :], patch, strict=True))
        windows = math.prod(map(len, compute_steps_for_sliding_window(padded, patch, step)))
        whole = windows * math.prod(seen[: 3 - axes]) * 3
        assert network.passes(seen, step, False) == whole
        assert network.passes(seen, step, True) == whole * 2**axes


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_the_size_of_a_volume_is_in_its_header(tmp_path: Path, ending: str) -> None:
    image = SimpleITK.GetImageFromArray(numpy.zeros((3, 4, 5), numpy.int16))
    image.SetSpacing((0.5, 1.0, 2.5))
    path = tmp_path / f"a{ending}"
    SimpleITK.WriteImage(image, str(path))
    assert size_of(path) == Size((3, 4, 5), (2.5, 1.0, 0.5))

    path.write_bytes(path.read_bytes()[:30])
    assert size_of(path) is None


def test_the_size_of_what_is_no_volume(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert size_of(tmp_path / "a.png") == Size((1, 30, 40), (999.0, 1.0, 1.0))
    Image.new("L", (4, 3)).save(tmp_path / "a.jpg")
    (tmp_path / "folder.nii.gz").mkdir()
    for name in ("a.jpg", "folder.nii.gz", "none.nii.gz"):
        assert size_of(tmp_path / name) is None


@pytest.mark.parametrize("strange", ["1e400", "1e308", "nan", "0", "-1", "x", "9" * 5000])
def test_a_header_may_say_anything(tmp_path: Path, strange: str) -> None:
    path = tmp_path / "a.mha"
    for sizes, spacing in ((f"5 4 {strange}", "1 1 1"), ("5 4 3", f"1 1 {strange}")):
        path.write_text(f"ObjectType = Image\nDimSize = {sizes}\nElementSpacing = {spacing}\n", "utf-8")
        assert size_of(path) is None


@pytest.mark.parametrize("strange", ["(1e200,0,0)", "(1e400,0,0)", "(nan,0,0)", "(0,0,0)", "()", "(x)"])
def test_directions_may_say_anything(tmp_path: Path, strange: str) -> None:
    path = tmp_path / "a.nrrd"
    path.write_text(f"NRRD0004\nsizes: 5 4 3\nspace directions: {strange} (0,1,0) (0,0,1)\n", "utf-8")
    assert size_of(path) is None


@pytest.mark.parametrize(
    "strange",
    [{"spacing": [1e-9, 1, 1]}, {"patch_size": [4, 4]}],
)
@pytest.mark.usefixtures("recorded")
def test_plans_may_say_anything(settings: Settings, model: Path, strange: dict[str, Any]) -> None:
    planned(model, **strange)

    assert not predict(settings).estimate


def test_processes_are_as_many_as_the_memory_allows() -> None:
    small, large = Memory(1 * GB, 2 * GB, 1 * GB), Memory(2 * GB, 4 * GB, 10 * GB)

    found = {room: fitting_workers([small, large, small], (3, 3), room * GB) for room in (100, 20, 19, 17.5, 16.5, 3)}

    assert [(one.prepare, one.write) for one in found.values()] == [(3, 3), (3, 3), (3, 2), (2, 1), (1, 1), (1, 1)]
    assert found[3].needed == 16 * GB


def trained(settings: Settings, model: Path, run_id: str, epoch_s: float) -> None:
    """What the training of fold 0 leaves in its run and in the model's folder."""
    train = StateDir(settings.state_dir).run(run_id).stage("train_fold_0")
    for epoch in range(3):
        line = {**dict.fromkeys(NULLS), "epoch": epoch, "seconds": epoch_s}
        append_line(train.epochs_file, Epoch.model_validate(line))
    write_model(train.progress_file, Progress(phase="training", heartbeat=0, epochs=1000))
    counts = {"num_epochs": 1000, "num_iterations_per_epoch": 250, "num_val_iterations_per_epoch": 50}
    (model / "fold_0" / "debug.json").write_text(json.dumps(counts), "utf-8")
    plans = DatasetFiles(settings.folders, DATASET).plans_file(ModelName.parse(model.name).plans)
    plans.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(model / "plans.json", plans)


@pytest.mark.usefixtures("recorded")
def test_minutes_rest_on_what_ran_here_before(settings: Settings, model: Path) -> None:
    """Five images of 8 x 7 x 6 voxels, as large for the network: 3 * 3 * 2 windows, 8 ways each."""
    planned(model)
    assert "Minutes are not known: this model has neither trained nor predicted" in predict(settings).estimate

    trained(settings, model, RUN, 800.0)
    by_training = predict(settings, output=str(model / "predictions" / "second"))

    # 800 s for (250 + 50 / 3) * 2 patches of three thirds, one of which is forwards: half a second
    assert re.match(
        rf"About 6 min \(.*\): 720 passes of the network at 0.5 s, by the training {RUN}", by_training.estimate
    )

    outcome = PredictionOutcome(ok=True, predictions="", pace=PredictionPace(cases=2, passes=100, seconds=20))
    write_model(StateDir(settings.state_dir).run(by_training.run_id).stage("predict").outcome_file, outcome)
    half = predict(settings, options=["mirroring=off"])
    again = predict(settings, output=str(model / "predictions" / "third"))

    assert (
        f"About 3 min (2 min to 4 min): 720 passes of the network at 0.2 s, as in {by_training.run_id}"
        in again.estimate
    )
    assert "About 33 s (27 s to 42 s): 90 passes" in half.estimate


@pytest.mark.usefixtures("recorded")
def test_each_model_of_an_ensemble_has_the_pace_of_its_own_training(settings: Settings, model: Path) -> None:
    """The one is of 800 s per epoch, as above; the other, of other plans, was recorded later and took a tenth."""
    planned(model)
    trained(settings, model, RUN, 800.0)
    other, run_id = model.with_name("nnUNetTrainer__otherPlans__2d"), "d097-2d-f0-oooo"
    shutil.copytree(model, other)
    named: dict[str, Any] = {"dataset_name": DATASET, "request": {"dataset_id": 97}, "plans_identifier": "otherPlans"}
    record = record_of(settings, stage("train_fold_0"), run_id=run_id, **named)
    record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    trained(settings, other, run_id, 80.0)
    names = [ModelName.parse(one.name) for one in (model, other)]
    selected = [{"trainer": one.trainer, "plans_identifier": one.plans, "configuration": "2d"} for one in names]
    best = {"selected_model_or_models": selected, "postprocessing_file": "/elsewhere/postprocessing.pkl"}
    files = DatasetFiles(settings.folders, DATASET)
    files.best_file.write_text(json.dumps({"folds": [0], "best_model_or_ensemble": best}), "utf-8")
    source = files.results / "ensembles" / f"ensemble___{names[0]}___{names[1]}___0"
    source.mkdir(parents=True)
    (source / "postprocessing.json").write_text('{"postprocessing_fns": [], "postprocessing_kwargs": []}', "utf-8")

    told = predict(settings, run_id=None, dataset_id=97).estimate

    assert f"at 0.5 s, by the training {RUN}" in told and f"at 0.05 s, by the training {run_id}" in told


@pytest.mark.usefixtures("recorded")
def test_parts_share_the_minutes_as_far_as_there_are_places_and_the_disk(settings: Settings, model: Path) -> None:
    """Five images, 720 passes of a second; a stage needs 15 s to begin."""
    planned(model)
    pace = PredictionOutcome(ok=True, predictions="", pace=PredictionPace(cases=2, passes=100, seconds=100))

    def start(gpus: int, parts: int, name: str) -> Any:
        here, output = settings.model_copy(update={"gpus": gpus}), str(model / "predictions" / f"{name}_{gpus}_{parts}")
        device = "cuda" if gpus else "cpu"
        return predict(here, device=device, output=output, npz=True, options=[f"parts={parts}"])

    for earlier in (start(0, 1, "earlier"), start(1, 1, "earlier")):
        write_model(StateDir(settings.state_dir).run(earlier.run_id).stage("predict").outcome_file, pace)
    ways = ((0, 1), (0, 4), (1, 4), (2, 1), (2, 3), (2, 4))
    said = {(gpus, parts): start(gpus, parts, "now").estimate for gpus, parts in ways}

    assert {key: re.sub(r" \(.*?\)|:.*", "", text) for key, text in said.items()} == {
        (0, 1): "About 12 min",
        (0, 4): "About 13 min in 4 parts, 1 at a time",
        (1, 4): "About 13 min in 4 parts, 1 at a time",
        (2, 1): "About 12 min",
        (2, 3): "About 8 min in 3 parts, 2 at a time",
        (2, 4): "About 6 min in 4 parts, 2 at a time",
    }
    assert {key for key, text in said.items() if ", in each of 2 parts at a time; " in text} == {(2, 3), (2, 4)}
    assert len({re.search(r"Disk:[^.]*", text)[0] for text in said.values()}) == 1  # type: ignore[index]


@pytest.mark.usefixtures("recorded")
def test_memory_and_disk_are_those_of_the_largest_image_and_of_all(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(model, spacing=[1.0, 0.5, 0.75])
    images = settings.folder("raw") / DATASET / "imagesTs"
    save(images / "large_0000.nii.gz", numpy.zeros((80, 90, 100), numpy.uint8))

    told = predict(settings, npz=True).estimate
    assert re.search(r"Memory: at most \d+(\.\d+)? GB for large, 100 × 90 × 80 voxels; .* are free\.", told)
    assert re.search(r"Disk: under 1 MB, with probabilities at most 5 MB", told)

    monkeypatch.setattr(prediction_costs, "usable_memory", lambda: capacity.Memory(8, 100_000_000))
    output = str(model / "predictions" / "second")
    assert "0.1 GB are free, so this may fail" in predict(settings, output=output).estimate
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(Unavailable, match=r"GB to .*; 0.00 GB are free. Free some space"):
        predict(settings, output=str(model / "predictions" / "third"))


@pytest.mark.usefixtures("recorded")
def test_the_largest_image_counts_wherever_it_is_among_many(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(model, spacing=[1.0, 0.5, 0.75])
    images = settings.folder("raw") / DATASET / "imagesTs"
    save(images / "case_0031_0000.nii.gz", numpy.arange(80 * 90 * 100).reshape(80, 90, 100).astype(numpy.uint8))
    monkeypatch.setattr(prediction_costs, "MOST_HEADERS", 2)

    told = predict(settings).estimate
    assert "GB for case_0031, 100 × 90 × 80 voxels" in told
    assert "Memory: about" in told, "three headers were not read"


def test_memory_counts_what_is_held_beside_the_logits_of_a_case() -> None:
    """A million voxels of three classes; half floats are 6 MB of logits, a channel is 4 MB."""
    needed = {}
    for folds, uncertainty, regions in ((1, False, False), (5, False, False), (5, True, False), (5, True, True)):
        network = Network((100,) * 3, (1.0,) * 3, (0, 1, 2), (), channels=1, classes=3, regions=regions, folds=folds)
        memory = network.memory([100] * 3, [100] * 3, npz=False, uncertainty=uncertainty)
        needed[folds, uncertainty, regions] = round((memory.predicts - PROCESS) / 1e6)
        waiting = [fitting_workers([memory] * 9, (prepare, 1), 0 if prepare == 1 else 1e12) for prepare in (1, 3)]
        assert waiting[1].needed - waiting[0].needed == pytest.approx(2 * (memory.prepares + 4e6))

    assert needed == {
        (1, False, False): 4 + 3 * 6,
        (5, False, False): 4 + 4 * 6,
        (5, True, False): 4 + 4 * 6 + 18,
        (5, True, True): 4 + 4 * 6 + 18,
    }


@pytest.mark.usefixtures("recorded")
def test_only_cases_that_are_missing_cost_anything(settings: Settings, model: Path) -> None:
    planned(model)
    segment(prepared(settings))

    started = predict(settings)
    assert started.estimate.startswith("Every case is there already: the run only checks them, and predicts again")
    write_model(StateDir(settings.state_dir).run(started.run_id).stage("predict").state_file, DONE)
    assert "Memory: at most" in predict(settings, overwrite=True).estimate


LOWERED: Any = [(40, "33", None), (12, "21", r"for 3 \+ 3 of them"), (5, "11", "Only 4.5 GB")]


@pytest.mark.parametrize(("free_gb", "processes", "said"), LOWERED)
def test_processes_are_lowered_and_the_largest_image_is_named(
    settings: Settings, model: Path, monkeypatch: pytest.MonkeyPatch, free_gb: int, processes: str, said: str | None
) -> None:
    planned(model)
    shapes: dict[str, tuple[int, ...]] = {"small": (8, 7, 6), "large": (400, 400, 400)}
    seen = Seen(shapes=shapes, spacings=dict.fromkeys(shapes, (2.0, 1.0, 1.5)))
    step = PredictStep(model=str(model), folds=("0",), output="")
    for name in ("nnUNet_npp", "nnUNet_nps"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setattr(worker_costs, "usable_memory", lambda: capacity.Memory(64 * 10**9, free_gb * 10**9))

    told = Costs(Model(DatasetFiles(settings.folders, DATASET), model, ("0",)), step, seen).fit_workers(list(shapes))

    assert os.environ["nnUNet_npp"] + os.environ["nnUNet_nps"] == processes  # noqa: SIM112
    assert bool(told) == bool(said)
    assert not said or re.search(rf"large, 400 × 400 × 400 voxels\. .*{said}", told[0])
