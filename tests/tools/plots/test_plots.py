"""Pictures: what they show, how large they are, and what is said where there is nothing to show."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import anyio
import numpy
import pytest
import SimpleITK
from mcp import Client
from PIL import Image

from nnunet_mcp.errors import NotFound, Refused, Unavailable
from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.plots import CurvesPicture, Plot, PlotRequest
from nnunet_mcp.schemas.records import CaseMetrics, Epoch, StageState
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.plots.plots import GATHERED, nnunet_plot
from tests.kit.phantom import write_phantom
from tests.kit.tiny import ask, record_of, stage

RUN = "d081-2d-f0-tttt"
DATASET = "Dataset081_Phantom"
# The colours of the differences, as they look over black, grey and white.
MISSED, EXTRA = (204, 51, 17), (0, 255, 255)


def make_run(settings: Settings, run_id: str = RUN, folds: int = 1) -> RunDir:
    """A finished run on the phantom, without its epochs and outcomes."""
    stages = [stage(f"train_fold_{fold}") for fold in range(folds)]
    request = {"dataset_id": 81, "configuration": "2d", "fold": "0" if folds == 1 else "all", "npz": run_id != RUN}
    record = record_of(settings, *stages, run_id=run_id, dataset_name=DATASET, request=request)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    for spec in stages:
        write_model(run.stage(spec.name).state_file, StageState(status="success"))
    return run


def train(run: RunDir, *values: float | None, fold: int = 0, restored: int = 0, first: int = 0) -> None:
    """One epoch per value."""
    for number, value in enumerate(values, first):
        line = Epoch(
            epoch=number,
            train_loss=value,
            val_loss=value,
            learning_rate=0.01,
            pseudo_dice=value,
            ema_pseudo_dice=value,
            seconds=1.0,
            restored=number < restored,
        )
        append_line(run.stage(f"train_fold_{fold}").epochs_file, line)


def validate(run: RunDir, dice: dict[str, float | None], *, fold: int = 0, classes: int = 2) -> None:
    """The outcome with each case's Dice."""
    per_class = {name: {f"class {number}": value for number in range(classes)} for name, value in dice.items()}
    voxels = {name: {"class 0": (0 if value == 0.5 else 10, 20)} for name, value in dice.items()}
    cases = tuple(
        CaseMetrics(case=name, dice=value, per_class=per_class[name], voxels=voxels[name])
        for name, value in dice.items()
    )
    write_model(run.stage(f"train_fold_{fold}").outcome_file, ModelOutcome(ok=True, cases=cases))


def predict(settings: Settings, case: str, change: Any) -> None:
    """A prediction that is the truth, changed."""
    truth = settings.folder("raw") / DATASET / "labelsTr" / f"{case}.nii.gz"
    folder = settings.folder("results") / DATASET / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0" / "validation"
    folder.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.ReadImage(str(truth))
    changed = SimpleITK.GetImageFromArray(change(SimpleITK.GetArrayFromImage(image)))
    changed.CopyInformation(image)
    SimpleITK.WriteImage(changed, str(folder / f"{case}.nii.gz"))


@pytest.fixture
def phantom(settings: Settings) -> Path:
    folder = settings.folder("raw") / DATASET
    write_phantom(folder, cases=5, shape=(24, 30, 36))
    return folder


def plot(settings: Settings, **arguments: Any) -> Plot:
    return nnunet_plot(PlotRequest.model_validate(arguments), settings)


def picture(drawn: Plot) -> Image.Image:
    """The picture, which is always a PNG that every host takes."""
    assert len(drawn.png) <= 70_000 and "\n" not in drawn.text
    image = Image.open(io.BytesIO(drawn.png))
    assert image.format == "PNG" and 400 <= image.width <= 800 and image.height <= 2000
    return image.convert("RGB")


