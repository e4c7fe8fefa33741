"""What would happen, said before it happens; nothing is started or changed."""

import json
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.liveness import host_name
from nnunet_mcp.locks import Lock
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.nnunet.splits import TrainedCases
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local.engine import LocalEngine
from nnunet_mcp.runs.local.places import find_places
from nnunet_mcp.runs.local.slots import slot_holder
from nnunet_mcp.runs.stage_process import Grant
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.preflight import Estimate, EstimateJob, NetworkCost, PreflightAnswer, PreflightRequest
from nnunet_mcp.schemas.records import Epoch, Progress, StageState
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.training import costs
from nnunet_mcp.tools.training.preflight import nnunet_preflight
from nnunet_mcp.tools.training.training import prepare_run
from tests.kit.gpus import GIB, Card, nvidia_smi_shows, python_with_cuda
from tests.kit.tiny import digest, make_dataset, record_of, stage

DATASET = "Dataset095_Ahead"
REQUEST: dict[str, Any] = {"dataset_id": 95, "configuration": "2d", "fold": "0", "device": "cpu"}


@pytest.fixture
def files(settings: Settings) -> DatasetFiles:
    settings.create_folders()
    make_dataset(settings.folder("raw"), DATASET)
    return DatasetFiles(settings.folders, DATASET)


def ahead(settings: Settings, **arguments: Any) -> PreflightAnswer:
    return nnunet_preflight(PreflightRequest.model_validate({**REQUEST, **arguments}), settings)


def trained(settings: Settings, seconds: list[float], **fields: Any) -> None:
    """An earlier run here: preprocessing of 60 s, and a training whose epochs took that long, 30 s around them."""
    stages = (stage("preprocess"), stage("train_fold_0", "preprocess"))
    own = {"dataset_name": DATASET, "host": host_name(), "request": REQUEST, "run_id": "d095-2d-f0-tttt", **fields}
    run, _ = record_run(StateDir(settings.state_dir), record_of(settings, *stages, **own), [], repeat_window_s=0)
    write_model(run.stage("preprocess").state_file, StageState(status="success", started_at=1000, ended_at=1060))
    training = run.stage("train_fold_0")
    done = StageState(status="success", started_at=2000, ended_at=2030 + sum(seconds))
    write_model(training.state_file, done)
    write_model(training.progress_file, Progress(phase="done", heartbeat=time.time(), epochs=1000))
    names = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice")
    for number, value in enumerate(seconds):
        line: dict[str, Any] = {"epoch": number, "seconds": value, **dict.fromkeys(names, 0.1)}
        append_line(training.epochs_file, Epoch.model_validate(line))


def test_a_good_request_is_possible_and_nothing_is_changed(settings: Settings, files: DatasetFiles) -> None:
    before = digest(settings.folder("raw").parent)

    answer = ahead(settings)

    assert answer.possible and not answer.problems
    assert not (settings.state_dir / "claims").exists()
    assert [(line.name, line.status) for line in answer.stages] == [
        ("preprocess", "queued"),
        ("train_fold_0", "queued"),
    ]
    assert {room.folder for room in answer.disk} == {
        str(settings.folder("results")),
        str(settings.folder("preprocessed")),
    }
    assert answer.hours is None and "not known" in " ".join(answer.notes)
    assert digest(settings.folder("raw").parent) == before


def test_every_problem_is_named_at_once(settings: Settings, files: DatasetFiles) -> None:
    files.preprocessed.mkdir(parents=True)
    files.splits_file.write_text(json.dumps([{"train": [], "val": []}] * 2), "utf-8")

    answer = ahead(settings, fold="4", device="cuda", num_gpus=2, pretrained_weights="/etc/passwd")

    assert not answer.possible and "Solve the problems" in answer.next_step
    said = " ".join(answer.problems)
    assert "there is no fold 4" in said and "NNUNET_MCP_GPUS is 0" in said and "outside the allowed folders" in said


