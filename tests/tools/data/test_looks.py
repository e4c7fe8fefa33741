"""A look into a dataset: every file opened once, kept by identity, told as it goes, bounded in time and memory."""

import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import nibabel
import numpy
import psutil
import pytest
import SimpleITK
import tifffile
from mcp import Client
from PIL import Image

from nnunet_mcp.schemas.datasets import DatasetsRequest, PrepareRequest
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.data.datasets import nnunet_datasets
from nnunet_mcp.tools.data.importing import nnunet_prepare_dataset
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.lab import ToolRefused, until
from tests.kit.tiny import ask, make_dataset, save

NOWHERE = "/nowhere/python"
PEAK_MB = 250


def varied(folder: Path) -> Path:
    """Make the images of a tiny dataset differ, as real ones do."""
    for number, path in enumerate(sorted((folder / "imagesTr").iterdir())):
        values = numpy.random.default_rng(number).normal(100, 10, (6, 7, 8)).astype(numpy.float32)
        save(path, values)
    return folder


@pytest.fixture
def raw(settings: Settings) -> Path:
    """A dataset of five tiny cases."""
    return varied(make_dataset(settings.folder("raw"), "Dataset007_Tiny"))


def look(settings: Settings, **known: Any) -> dict[str, Any]:
    answer = for_agents(nnunet_datasets(DatasetsRequest(dataset_id=7), settings, **known).model_dump(mode="json"))
    return {**answer["datasets"][0], "next_step": answer["next_step"]}


def without_worker(settings: Settings) -> Settings:
    """Settings with which no image can be opened."""
    return settings.model_copy(update={"worker_python": NOWHERE})