def has(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    """Whether something of about that colour is in the panels, above the legend."""
    pixels = numpy.asarray(image, dtype=int)[: int(image.height * 0.85)]
    return bool((abs(pixels - numpy.array(colour)).sum(axis=2) < 60).sum() > 3)


@pytest.mark.heavy
def test_curves_are_drawn_light_and_dark(settings: Settings) -> None:
    train(make_run(settings), *(1 / (1 + n) for n in range(50)), restored=20)

    light, dark = (picture(plot(settings, run_id=RUN, theme=theme)) for theme in ("light", "dark"))

    assert light.getpixel((2, 2)) == (255, 255, 255) and dark.getpixel((2, 2)) == (30, 30, 30)
    assert "50 epochs, resumed at 21, moving average of the pseudo Dice 0.020" in plot(settings, run_id=RUN).text


def test_the_folds_of_a_run_and_several_runs_are_overlaid(settings: Settings) -> None:
    run, other = make_run(settings, folds=5), make_run(settings, run_id="d081-2d-f1-uuuu")
    for fold in range(5):
        train(run, 0.5, 0.4, 0.3, fold=fold)
    train(other, 0.9, 0.8)

    waiting = make_run(settings, run_id="d081-2d-f2-wwww")

    text = plot(settings, run_id=RUN, with_run_ids=[other.run_id, waiting.run_id]).text

    assert f"Left out, because no epoch has ended yet: {waiting.run_id}." in text
    assert all(f"{RUN} fold {fold}: 3 epochs" in text for fold in range(5))
    assert f"{other.run_id} fold 0: 2 epochs" in text


@pytest.mark.heavy
@pytest.mark.parametrize("values", [[0.5], [None, None], [float("nan"), float("inf"), 0.1], [1e308, -1e308]])
def test_one_epoch_or_numbers_that_are_none_make_a_picture(settings: Settings, values: list[float | None]) -> None:
    train(make_run(settings), *values)

    picture(plot(settings, run_id=RUN))


def test_the_curves_of_one_training_have_each_class_by_its_name(settings: Settings) -> None:
    run = make_run(settings)
    (settings.folder("preprocessed") / DATASET).mkdir(parents=True)
    labels = {"background": 0, "small": 2, "big": 1, "never": 3}
    (settings.folder("preprocessed") / DATASET / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    for number, seen in enumerate(((0.5, None), (1.0, 0.25), (None, 0.25), (0.0, 0.25))):
        unmeasured = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"))
        line = {**unmeasured, "epoch": number, "seconds": 1.0, "pseudo_dice_per_class": (*seen, None)}
        append_line(run.stage("train_fold_0").epochs_file, Epoch.model_validate(line))

    gathered, text = GATHERED["curves"](PlotRequest(run_id=RUN), settings)

    assert isinstance(gathered, CurvesPicture)
    classes = gathered.curves[0].classes
    assert list(classes) == ["big", "small", "never"] and classes["never"] == (None,) * 4
    assert classes["big"] == pytest.approx((0.5, 0.55, 0.55, 0.495))  # as nnU-Net averages the mean
    assert classes["small"] == (None, 0.25, 0.25, 0.25)
    assert text.endswith("Moving average of each class, lowest first: small 0.250, big 0.495.")


def test_without_an_epoch_there_is_no_curve_and_that_is_said(settings: Settings) -> None:
    make_run(settings)

    with pytest.raises(NotFound, match=r"no epoch yet.*nnunet_progress"):
        plot(settings, run_id=RUN)


@pytest.mark.heavy
@pytest.mark.parametrize("classes", [1, 2, 40])
def test_folds_show_any_number_of_classes(settings: Settings, classes: int) -> None:
    run = make_run(settings, folds=3)
    for fold in range(2):
        validate(run, {"a": 0.9, "b": 0.2, "c": None}, fold=fold, classes=classes)
    validate(run, {"d": 0.5}, fold=2, classes=classes)

    drawn = plot(settings, run_id=RUN, kind="folds")

    picture(drawn)
    assert "fold 0: 3 cases, fold 1: 3 cases, fold 2: 1 case)" in drawn.text


def test_folds_without_a_validated_case_say_what_to_look_at_instead(settings: Settings) -> None:
    run = make_run(settings)
    with pytest.raises(NotFound, match=r"no validated fold yet.*kind='curves'"):
        plot(settings, run_id=RUN, kind="folds")

    validate(run, {"a": None})
    with pytest.raises(Refused, match="No validation case has a Dice"):
        plot(settings, run_id=RUN, kind="folds")


@pytest.mark.heavy
def test_an_overlay_shows_what_was_missed_and_what_is_too_much(settings: Settings, phantom: Path) -> None:
    run = make_run(settings)
    validate(run, {"case_000": 1.0, "case_001": 0.5, "case_002": 0.7})
    predict(settings, "case_000", lambda truth: truth)
    predict(settings, "case_001", lambda truth: numpy.where(truth == 1, 0, truth).astype("uint8"))
    predict(settings, "case_002", lambda truth: numpy.maximum(truth, numpy.roll(truth, 6, axis=1)).astype("uint8"))

    perfect, lacking, extra = (
        plot(settings, run_id=RUN, kind="overlay", case=case) for case in ("best", "worst", "median")
    )

    assert "Case case_001, Dice 0.500, the worst of 3" in lacking.text
    assert "Per class: class 0 0.500 (truth 20 voxels, predicted 0), class 1 0.500" in lacking.text
    assert "The prediction is empty" in lacking.text and "empty" not in perfect.text
    assert not has(picture(perfect), MISSED)
    assert has(picture(lacking), MISSED)
    assert has(picture(extra), EXTRA) and not has(picture(extra), MISSED)
    assert "Case case_002, Dice 0.700, predicted" in plot(settings, run_id=RUN, kind="overlay", case="case_002").text


@pytest.mark.heavy
def test_however_a_volume_is_stored_it_is_shown_the_same_way_round(settings: Settings, phantom: Path) -> None:
    validate(make_run(settings), {"case_000": 0.5})
    predict(settings, "case_000", lambda truth: numpy.roll(truth, 3, axis=2))
    before = plot(settings, run_id=RUN, kind="overlay")
    prediction = next(settings.folder("results").rglob("validation/*.nii.gz"))
    for path in (phantom / "imagesTr/case_000_0000.nii.gz", phantom / "labelsTr/case_000.nii.gz", prediction):
        turned = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), "AIR")
        assert turned.GetSize() != SimpleITK.ReadImage(str(path)).GetSize()
        SimpleITK.WriteImage(turned, str(path))

    assert plot(settings, run_id=RUN, kind="overlay").png == before.png