@pytest.mark.parametrize(
    ("fold", "dice", "train", "said"),
    [
        ("0", (0.0, 0.0), (), "segments nothing. Dice in its own validation: left 0.000, right 0.000."),
        ("0", (0.9, 0.05), (), "segments too little. Dice in its own validation: right 0.050."),
        ("0", (0.9, 0.9), ("case_000", "case_001", "x"), r"named as 1 of the 1 validation cases \(case_00[01]\)"),
        ("all", (0.9, 0.9), ("case_000", "case_001", "x"), r"named as 2 of the 5 validation cases"),
        ("0", (0.9, 0.9), ("x",), None),
    ],
)
def test_before_a_transfer_it_is_said_what_speaks_against_its_weights(
    settings: Settings,
    files: DatasetFiles,
    fold: str,
    dice: tuple[float, ...],
    train: tuple[str, ...],
    said: str | None,
) -> None:
    split = [{"train": [f"case_{n:03d}" for n in range(5) if n != out], "val": [f"case_{out:03d}"]} for out in range(5)]
    files.preprocessed.mkdir(parents=True)
    files.splits_file.write_text(json.dumps(split), "utf-8")
    source = FoldFiles(settings.folder("results") / "Dataset094_Old" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_0")
    source.summary.parent.mkdir(parents=True)
    source.final.write_bytes(b"weights")
    means = {str(number + 1): {"Dice": value, "IoU": value} for number, value in enumerate(dice)}
    summary = {"foreground_mean": {"Dice": 0.5, "IoU": 0.5}, "mean": means, "metric_per_case": []}
    source.summary.write_text(json.dumps(summary), "utf-8")
    labels = {"background": 0, "left": 1, "right": 2}
    (source.path.parent / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    write_model(source.cases_file, TrainedCases(train=train, val=()))

    answer = ahead(settings, fold=fold, pretrained_weights=str(source.final))

    told = [note for note in answer.notes if note.startswith("Transfer: ")]
    assert answer.possible and [bool(re.search(said or "nothing", note)) for note in told] == [True] * (
        said is not None
    ), told


def test_a_network_that_cannot_be_is_a_problem_before_anything_is_preprocessed(
    settings: Settings, files: DatasetFiles
) -> None:
    """With plans of nnU-Net's own, of a patch that somebody has edited, and with weights of a 3D network in 2d."""
    plans = json.loads((Path(__file__).parents[2] / "plans" / "default_with_cascade.json").read_text("utf-8"))
    weights = settings.folder("results") / "Dataset094_Old" / "nnUNetTrainer__nnUNetPlans__3d_fullres" / "fold_0" / "a"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (weights.parent.parent / "plans.json").write_text(json.dumps(plans), "utf-8")
    files.preprocessed.mkdir(parents=True)
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), "utf-8")

    (misfit,) = ahead(settings, pretrained_weights=str(weights)).problems
    plans["configurations"]["2d"]["patch_size"] = [96, 33]
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), "utf-8")
    (odd,) = ahead(settings).problems

    assert "those of a 3D network (3d_fullres), and 2d is 2D, so no layer fits" in misfit
    assert "patch_size [96, 33] is no multiple of its strides [128, 128]; [128, 128] is" in odd


def test_a_dataset_that_does_not_exist_is_a_problem_not_an_error(settings: Settings, files: DatasetFiles) -> None:
    answer = ahead(settings, dataset_id=96)

    assert not answer.possible and "There is no dataset 096" in answer.problems[0] and answer.dataset_name is None


def test_an_older_style_is_read_without_leaving_anything_behind(settings: Settings) -> None:
    settings.create_folders()
    make_dataset(settings.folder("raw"), "Dataset095", style="documented")
    before = digest(settings.folder("raw").parent)

    answer = ahead(settings)

    assert answer.possible and "older style" in " ".join(answer.notes)
    assert digest(settings.folder("raw").parent) == before


def test_the_hours_are_those_of_an_earlier_run_here(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, [90.0, 35.0, 36.0, 36.0, 36.0, 38.0])  # the first one of a process compiles

    answer = ahead(settings)
    hours, all_folds = answer.hours, ahead(settings, fold="all").hours

    spends = r"Ask the person whether to spend about [\d.]+ h \([\d.]+ to [\d.]+\): nnunet_training\(dataset_id=95,"
    assert hours is not None and re.search(spends, for_agents(answer.next_step))
    assert f"{hours.expected:.2g}" == f"{hours.expected:g}", "two digits"
    assert hours.expected == pytest.approx((60 + 1000 * 36 + 30) / 3600, rel=0.05)
    assert hours.low <= hours.expected <= hours.high and "1000 epochs of 36.0 s as in d095-2d-f0-tttt" in hours.basis
    assert all_folds is not None and all_folds.expected == pytest.approx((60 + 5 * 36030) / 3600, rel=0.05)