def played(settings: Settings, folder: Path, body: str) -> Settings:
    """Settings whose worker is a script; `job` holds what it was asked, `say` writes a line."""
    script = folder / "played_worker"
    lines = [
        f"#!{sys.executable}",
        "import json, os, signal, sys, time",
        "job = json.loads(sys.stdin.readline())",
        "names = [case['case'] for case in job['cases']]",
        "say = lambda **line: print(json.dumps(line), flush=True)",
        body,
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return settings.model_copy(update={"worker_python": str(script)})


def test_sixty_real_cases_have_no_problem_and_are_kept(
    settings: Settings, hippocampus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", str(hippocampus))
    request = PrepareRequest(source=str(hippocampus), dataset_id=7, name="Hippocampus")
    nnunet_prepare_dataset(request, Settings(), lambda done, total: None)

    began = time.monotonic()
    found = look(settings)
    cold = time.monotonic() - began
    again = look(without_worker(settings))
    kept = time.monotonic() - began - cold

    with capsys.disabled():
        print(f" 60 cases: {cold:.2f} s, kept: {kept:.3f} s ", end="")
    assert (found["inspected"], found["problems"], found["warnings"]) == (60, [], [])
    assert found["shapes"] == {"median": [36, 51, 35.5], "smallest": [24, 40, 32], "largest": [42, 58, 43]}
    volume = "1.69 mL (1.05 to 2.59)"
    assert found["label_statistics"]["Anterior"] == {"share": 0.0272, "cases": 60, "volume": volume}
    assert again == found and cold < 20 and kept < 1


def test_what_it_says_agrees_with_the_voxels(settings: Settings, raw: Path) -> None:
    images = [numpy.asarray(nibabel.load(path).dataobj) for path in (raw / "imagesTr").iterdir()]

    found = look(settings)

    (channel,) = found["intensities"]
    assert channel["lowest"] == pytest.approx(min(values.min() for values in images), rel=1e-4)
    middle = numpy.median([numpy.quantile(values, 0.5) for values in images])
    assert channel["median"] == pytest.approx(middle, rel=1e-4)
    block = {"share": pytest.approx(8 / 336, rel=1e-2), "cases": 5, "volume": "0.024 mL (0.024 to 0.024)"}
    assert found["label_statistics"] == {"block": block}
    assert found["spacings"]["median"] == [2, 1, 1.5] and found["shapes"]["median"] == [8, 7, 6]


def test_only_a_case_that_has_changed_is_opened_again(settings: Settings, raw: Path, tmp_path: Path) -> None:
    first = look(settings)
    path = raw / "imagesTr" / "case_002_0000.nii.gz"
    before = path.stat()
    save(path, numpy.full((6, 7, 8), 3, numpy.float32))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    asked = played(settings, tmp_path, f"open({str(tmp_path / 'asked')!r}, 'w').write(' '.join(names))")
    look(asked)
    changed = look(settings)

    assert (tmp_path / "asked").read_text(encoding="utf-8") == "case_002"
    assert first["problems"] == [] and "case_002 (all 3)" in changed["problems"][0]


def test_a_kept_look_that_is_damaged_is_made_again(settings: Settings, raw: Path) -> None:
    first = look(settings)
    (kept,) = (settings.state_dir / "looks").iterdir()
    kept.write_text(kept.read_text(encoding="utf-8")[:100], encoding="utf-8")

    assert look(settings) == first
    assert look(without_worker(settings)) == first


def test_a_state_folder_that_takes_nothing_costs_only_the_next_call(settings: Settings, raw: Path) -> None:
    (settings.state_dir / "looks").write_text("a file where the folder should be", encoding="utf-8")

    assert look(settings)["inspected"] == 5
    assert look(settings)["inspected"] == 5


def test_two_servers_at_once_find_the_same(settings: Settings, raw: Path) -> None:
    found: list[dict[str, Any]] = []

    async def both() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)

    async def one() -> None:
        found.append(await anyio.to_thread.run_sync(look, settings))

    anyio.run(both)

    assert found[0] == found[1] == found[2] == look(without_worker(settings))


def test_the_progress_is_told_case_by_case(settings: Settings, raw: Path) -> None:
    told: list[tuple[float, float | None]] = []

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async def once() -> None:
        async with Client(create_server(settings)) as client:
            await client.call_tool("nnunet_datasets", {"dataset_id": 7}, progress_callback=listen)

    anyio.run(once)

    assert told[-1] == (5, 5) and sorted(told) == told and len(told) > 2


ONE_AND_WAIT = "say(done={'case': names[0], 'images': []}); open(__file__ + '.pid', 'w').write(str(os.getpid()))\n"


def test_a_look_that_has_no_time_left_says_so_and_goes_on_with_the_next_call(
    settings: Settings, raw: Path, tmp_path: Path
) -> None:
    slow = played(settings, tmp_path, ONE_AND_WAIT + "time.sleep(600)")

    began = time.monotonic()
    first = look(slow, look_s=2)

    assert time.monotonic() - began < 10
    assert (first["inspected"], first["cases"], first["partial"]) == (1, 5, True)
    assert "Looked at 1 of 5 cases" in first["next_step"] and "dataset_id=7" in first["next_step"]
    assert look(settings)["inspected"] == 5


def test_a_cancelled_call_leaves_no_process(settings: Settings, raw: Path, tmp_path: Path) -> None:
    slow = played(settings, tmp_path, ONE_AND_WAIT + "time.sleep(600)")
    mark = tmp_path / "played_worker.pid"

    async def once() -> None:
        async with Client(create_server(slow)) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "nnunet_datasets", {"dataset_id": 7})
            assert await anyio.to_thread.run_sync(lambda: until(lambda: _written(mark)))
            group.cancel_scope.cancel()

    anyio.run(once)

    assert until(lambda: not psutil.pid_exists(int(mark.read_text(encoding="utf-8"))))