@pytest.mark.parametrize(
    ("case", "message"), [("no_such_case", "no validation case"), ("../../etc", "no validation case")]
)
def test_a_case_that_does_not_exist_is_answered_with_those_that_do(
    settings: Settings, phantom: Path, case: str, message: str
) -> None:
    validate(make_run(settings), {"case_000": 0.5})

    with pytest.raises(NotFound, match=f"{message}.*case_000.*worst, median, best"):
        plot(settings, run_id=RUN, kind="overlay", case=case)


def test_missing_files_are_named(settings: Settings, phantom: Path) -> None:
    validate(make_run(settings), {"case_000": 0.5})
    with pytest.raises(NotFound, match=r"prediction of case case_000.*validation_only"):
        plot(settings, run_id=RUN, kind="overlay")

    predict(settings, "case_000", lambda truth: truth)
    shutil.rmtree(phantom / "imagesTr")
    with pytest.raises(NotFound, match=r"image of case case_000.*put case_000.nii.gz back"):
        plot(settings, run_id=RUN, kind="overlay")


def test_images_of_another_shape_or_that_are_none_are_refused_in_words(settings: Settings, phantom: Path) -> None:
    validate(make_run(settings), {"case_000": 0.5, "case_001": 0.6})
    predict(settings, "case_000", lambda truth: truth)
    predict(settings, "case_001", lambda truth: truth)
    shutil.copy(phantom / "labelsTr/case_000.nii.gz", phantom / "short.nii.gz")
    small = SimpleITK.GetImageFromArray(numpy.zeros((3, 4, 5), "uint8"))
    SimpleITK.WriteImage(small, str(phantom / "imagesTr/case_000_0000.nii.gz"))
    (phantom / "imagesTr/case_001_0000.nii.gz").write_bytes(b"no image")

    with pytest.raises(Refused, match=r"case_000: the labels have the shape .* must be the same"):
        plot(settings, run_id=RUN, kind="overlay", case="case_000")
    with pytest.raises(Refused, match=r"case_001_0000.nii.gz cannot be read as an image"):
        plot(settings, run_id=RUN, kind="overlay", case="case_001")


def test_a_dataset_is_shown_before_anything_is_trained(settings: Settings, phantom: Path) -> None:
    drawn = plot(settings, kind="dataset", dataset_id=81)

    picture(drawn)
    assert "4 of 5 cases (case_000, case_001, case_003, case_004)" in drawn.text and "cropped" in drawn.text


@pytest.mark.heavy
def test_the_odd_cases_of_a_dataset_come_first_and_a_broken_file_spoils_no_picture(
    settings: Settings, phantom: Path
) -> None:
    bright = SimpleITK.GetImageFromArray(numpy.full((24, 30, 36), 90, "int16"))
    SimpleITK.WriteImage(bright, str(phantom / "imagesTr/case_003_0000.nii.gz"))
    (phantom / "imagesTr/case_002_0000.nii.gz").write_bytes(b"no image")
    ask(settings, "nnunet_datasets", dataset_id=81)

    drawn = plot(settings, kind="dataset", dataset_id=81)
    one = plot(settings, kind="dataset", dataset_id=81, case="case_001")

    picture(drawn)
    assert "4 of 5 cases (case_002, case_003, case_000, case_004)" in drawn.text
    assert "case_002 (among files that cannot be read whole)" in drawn.text and "nothing but one value" in drawn.text
    assert picture(one).height > 0 and "case_001" in one.text and "Unusual" not in one.text
    with pytest.raises(Refused, match="cannot be read as an image"):
        plot(settings, kind="dataset", dataset_id=81, case="case_002")
    with pytest.raises(NotFound, match=r"no case .case_1. with image and label. Cases: case_001"):
        plot(settings, kind="dataset", dataset_id=81, case="case_1")