def test_a_validation_takes_what_it_took_before(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, [36.0, 36.0, 36.0])
    fold = files.fold("nnUNetTrainer", "nnUNetPlans", "2d", "0")
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").touch()

    hours = ahead(settings, validation_only=True).hours

    assert hours is not None and hours.expected == pytest.approx(90 / 3600, rel=0.05)
    assert "validation as in d095-2d-f0-tttt" in hours.basis


def test_more_gpus_train_more_folds_at_once_but_preprocess_no_faster(settings: Settings, files: DatasetFiles) -> None:
    trained(settings, [36.0, 36.0, 36.0], device="cuda")
    two_gpus = settings.model_copy(update={"gpus": 2})

    hours = ahead(two_gpus, fold="all", device="cuda").hours

    assert hours is not None and hours.expected == pytest.approx((60 + 3 * 36030) / 3600, rel=0.05)


@pytest.mark.parametrize("other", [{"trainer": "OtherTrainer"}, {"device": "cuda"}, {"host": "elsewhere"}])
def test_a_run_that_was_different_says_nothing_about_the_hours(
    settings: Settings, files: DatasetFiles, other: dict[str, Any]
) -> None:
    trained(settings, [36.0, 36.0, 36.0], **other)

    assert ahead(settings).hours is None


def test_an_active_run_on_the_same_fold_and_those_that_wait_are_seen(settings: Settings, files: DatasetFiles) -> None:
    record = record_of(settings, stage("train_fold_0"), run_id="d095-2d-f0-qqqq", dataset_name=DATASET, request=REQUEST)
    active = record.model_copy(update={"created_at": time.time()})
    record_run(
        StateDir(settings.state_dir), active, [f"{DATASET}/nnUNetTrainer__nnUNetPlans__2d/fold_0"], repeat_window_s=0
    )

    answer = ahead(settings)

    assert not answer.possible and "d095-2d-f0-qqqq is already active" in answer.problems[0]
    assert "1 other runs are queued" in answer.queue


def test_flat_images_are_told_to_use_2d(settings: Settings, files: DatasetFiles) -> None:
    description = json.loads((files.raw / "dataset.json").read_text("utf-8"))
    (files.raw / "dataset.json").write_text(json.dumps({**description, "file_ending": ".png"}), "utf-8")
    for path in [*files.raw.glob("*/*.nii.gz")]:
        path.rename(path.with_name(path.name.replace(".nii.gz", ".png")))

    answer = ahead(settings, configuration="3d_fullres")

    assert answer.recommended is not None and answer.recommended.configuration == "2d"
    assert any("2D images" in problem for problem in answer.problems)


@pytest.mark.parametrize(("shape", "wanted"), [([1, 256, 256], "2d"), ([30, 256, 256], "3d_fullres")])
def test_images_of_a_single_slice_are_recommended_2d(
    settings: Settings, files: DatasetFiles, shape: list[int], wanted: str
) -> None:
    files.preprocessed.mkdir()
    measured = {"spacings": [[999, 1, 1]] * 3, "shapes_after_crop": [shape] * 3}
    files.fingerprint_file.write_text(json.dumps(measured), encoding="utf-8")

    answer = ahead(settings)

    assert answer.recommended is not None and answer.recommended.configuration == wanted


def test_a_large_preset_on_few_cases_is_told_what_it_costs(settings: Settings, files: DatasetFiles) -> None:
    assert any("4 times the hours" in note for note in ahead(settings, plans_identifier="nnUNetResEncUNetLPlans").notes)
    assert not any("times the hours" in note for note in ahead(settings).notes)


def plan_and_answer(
    files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, **fields: Any
) -> Path:
    """Plans, and in place of nnU-Net's Python a program that runs `before`, then answers; the program."""
    if not files.preprocessed.is_dir():  # other plans would be another question
        files.preprocessed.mkdir(parents=True)
        plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
        files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    numbers = {"parameters": 1, "gpu_memory_gb": 8.0, "epochs": 100, "iterations": 250, "validation_iterations": 50}
    found = Estimate.model_validate({"patch_size": (9, 9), "batch_size": 2, **numbers, **fields})
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{before}\ncat <<'E'\n{found.model_dump_json()}\nE\n", encoding="utf-8")
    python.chmod(0o755)
    ask = costs._ask
    monkeypatch.setattr(costs, "_ask", lambda job, _, *rest: ask(job, str(python), *rest))
    return python