def _written(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def test_the_process_ends_with_a_server_that_is_killed(raw: Path) -> None:
    command = [sys.executable, "-m", "nnunet_mcp.worker.asks.inspection"]
    process = psutil.Popen(command, stdin=-1, stdout=-1)

    process.stdin.write(b'{"cases": []}\n')
    process.stdin.close()

    assert process.wait(timeout=30) in (0, 1)
    process.stdout.close()


def test_a_case_that_crashes_its_reader_is_named_and_the_others_are_looked_at(
    settings: Settings, raw: Path, tmp_path: Path
) -> None:
    begin = "[say(begun=name) for name in names if name in ('case_000', 'case_003')]"
    crash = f"if 'case_003' in names: {begin}; os.kill(os.getpid(), signal.SIGKILL)"
    others = "for name in names: say(done={'case': name, 'images': []})"
    crashing = played(settings, tmp_path, f"{crash}\n{others}")

    found = look(crashing)

    assert found["inspected"] == 5
    assert "case_003 (image: the image library crashed (exit code -9" in found["warnings"][0]
    assert "case_000" not in found["warnings"][0]
    assert look(settings)["problems"] == [], "a crash is not kept: it may have been for want of memory"


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".gipl", ".nii", ".tif", ".tiff", ".bmp"])
def test_every_format_is_read_as_nnunet_reads_it_and_a_cut_file_is_noticed(settings: Settings, ending: str) -> None:
    folder = settings.folder("raw") / "Dataset007_Format"
    random = numpy.random.default_rng(0)
    for name, values in (("a", random.integers(0, 250, (9, 40, 30))), ("b", random.integers(0, 250, (9, 40, 30)))):
        write_as(folder / "imagesTr" / f"{name}_0000{ending}", values.astype(numpy.uint8))
        write_as(folder / "labelsTr" / f"{name}{ending}", (values > 100).astype(numpy.uint8))
    text = {"channel_names": {"0": "X"}, "labels": {"background": 0, "high": 1}, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps({**text, "numTraining": 2}), encoding="utf-8")
    whole = look(settings)
    path = folder / "imagesTr" / f"b_0000{ending}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    cut = look(settings)

    assert (whole["problems"], whole["warnings"]) == ([], [])
    assert whole["shapes"]["median"] == ([1, 40, 30] if ending == ".bmp" else [9, 40, 30])
    assert len(cut["problems"]) == 1 and "cannot be read whole: b (image: " in cut["problems"][0]


def write_as(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".bmp":
        Image.fromarray(values[0]).save(path)
    elif path.suffix.startswith(".tif"):
        tifffile.imwrite(path, values)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))


@pytest.mark.parametrize("worker", [NOWHERE, "/bin/false", "/bin/true"])
def test_without_a_worker_the_dataset_is_still_described(settings: Settings, raw: Path, worker: str) -> None:
    found = look(settings.model_copy(update={"worker_python": worker}))

    assert (found["cases"], found["inspected"], found["problems"]) == (5, 0, [])


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", ["a b", "$(id)", "it's", "%s%n", "-rf", "[x]", "{0}", "naïve", "脳", "a\u202eb", "x" * 230, "c.."]
)
def test_a_case_may_be_called_anything(settings: Settings, raw: Path, name: str) -> None:
    for path in (raw / "imagesTr" / "case_002_0000.nii.gz", raw / "labelsTr" / "case_002.nii.gz"):
        path.rename(path.with_name(path.name.replace("case_002", name)))
    (raw / "labelsTr" / f"{name}.nii.gz").write_bytes(b"broken")

    found = look(settings)

    assert found["inspected"] == 5 and len(found["problems"]) == 1
    assert all(sign.isprintable() for sign in found["problems"][0])


def test_a_name_that_is_no_text_is_a_problem_of_its_own(settings: Settings, raw: Path) -> None:
    image = os.fsencode(raw / "imagesTr") + b"/\xff\xfe_0000.nii.gz"
    label = os.fsencode(raw / "labelsTr") + b"/\xff\xfe.nii.gz"
    try:
        Path(os.fsdecode(image)).write_bytes((raw / "imagesTr" / "case_000_0000.nii.gz").read_bytes())
        Path(os.fsdecode(label)).write_bytes((raw / "labelsTr" / "case_000.nii.gz").read_bytes())
    except OSError:
        pytest.skip("this file system takes only UTF-8")

    found = look(settings)

    assert found["inspected"] == 5 and "no valid UTF-8" in found["problems"][0]


def test_linked_files_are_looked_at(settings: Settings, raw: Path, tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).rename(tmp_path / folder)
        (raw / folder).mkdir()
        for path in (tmp_path / folder).iterdir():
            (raw / folder / path.name).symlink_to(path)

    assert look(settings)["inspected"] == 5


def test_listed_files_outside_the_allowed_folders_are_not_opened(settings: Settings, raw: Path, tmp_path: Path) -> None:
    shutil.move(raw / "imagesTr", tmp_path / "elsewhere")
    entry: Callable[[str], dict[str, Any]] = lambda case: {  # noqa: E731
        "images": [str(tmp_path / "elsewhere" / f"{case}_0000.nii.gz")],
        "label": f"labelsTr/{case}.nii.gz",
    }
    path = raw / "dataset.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    names = [f"case_{number:03d}" for number in range(5)]
    path.write_text(json.dumps({**description, "dataset": {name: entry(name) for name in names}}), encoding="utf-8")

    found = look(settings)

    assert found["inspected"] == 0
    assert "NNUNET_MCP_ALLOWED_DIRS" in found["warnings"][0] and "and 2 more" in found["warnings"][0]
    allowed = settings.model_copy(update={"allowed_dirs": str(tmp_path / "elsewhere")})
    assert look(allowed)["inspected"] == 5