def test_a_noisy_picture_is_small_and_keeps_the_colours_of_its_labels(settings: Settings, phantom: Path) -> None:
    random = numpy.random.default_rng(0)
    for number in range(5):
        noise = SimpleITK.GetImageFromArray(random.integers(0, 30_000, (24, 300, 300)).astype("int16"))
        SimpleITK.WriteImage(noise, str(phantom / f"imagesTr/case_{number:03d}_0000.nii.gz"))
        labels = numpy.zeros((24, 300, 300), "uint8")
        labels[12, 10:290, 10:290], labels[12, 100:104, 100:104] = 1, 2
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(phantom / f"labelsTr/case_{number:03d}.nii.gz"))

    drawn = picture(plot(settings, kind="dataset", dataset_id=81))

    large = plot(settings, kind="dataset", dataset_id=81, large=True, filled=True)
    assert 70_000 < len(large.png) <= 250_000 and Image.open(io.BytesIO(large.png)).width > 800
    legend = numpy.asarray(drawn, dtype=int)[-30:]
    for colour in ((86, 180, 233), (230, 159, 0)):
        assert abs(legend - numpy.array(colour)).sum(axis=2).min() < 25


def test_a_dataset_of_colour_pictures_with_one_case_is_shown(settings: Settings) -> None:
    folder = settings.folder("raw") / "Dataset082_Cells"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = numpy.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (300, 200, 3), dtype="uint8")).save(folder / "imagesTr/a_0000.png")
    Image.fromarray((random.random((300, 200)) > 0.5).astype("uint8")).save(folder / "labelsTr/a.png")
    description = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "cell": 1}}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 1, "file_ending": ".png"}), "utf-8")

    picture(plot(settings, kind="dataset", dataset_id=82))


def test_four_channels_and_very_thick_slices_are_shown(settings: Settings) -> None:
    folder = settings.folder("raw") / "Dataset083_Thick"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    labels = numpy.zeros((8, 60, 60), "uint8")
    labels[2:6, 20:40, 20:40] = 1
    for name, array in [*((f"imagesTr/a_{n:04d}", labels * 50.0) for n in range(4)), ("labelsTr/a", labels)]:
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing((0.7, 0.7, 7.0))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))
    channels = {str(number): name for number, name in enumerate(("T1", "T1c", "T2", "FLAIR"))}
    description = {"channel_names": channels, "labels": {"background": 0, "tumour": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**description, "numTraining": 1}), "utf-8")

    drawn = picture(plot(settings, kind="dataset", dataset_id=83))

    assert drawn.height < 1.5 * drawn.width


def test_a_file_elsewhere_that_dataset_json_names_is_not_read(
    settings: Settings, phantom: Path, tmp_path: Path
) -> None:
    secret = tmp_path.parent / "elsewhere.nii.gz"
    shutil.copy(phantom / "labelsTr/case_000.nii.gz", secret)
    description = json.loads((phantom / "dataset.json").read_text("utf-8"))
    description["dataset"] = {"case_000": {"images": [str(secret)], "label": str(secret)}}
    (phantom / "dataset.json").write_text(json.dumps(description), "utf-8")

    with pytest.raises(Refused, match="outside the allowed folders"):
        plot(settings, kind="dataset", dataset_id=81)


def test_a_drawer_that_fails_is_reported_and_does_not_harm(settings: Settings) -> None:
    train(make_run(settings), 0.5)
    broken = settings.model_copy(update={"worker_python": "/bin/false"})

    with pytest.raises(Unavailable, match="Drawing failed"):
        plot(broken, run_id=RUN)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs run_id"),
        ({"kind": "dataset"}, "needs dataset_id"),
        ({"kind": "folds", "run_id": RUN, "with_run_ids": [RUN]}, "with_run_ids is for kind='curves'"),
        ({"run_id": RUN, "case": "best"}, "case is for kind='overlay'"),
    ],
)
def test_what_makes_no_sense_together_is_refused(settings: Settings, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlotRequest.model_validate(arguments)


def test_a_client_gets_one_line_and_the_image(settings: Settings) -> None:
    train(make_run(settings), 0.5, 0.4)

    async def once() -> list[Any]:
        async with Client(create_server(settings)) as client:
            return list((await client.call_tool("nnunet_plot", {"run_id": RUN})).content)

    text, image = anyio.run(once)

    assert text.text.startswith("Learning curves") and image.mime_type == "image/png"
    assert len(image.data) < 270_000