@pytest.mark.parametrize(
    ("program", "note"), [("#!/bin/sh\necho no network >&2\nexit 1\n", "no network"), ("no program", "started")]
)
def test_a_network_that_cannot_be_built_is_a_note_and_the_rest_is_answered(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, note: str
) -> None:
    files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(program, encoding="utf-8")
    python.chmod(0o755)
    ask = costs._ask
    monkeypatch.setattr(costs, "_ask", lambda job, _, *rest: ask(job, str(python), *rest))

    answer = ahead(settings, measure=True)

    assert answer.network is None and answer.stages and answer.possible
    assert any(text.startswith("Nothing was measured. ") and note in text for text in answer.notes)
    assert "goes on" not in answer.next_step


def test_a_network_that_the_gpu_has_no_room_for_is_a_problem(
    settings: Settings, files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    numbers = {"parameters": 1, "gpu_memory_gb": 8.0, "epochs": 1, "iterations": 1, "validation_iterations": 1}
    said = {"out_of_memory": "Tried to allocate 2.00 GiB.", "note": "It runs without torch.compile."}
    network = {"patch_size": (9,), "batch_size": 2, **said, **numbers}
    found = Estimate.model_validate(network)
    monkeypatch.setattr(costs, "_ask", lambda *_: found)

    answer = ahead(settings, measure=True)

    assert not answer.possible
    assert any("too little free memory" in problem and "2.00 GiB" in problem for problem in answer.problems)
    assert said["note"] in answer.notes


def test_what_takes_too_long_goes_on_and_the_next_call_has_it(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process waits for a file, whatever becomes of the server that started it."""
    files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    numbers = {"parameters": 1, "gpu_memory_gb": 8.0, "epochs": 100, "iterations": 250, "validation_iterations": 50}
    times = {"train_s": (0.1,) * 3, "validation_s": (0.1,) * 3, "load": 9.0}
    found = Estimate.model_validate({"patch_size": (9, 9), "batch_size": 2, **numbers, **times})
    go, python = tmp_path / "go", tmp_path / "python"
    python.write_text(f"#!/bin/sh\nuntil [ -e {go} ]; do sleep 0.05; done\ncat <<'E'\n{found.model_dump_json()}\nE\n")
    python.chmod(0o755)
    ask = costs._ask
    monkeypatch.setattr(costs, "_ask", lambda job, _, *rest: ask(job, str(python), *rest))
    monkeypatch.setattr(costs, "WAIT_S", 0.2)

    first = ahead(settings, measure=True)
    assert first.network is None and "goes on; the same call has the answer" in " ".join(first.notes)
    assert "The measuring goes on" in first.next_step
    assert first.possible and first.stages
    go.touch()
    monkeypatch.setattr(costs, "WAIT_S", 20.0)
    second = ahead(settings, measure=True)
    python.unlink()
    third = ahead(settings, measure=True)

    assert second.hours is not None and second.hours.expected == pytest.approx(100 * 300 * 0.1 / 3600, rel=0.05)
    assert "busy (load 9)" in second.hours.basis and third.hours == second.hours
    assert second.hours.low < second.hours.expected, "an idle machine is faster"


def test_a_gpu_without_memory_is_measured_again(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_and_answer(files, tmp_path, monkeypatch, "", out_of_memory="Tried to allocate 2.00 GiB.")
    full = ahead(settings, measure=True)
    plan_and_answer(files, tmp_path, monkeypatch, "", train_s=(0.1,) * 3, validation_s=(0.1,) * 3)

    freed = ahead(settings, measure=True)

    assert not full.possible and freed.possible and freed.hours is not None


@pytest.mark.parametrize("where", ["here", "another host", "Slurm"])
def test_what_was_measured_counts_on_this_machine_only(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(LocalEngine, "cpu_has_bf16", lambda _: False)  # as if of Slurm's: the same question
    plan_and_answer(files, tmp_path, monkeypatch, "", train_s=(0.1,) * 3, validation_s=(0.1,) * 3)
    assert ahead(settings, measure=True).hours is not None
    plan_and_answer(files, tmp_path, monkeypatch, "")
    monkeypatch.setattr(costs, "host_name", lambda: "elsewhere" if where == "another host" else host_name())

    answer = ahead(settings, **{"engine": "slurm"} if where == "Slurm" else {})

    assert answer.network is not None and (answer.hours is not None) == (where == "here")


def test_a_call_waits_for_its_own_measuring_and_needs_no_gpu_for_what_it_knows(
    settings: Settings, files: DatasetFiles, no_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11"))
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", python_with_cuda(tmp_path))
    go, times = tmp_path / "go", (0.1,) * 3
    wait = f"until [ -e {go} ]; do sleep 0.05; done"
    plan_and_answer(files, tmp_path, monkeypatch, wait, train_s=times, validation_s=times)
    monkeypatch.setattr(costs, "WAIT_S", 0.2)
    settings = Settings()
    [[place, *_], *_] = find_places("gpu", StateDir(settings.state_dir), settings)

    begun, held = ahead(settings, device="cuda", measure=True), slot_holder(place)
    waiting = ahead(settings, device="cuda", measure=True)
    go.touch()
    monkeypatch.setattr(costs, "WAIT_S", 20.0)
    measured = ahead(settings, device="cuda", measure=True)
    lock = Lock(place.lock)
    assert lock.try_acquire({"run_id": "d007", "stage": "train_fold_0"})
    taken = ahead(settings, device="cuda", measure=True)
    go.unlink()
    monkeypatch.setattr(costs, "WAIT_S", 0.2)
    built = ahead(settings, device="cuda", trainer="nnUNetTrainer_5epochs", measure=True)  # was never asked for
    go.touch()
    lock.release()

    assert "held by run d007" in " ".join(built.notes) and "measuring goes on" not in built.next_step
    assert held == "run preflight (measure)" and begun.next_step == waiting.next_step
    assert "The measuring goes on" in waiting.next_step
    assert measured.hours is not None and taken.hours == measured.hours
    for answer in (waiting, measured, taken):
        assert not any("Nothing was measured: " in note for note in answer.notes)


def test_somebody_who_looks_at_the_lock_for_a_moment_does_not_end_the_call(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_and_answer(files, tmp_path, monkeypatch, "")
    take, looks = Lock.try_acquire, ["one look"]
    busy = lambda lock, *given, **more: not looks.pop() if looks else take(lock, *given, **more)  # noqa: E731
    monkeypatch.setattr(Lock, "try_acquire", busy)

    answer = ahead(settings)

    assert answer.network is not None and not looks


@pytest.mark.parametrize("folder", ["estimates", "locks"])
def test_a_state_folder_that_cannot_be_written_is_a_note(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    plan_and_answer(files, tmp_path, monkeypatch, "")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(settings.state_dir / folder, ignore_errors=True)
    (settings.state_dir / folder).touch()  # also root cannot write below it

    answer = ahead(settings)

    assert answer.possible and any(f"{settings.state_dir} needs free space" in note for note in answer.notes)


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ("class Own(nnUNetTrainer:", r"SyntaxError: .*own_trainers/own\.py.*, line 1"),
        ("import mamba_ssm\nclass Own: ...", r"No module named 'mamba_ssm' \| File .*own\.py\", line 1"),
    ],
)
def test_a_trainer_that_cannot_be_built_is_a_problem_with_its_file_and_line(
    settings: Settings,
    files: DatasetFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trainer: str,
    said: str,
    planned: bool,
) -> None:
    files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    if planned:
        files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    own = tmp_path / "own_trainers"
    own.mkdir()
    (own / "own.py").write_text(trainer, encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(own))
    python = tmp_path / "python"  # loads what nnU-Net would load, without nnU-Net
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {own}/own.py\n", encoding="utf-8")
    python.chmod(0o755)
    ask = costs._ask
    monkeypatch.setattr(costs, "_ask", lambda job, _, *rest: ask(job, str(python), *rest))

    answer = ahead(settings, trainer="Own")

    assert not answer.possible
    assert re.search(f"The trainer Own cannot be built. .*{said}", " ".join(answer.problems)), answer.problems


@pytest.mark.parametrize(
    ("own", "error"),
    [(True, "MemoryError"), (True, "RuntimeError: CUDA error: all devices are busy"), (False, "ValueError: 5")],
)
def test_what_fails_for_another_reason_than_the_persons_code_is_a_note(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, error: str
) -> None:
    fails = f"echo 'Traceback (most recent call last):' >&2; echo '{error}' >&2; exit 1"
    plan_and_answer(files, tmp_path, monkeypatch, fails)
    (tmp_path / "own_trainers").mkdir()
    (tmp_path / "own_trainers" / "own.py").write_text("class Own: ..." if own else "", encoding="utf-8")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "own_trainers"))

    answer = ahead(settings, trainer="Own" if own else "nnUNetTrainer")

    assert answer.possible and any(error in note for note in answer.notes)


def test_hours_are_scaled_from_a_short_run_by_iterations_and_patch_volume(
    settings: Settings, files: DatasetFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six epochs of 4 iterations say what 1000 of 250 cost with a patch of twice the size."""
    trained(settings, [4.0, 4.0, 4.0], trainer="nnUNetTrainerQuick", run_id="d095-2d-f0-quck")
    plan = {"data_identifier": "nnUNetPlans_2d", "patch_size": [10, 10], "batch_size": 4}
    files.preprocessed.mkdir(parents=True)
    files.plans_file("nnUNetPlans").write_text(json.dumps({"configurations": {"2d": plan}}), encoding="utf-8")
    fold = files.fold("nnUNetTrainerQuick", "nnUNetPlans", "2d", "0")
    fold.mkdir(parents=True)
    counts = {"num_epochs": "6", "num_iterations_per_epoch": "4", "num_val_iterations_per_epoch": "3"}
    (fold / "debug.json").write_text(json.dumps(counts), encoding="utf-8")
    numbers = {"parameters": 1, "gpu_memory_gb": 8.0, "epochs": 1000, "iterations": 250, "validation_iterations": 150}
    found = Estimate.model_validate({"patch_size": (10, 20), "batch_size": 4, **numbers})
    monkeypatch.setattr(costs, "_ask", lambda *_: found)

    hours = ahead(settings).hours

    epoch_s = 4.0 * 2 * (250 + 50) / (4 + 1)
    assert hours is not None and hours.expected == pytest.approx(1000 * epoch_s / 3600, rel=0.05)
    assert hours.low < hours.expected < hours.high and "scaled from d095-2d-f0-quck" in hours.basis
    assert len(str(hours.expected).replace("0", "").replace(".", "")) <= 2, "two digits"


@pytest.fixture
def network_of(
    settings: Settings, files: DatasetFiles, no_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], NetworkCost]:
    """What preflight says of a network for which nnU-Net plans so many GB."""

    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", python_with_cuda(tmp_path))

    def look(planned: float) -> NetworkCost:
        files.preprocessed.mkdir(parents=True, exist_ok=True)
        plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
        files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
        found = Estimate(
            patch_size=(1,), batch_size=2, parameters=1, gpu_memory_gb=planned, epochs=1, iterations=1,
            validation_iterations=1,
        )  # fmt: skip
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\ncat <<'E'\n{found.model_dump_json()}\nE\n", encoding="utf-8")
        python.chmod(0o755)
        ask = costs._ask
        monkeypatch.setattr(costs, "_ask", lambda job, _, *rest: ask(job, str(python), *rest))
        network = ahead(Settings(), device="cuda").network
        monkeypatch.setattr(costs, "_ask", ask)
        assert network is not None
        return network

    return look


def test_it_measures_on_the_gpu_that_the_run_would_get_and_on_none_that_is_taken(
    settings: Settings, files: DatasetFiles, no_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.preprocessed.mkdir(parents=True)
    plans = {"configurations": {"2d": {"data_identifier": "nnUNetPlans_2d"}}}
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), encoding="utf-8")
    numbers = {"parameters": 1, "gpu_memory_gb": 8.0, "epochs": 1, "iterations": 1, "validation_iterations": 1}
    found = Estimate.model_validate({"patch_size": (9,), "batch_size": 2, **numbers})
    nvidia_smi_shows(tmp_path, Card("GPU-full", used=20 * GIB), Card("GPU-rest"))
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", python_with_cuda(tmp_path))
    settings, state = Settings(), StateDir(settings.state_dir)
    [rest, _] = find_places("gpu", state, settings)[0]
    asked: list[tuple[str, str, str | None]] = []

    def ask(job: EstimateJob, _: str, digest: str, held: Grant, state: StateDir, wait_s: float) -> Estimate:
        asked.append((job.device, held.variables().get("CUDA_VISIBLE_DEVICES", ""), slot_holder(rest)))
        return found

    monkeypatch.setattr(costs, "_ask", ask)

    free = ahead(settings, device="cuda", measure=True)
    lock = Lock(rest.lock)
    assert lock.try_acquire({"run_id": "d007", "stage": "train_fold_0"})
    taken = ahead(settings, device="cuda", measure=True)
    lock.release()

    assert asked[0] == ("cuda", "GPU-rest", "run preflight (measure)") and slot_holder(rest) is None
    assert not any("Nothing was measured" in note for note in free.notes)
    assert [device for device, *_ in asked[1:]] == ["cpu"] and taken.network is not None
    assert any(note.startswith("Nothing was measured: ") and "held by run d007" in note for note in taken.notes)