def test_a_training_refuses_at_once_what_a_look_has_shown(settings: Settings, raw: Path) -> None:
    training = {"dataset_id": 7, "configuration": "3d_fullres", "fold": "0", "device": "cpu"}
    label = raw / "labelsTr" / "case_001.nii.gz"
    whole = label.read_bytes()
    save(label, numpy.full((6, 7, 8), 9, numpy.uint8))
    look(settings)

    assert "case_001 (9)" in str(ask(settings, "nnunet_preflight", **training)["problems"])
    with pytest.raises(ToolRefused, match=r"(?s)cannot be trained.*case_001 \(9\)"):
        ask(settings, "nnunet_training", **training)

    unchecked = TrainingRequest.model_validate({**training, "verify_dataset_integrity": False})
    assert prepare_run(unchecked, settings)[2], "without verify_dataset_integrity nothing is refused"
    label.write_bytes(whole)
    mended = TrainingRequest.model_validate({**training, "fold": "1"})
    assert prepare_run(mended, settings)[2], "a look at the old file says nothing about the new one"


def test_the_list_of_all_opens_no_image(settings: Settings, raw: Path) -> None:
    answer = ask(without_worker(settings), "nnunet_datasets")

    assert "inspected" not in answer["datasets"][0]
    assert not (settings.state_dir / "looks").exists()


@pytest.mark.heavy
def test_the_answer_about_300_cases_with_40_labels_stays_small(settings: Settings) -> None:
    folder = settings.folder("raw") / "Dataset007_Large"
    names = {f"structure number {number}": number for number in range(1, 41)}
    write_many(folder, cases=300, labels={"background": 0, **names})
    write_plans(settings.folder("preprocessed") / folder.name)

    found = ask(settings, "nnunet_datasets", dataset_id=7, full=True)
    brief = ask(settings, "nnunet_datasets", dataset_id=7)

    assert found["datasets"][0]["inspected"] == 300
    assert len(found["datasets"][0]["label_statistics"]) == 40 and len(found["datasets"][0]["plans"]) == 6
    assert found["datasets"][0]["problems"] and found["datasets"][0]["warnings"]
    assert brief["datasets"][0]["problems"] and brief["datasets"][0]["inspected"] == 300
    for answer, most in ((found, 10_000), (brief, 2500)):
        text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
        assert len(text) - len(answer["raw_folder"]) <= most, text