@pytest.mark.parametrize(
    ("used", "planned", "free", "fit"),
    [
        (400, 6.0, 8.2, "fits"),
        (1200, 6.0, 7.3, "tight"),  # a desktop on an 8 GiB card
        (400, 8.0, 8.2, "tight"),
        (400, 9.0, 8.2, "no"),
    ],
)
def test_whether_it_fits_is_judged_by_what_is_free_and_what_cuda_takes_besides(
    used: int, planned: float, free: float, fit: str, network_of: Callable[[float], NetworkCost], tmp_path: Path
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=8 * GIB, used=used))

    network = network_of(planned)

    assert (network.device_memory_gb, network.fit, network.fits) == (free, fit, fit == "fits")


def test_the_card_that_it_would_get_decides_whether_it_fits(
    network_of: Callable[[float], NetworkCost], tmp_path: Path
) -> None:
    cards = (Card("GPU-display", total=2 * GIB), Card("GPU-desk", used=20 * GIB), Card("GPU-rest", used=0))
    nvidia_smi_shows(tmp_path, *cards, apps="GPU-desk, 4242, python3, 20000")
    assert network_of(8.0).device_memory_gb == 25.8

    nvidia_smi_shows(tmp_path, *cards[:2], apps="GPU-desk, 4242, python3, 20000")
    assert network_of(8.0).device_memory_gb == 25.8, "all of the one that it will have to wait for"