def write_many(folder: Path, *, cases: int, labels: dict[str, int]) -> None:
    """Cases of 64 voxels, every third of them broken in some way."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    random = numpy.random.default_rng(0)
    for number in range(cases):
        values = random.integers(0, len(labels), (4, 4, 4)).astype(numpy.uint8)
        if number % 9 == 3:
            values[0, 0, 0] = 77
        image = numpy.zeros((4, 4, 4)) if number % 9 == 6 else random.normal(100, 10, (4, 4, 4 - (number % 9 == 0)))
        save(folder / "imagesTr" / f"patient_{number:04d}_0000.nii.gz", image.astype(numpy.float32))
        save(folder / "labelsTr" / f"patient_{number:04d}.nii.gz", values, spacing=20 if number % 10 == 9 else 2)
    text = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(text), encoding="utf-8")


def write_plans(folder: Path) -> None:
    """Two plans files of three configurations and a fingerprint, as nnU-Net writes them."""
    folder.mkdir(parents=True)
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "patch_size": [128, 160, 112],
        "batch_size": 2,
        "spacing": [2.5, 0.7421875, 0.7421875],
        "median_image_size_in_voxels": [102.0, 517.0, 517.5],
        "architecture": {"network_class_name": "a.b.ResidualEncoderUNet", "arch_kwargs": {"n_stages": 6}},
    }
    for name in ("nnUNetPlans", "nnUNetResEncUNetLPlans"):
        configurations = {"2d": configuration, "3d_lowres": {"inherits_from": "2d"}, "3d_fullres": configuration}
        (folder / f"{name}.json").write_text(
            json.dumps({"plans_name": name, "configurations": configurations}), encoding="utf-8"
        )
    statistics = {"mean": 102.123456, "std": 39.987654, "percentile_00_5": 0.0}
    fingerprint = {
        "spacings": [[2.5, 0.7, 0.7]] * 3,
        "shapes_after_crop": [[100, 512, 512]] * 3,
        "foreground_intensity_properties_per_channel": {"0": statistics},
    }
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")


def test_plans_and_fingerprint_are_told_as_nnunet_wrote_them(settings: Settings, raw: Path) -> None:
    write_plans(settings.folder("preprocessed") / raw.name)

    found = look(settings)

    assert found["fingerprint"] == {
        "cases": 3,
        "median_shape": [100, 512, 512],
        "median_spacing": [2.5, 0.7, 0.7],
        "foreground": ["102.12 ± 39.988"],
    }
    assert found["plans"]["nnUNetPlans 3d_lowres"] == {
        "patch_size": [128, 160, 112],
        "batch_size": 2,
        "spacing": [2.5, 0.74219, 0.74219],
        "median_shape": [102, 517, 517.5],
        "stages": 6,
        "network": "ResidualEncoderUNet",
        "preprocessed_cases": 0,
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of a process")
@pytest.mark.heavy
def test_a_large_volume_takes_little_memory(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset007_Large", cases=1)
    plane = numpy.random.default_rng(0).integers(-1000, 1000, (512, 512, 1)).astype(numpy.int16)
    save(folder / "imagesTr" / "case_000_0000.nii.gz", numpy.repeat(plane, 200, axis=2))
    save(folder / "labelsTr" / "case_000.nii.gz", (numpy.repeat(plane, 200, axis=2) > 900).astype(numpy.uint8))
    script = tmp_path / "measured_worker"
    lines = [
        f"#!{sys.executable}",
        "import sys",
        "del sys.argv[1:]",  # -P -m and the module that this stands for
        "from nnunet_mcp.ask import answer",
        "from nnunet_mcp.schemas.datasets import LookJob",
        "from nnunet_mcp.worker.asks.inspection.cases import look_at",
        "def measured(job, say):",
        "    lines = []",
        "    look_at(job, lines.append)",
        f"    open({str(tmp_path / 'peak')!r}, 'w').write(open('/proc/self/status').read())",
        "    for line in lines: say(line)",
        "answer(LookJob, measured)",
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    script.chmod(0o755)

    found = look(settings.model_copy(update={"worker_python": str(script)}))

    # Not getrusage: its maximum counts the test's own process, which the worker was forked from.
    status = (tmp_path / "peak").read_text(encoding="utf-8")
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    assert found["shapes"]["median"] == [200, 512, 512]
    with capsys.disabled():
        print(f" 512×512×200: peak {peak:.0f} MB ", end="")
    assert peak < PEAK_MB


def test_a_ct_on_another_scale_is_named_and_the_case_of_the_highest_value_is_told(settings: Settings) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset007_Scales", cases=4)
    text = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    (folder / "dataset.json").write_text(json.dumps({**text, "channel_names": {"0": "CT"}}), encoding="utf-8")
    random = numpy.random.default_rng(0)
    for number, scale in enumerate((1, 1, 1, 400)):
        path = folder / "imagesTr" / f"case_{number:03d}_0000.nii.gz"
        shape = nibabel.load(path).shape
        save(path, (scale * random.normal(100, 300, shape)).astype(numpy.float32))
        save(folder / "labelsTr" / f"case_{number:03d}.nii.gz", numpy.ones(shape, numpy.uint8))

    found = ask(settings, "nnunet_datasets", dataset_id=7)["datasets"][0]

    assert found["intensities"][0]["highest_in"] == "case_003"
    assert any("CT values on another scale: case_003" in said for said in [*found["problems"], *found["warnings"]])


def test_test_images_are_compared_whole_with_training_images_of_their_size(settings: Settings, raw: Path) -> None:
    trained, held_out = next((raw / "imagesTr").iterdir()), raw / "imagesTs"
    trained.write_bytes(bytes(1 << 21))
    held_out.mkdir()
    for name, last in (("alike", 0), ("other", 1)):
        (held_out / f"{name}_0000.nii.gz").write_bytes(bytes((1 << 21) - 1) + bytes([last]))

    for _ in range(2):
        told = [said for said in look(without_worker(settings))["warnings"] if "test images" in said]
        assert len(told) == 1 and f": alike_0000.nii.gz = {trained.name}. " in told[0]