def test_of_an_instance_of_unknown_memory_it_is_not_said_whether_it_fits(
    network_of: Callable[[float], NetworkCost], tmp_path: Path
) -> None:
    listing = "GPU 0: H100 (UUID: GPU-aa11)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)"
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=80 * GIB, mig="Enabled"), listing=listing)

    network = network_of(8.0)

    assert (network.device_memory_gb, network.fit, network.fits) == (None, None, None)


def test_too_little_shared_memory_is_a_problem_of_a_training_on_a_gpu(
    settings: Settings, files: DatasetFiles, no_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-aa11"))
    monkeypatch.setattr("nnunet_mcp.runs.local.device.SMALL_SHM_GB", 1e9)

    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", python_with_cuda(tmp_path))
    assert any("--shm-size" in problem for problem in ahead(Settings(), device="cuda").problems)
    assert ahead(Settings()).possible
    request = TrainingRequest.model_validate({**REQUEST, "device": "cuda"})
    assert any("--shm-size" in note for note in prepare_run(request, Settings())[1].notes)


@pytest.mark.heavy
def test_what_a_trainer_of_ones_own_does_is_told_and_a_rate_with_which_it_diverges(
    settings: Settings, files: DatasetFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "hot.py").write_text(
        "import torch\nfrom nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n\n\n"
        "class Hot(nnUNetTrainer):\n"
        "    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device('cuda')):\n"
        "        super().__init__(plans, configuration, fold, dataset_json, device)\n"
        "        self.num_epochs, self.num_iterations_per_epoch, self.initial_lr = 40, 4, 1e6\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(own))

    notes = " ".join(ahead(settings, trainer="Hot").notes)

    assert "Hot: 40 epochs of 4 iterations, learning rate 1e+06; nnU-Net's is 0.01, so it will diverge." in notes
