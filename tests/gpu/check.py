"""What only a GPU shows: python3 check.py OUT [ONLY...], with nothing of the repository but the installed package.

Each check writes one JSON line to OUT/checks.jsonl: what was found, and which of its expectations failed. Whatever the
deadline does not allow (GPU_CHECK_S) is said to be skipped. A training comes first; where ONLY names nothing that needs
the whole of it, it is cut short. GPU_CHECK_CPU=1 rehearses everything without a GPU, on tiny images.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy
import psutil

from nnunet_mcp.runs.failures.diagnosis import diagnose
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.pace import warm
from nnunet_mcp.runs.processes import LANES_VARIABLE, processes_of
from nnunet_mcp.schemas.datasets import PrepareRequest
from nnunet_mcp.schemas.models import PredictRequest
from nnunet_mcp.schemas.preflight import PreflightRequest
from nnunet_mcp.schemas.progress import ProgressAnswer
from nnunet_mcp.schemas.records import RunRecord
from nnunet_mcp.schemas.results import ResultsRequest
from nnunet_mcp.schemas.run_list import CancelRequest
from nnunet_mcp.schemas.system import SystemRequest
from nnunet_mcp.schemas.training import TrainingRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools import BY_NAME
from nnunet_mcp.tools.data.importing import nnunet_prepare_dataset
from nnunet_mcp.tools.training.training import prepare_run
from nnunet_mcp.tools.watching.health import wait_share
from nnunet_mcp.tools.watching.progress import answer
from nnunet_mcp.tools.watching.snapshot import snapshot
from nnunet_mcp.worker.resources import fit_to_machine

BEGUN = time.monotonic()
DEADLINE_S = float(os.environ.get("GPU_CHECK_S", "470"))
CPU = os.environ.get("GPU_CHECK_CPU") == "1"
OUT = Path(sys.argv[1] if sys.argv[1:] else "gpu_check")
WORK = Path(os.environ.get("GPU_CHECK_WORK", "/tmp/gpu_check"))
SIDE, CASES, EPOCHS = (40 if CPU else 160), 6, 6
DEVICE = {"device": "cpu"} if CPU else {}
DATASET = "Dataset001_Phantom"
TRAINER = """
import os, torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
class GpuCheck(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = int(os.environ["GPU_CHECK_EPOCHS"])
        self.num_iterations_per_epoch = int(os.environ["GPU_CHECK_ITERATIONS"])
        self.num_val_iterations_per_epoch = 5
        if fraction := os.environ.get("GPU_CHECK_FRACTION"):
            torch.cuda.set_per_process_memory_fraction(float(fraction))
"""
os.environ.update({f"nnUNet_{name}": str(WORK / name) for name in ("raw", "preprocessed", "results")})
os.environ.update(
    nnUNet_extTrainer=str(WORK / "trainers"),
    GPU_CHECK_EPOCHS=str(EPOCHS),
    GPU_CHECK_ITERATIONS="3" if CPU else "60",
    NNUNET_MCP_CHECKPOINT_EVERY_S="10",
    NNUNET_MCP_REPEAT_WINDOW_S="0",
    NNUNET_MCP_ALLOWED_DIRS=str(WORK.parent),
)

Found = dict[str, Any]
Row = dict[str, Any]
SETTINGS = Settings()
# What later checks take from the training.
KEPT: Found = {}
# What needs a training that came to its end.
OF_A_WHOLE_TRAINING = {"training", "prediction", "measured"}


class Check(NamedTuple):
    """What to do, how long that may take, and whether what was found is as it should be."""

    name: str
    budget_s: int
    act: Callable[[], Found]
    expect: Callable[[Found], dict[str, bool]]


CHECKS: list[Check] = []


def check(budget_s: int, expect: Callable[[Found], dict[str, bool]]) -> Callable[[Callable[[], Found]], None]:
    return lambda act: CHECKS.append(Check(act.__name__, budget_s, act, expect))


def short() -> bool:
    """Whether the training is there for the other checks only."""
    return bool(sys.argv[2:]) and OF_A_WHOLE_TRAINING.isdisjoint(sys.argv[2:])


def smi(*query: str) -> str:
    command = ["nvidia-smi", *query, "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
    except OSError as error:
        return repr(error)


def python(code: str, **env: str) -> tuple["subprocess.CompletedProcess[str]", float]:
    begun = time.monotonic()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, env={**os.environ, **env})
    return done, round(time.monotonic() - begun, 1)


def request(fold: str, **more: Any) -> TrainingRequest:
    asked = {"dataset_id": 1, "configuration": "3d_fullres", "fold": fold, "trainer": "GpuCheck", **DEVICE, **more}
    return TrainingRequest.model_validate(asked)


def train(fold: str, **more: Any) -> str:
    return str(BY_NAME["nnunet_training"](request(fold, **more), SETTINGS).run_id)


def folder(run_id: str) -> RunDir:
    return StateDir(SETTINGS.state_dir).run(run_id)


def record(run_id: str) -> RunRecord:
    found = folder(run_id).record()
    assert found is not None
    return found


def follow(
    run_id: str, stop: Callable[[ProgressAnswer], bool] = lambda now: False, limit_s: float = 200
) -> tuple[ProgressAnswer, list[Row]]:
    """Sampled until it ends or `stop`: what a person who asks would be told, and what the machine shows."""
    rows: list[Row] = []
    begun = time.monotonic()
    while time.monotonic() - begun < limit_s:
        now = answer(snapshot(SETTINGS, run_id))
        told = now.model_dump(mode="json", include={"status", "stage", "phase", "epoch", "epoch_s", "eta_s", "wait"})
        gpu = smi("--query-compute-apps=pid,used_memory").replace("\n", "; ")
        health = {"health": now.health.verdict, "detail": now.health.detail[:90]}
        rows.append({"t": round(time.monotonic() - begun, 1), **told, **health, "gpu": gpu})
        if now.status not in ("queued", "running") or stop(now):
            return now, rows
        time.sleep(0.7)
    raise TimeoutError(f"{run_id} after {limit_s} s: {rows[-1]}")


def cancel(run_id: str, *, force: bool = False) -> str:
    return str(BY_NAME["nnunet_cancel"](CancelRequest(run_id=run_id, force=force), SETTINGS).detail)


def ended(run_id: str, now: ProgressAnswer) -> Found:
    log = folder(run_id).stage(now.stage).log_file if now.stage else None
    failure = now.failure.model_dump() if now.failure else None
    lines = log.read_text().splitlines()[-25:] if log and now.status != "success" else []
    return {"status": now.status, "failure": failure, "health": now.health.detail, "log": "\n".join(lines)}


def free_after(seconds: float = 15) -> Found:
    begun = time.monotonic()
    while (left := smi("--query-compute-apps=pid"))[:1].isdigit() and time.monotonic() - begun < seconds:
        time.sleep(0.5)
    return {"gpu_processes_left": "" if CPU else left, "free_after_s": round(time.monotonic() - begun, 1)}


def is_free(found: Found) -> dict[str, bool]:
    return {"no process is left on the GPU": not found["gpu_processes_left"]}


@check(20, lambda found: {"nvidia-smi answers in 1 s": max(found["smi_s"]) < 1})
def environment() -> Found:
    code = (
        "import torch; print(torch.__version__, torch.version.cuda, torch.backends.cudnn.version(), "
        "torch.cuda.get_arch_list(), torch.cuda.device_count())"
    )
    fields = "index,uuid,name,memory.total,memory.used,compute_cap,driver_version,compute_mode,mig.mode.current"
    times = []
    for _ in range(3):
        begun = time.monotonic()
        smi("--query-gpu=index,uuid")
        times.append(round(time.monotonic() - begun, 2))
    return {
        "torch": python(code)[0].stdout.strip(),
        "python": sys.version.split()[0],
        "smi": smi(f"--query-gpu={fields}"),
        "smi_s": times,
        "apps": smi("--query-compute-apps=pid,name,used_memory"),
        "gcc": shutil.which("gcc") or shutil.which("cc"),
        "Python.h": Path(sysconfig.get_paths()["include"], "Python.h").exists(),
        "cores": len(os.sched_getaffinity(0)),
        "shm_gb": round(shutil.disk_usage("/dev/shm").total / 1e9, 1),
        "fd_limit": resource.getrlimit(resource.RLIMIT_NOFILE),
    }


SLOTS = """
from nnunet_mcp.settings import Settings
from nnunet_mcp.schemas.system import SystemRequest
from nnunet_mcp.tools import BY_NAME
print([slot.name for slot in BY_NAME["nnunet_system"](SystemRequest(), Settings()).slots if slot.kind == "gpu"])
"""


@check(
    25,
    lambda found: {
        "one GPU by index and by UUID": all(
            re.fullmatch(r"\['[^']+'\]", slots) for name, slots in found["slots"].items() if name not in ("", "-1")
        ),
        "none with '' and -1": found["slots"][""] == found["slots"]["-1"] == "[]",
        "the tool answers in 2 s": found["system_s"] < 2,
        **is_free(found),
    },
)
def discovery() -> Found:
    uuid = (smi("--query-gpu=uuid").splitlines() or [""])[0]
    slots = {}
    for value in ("0", uuid, uuid[:12], "", "-1"):
        slots[value] = python(SLOTS, CUDA_VISIBLE_DEVICES=value)[0].stdout.strip()
    begun = time.monotonic()
    system = BY_NAME["nnunet_system"](SystemRequest(), SETTINGS)
    took = round(time.monotonic() - begun, 2)
    command = [sys.executable, "-m", "nnunet_mcp", "doctor", "--json"]
    doctor = subprocess.run(command, capture_output=True, text=True, timeout=100).stdout
    device = [found for found in json.loads(doctor)["checks"] if found["name"] == "device"]
    return {
        "slots": slots,
        "system_s": took,
        "system": system.model_dump(mode="json"),
        "device": device,
        **free_after(5),
    }


def make_dataset() -> None:
    """Two balls in each image, in the layout of the Medical Segmentation Decathlon."""
    random, source = numpy.random.default_rng(1), WORK / "Task01_Phantom"
    for name in ("imagesTr", "labelsTr"):
        (source / name).mkdir(parents=True)
    grid = numpy.stack(numpy.meshgrid(*[numpy.arange(SIDE)] * 3, indexing="ij"), -1)
    for number in range(CASES):
        label = numpy.zeros([SIDE] * 3, numpy.uint8)
        for centre, radius in ((0.4, 0.24), (0.7, 0.15)):
            away = (grid - SIDE * centre - random.uniform(-3, 3, 3)) / (SIDE * radius)
            label[(away**2).sum(-1) <= 1] = 1
        image = (random.normal(100, 15, label.shape) + 60 * label).astype(numpy.float32)
        for name, array in (("imagesTr", image), ("labelsTr", label)):
            nibabel.save(nibabel.Nifti1Image(array, numpy.eye(4)), source / name / f"p_{number:02d}.nii.gz")
    names = [f"p_{number:02d}.nii.gz" for number in range(CASES)]
    training = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    labels = {"0": "background", "1": "ball"}
    described = {"name": "P", "modality": {"0": "MRI"}, "labels": labels, "numTraining": CASES, "numTest": 0}
    (source / "dataset.json").write_text(json.dumps({**described, "training": training, "test": []}))
    asked = PrepareRequest(source=str(source), dataset_id=1, name=DATASET.split("_")[1])
    nnunet_prepare_dataset(asked, SETTINGS)


def etas(rows: list[Row]) -> list[tuple[int, int, float]]:
    """After each epoch: its number, what was told first, and how long it then really took to the last epoch."""
    done = next((row["t"] for row in rows if row["epoch"] == EPOCHS), None)
    firsts = {row["epoch"]: row for row in reversed(rows) if row["eta_s"] is not None and row["epoch"] < EPOCHS}
    return [(n, firsts[n]["eta_s"], round(done - firsts[n]["t"], 1)) for n in sorted(firsts)] if done else []


def silence(rows: list[Row]) -> dict[str, float]:
    """The longest time in which nothing changed, in each phase."""
    longest: dict[str, float] = {}
    since, last = 0.0, None
    for row in rows:
        if (key := (row["phase"], row["epoch"])) != last:
            last, since = key, row["t"]
        name = str(row["phase"]).split(" ")[0]
        longest[name] = max(longest.get(name, 0.0), round(row["t"] - since, 1))
    return longest


def of_a_training(found: Found) -> dict[str, bool]:
    if short():
        return {"all epochs": len(found["epochs"]) == EPOCHS}
    return {
        "success": found["status"] == "success",
        "on the GPU": found["device"] == "cuda",
        "Dice > 0.8": (found["metrics"] or {}).get("dice", 0) > 0.8,
        "never stalled": "stalled" not in found["health_seen"],
        "the compilation is told": "compiling" in found["longest_silence_s"],
        "silent for 15 s in no other phase": all(
            s <= 15 for p, s in found["longest_silence_s"].items() if p != "compiling"
        ),
        "ETA within 2x from the first epoch on": all(told <= 2 * true + 5 for _, told, true in found["eta"]),
        # The median: the other users of a shared machine hold up single epochs.
        "waits for data < 5 % in the median epoch": bool(found["wait"]) and median(found["wait"]) < 0.05,
        "one process on the GPU": found["pids_at_once"] == 1,
        **is_free(found),
    }


@check(175, of_a_training)
def training() -> Found:
    make_dataset()
    run = KEPT["run"] = train("0")
    stage = folder(run).stage("train_fold_0")
    now, rows = follow(run, (lambda now: len(stage.epochs()) >= EPOCHS) if short() else lambda now: False)
    if short():
        cancel(run, force=True)
        now, _ = follow(run, limit_s=30)
    (OUT / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    epochs = stage.epochs()
    KEPT["epochs"] = [epoch.seconds or 0.0 for epoch in warm(epochs)]
    KEPT["periods"] = periods(stage.log_file.read_text())
    results = BY_NAME["nnunet_results"](ResultsRequest(run_id=run), SETTINGS).model_dump(mode="json")
    plans = json.loads((WORK / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())["configurations"][
        "3d_fullres"
    ]
    states = {spec.name: folder(run).stage(spec.name).state() for spec in record(run).stages}
    return {
        **ended(run, now),
        "device": record(run).device,
        "plan": {name: plans[name] for name in ("patch_size", "batch_size")},
        "seconds": {name: round(state.seconds, 1) for name, state in states.items() if state and state.seconds},
        "epochs": [(epoch.seconds, epoch.wait_s, epoch.compile_s) for epoch in epochs],
        "wait": [round(wait_share(epoch) or 0.0, 3) for epoch in warm(epochs)],
        "health_seen": sorted({row["health"] for row in rows}),
        "longest_silence_s": silence(rows),
        "eta": etas(rows),
        "gpu_mb": max((int(mb) for row in rows for mb in re.findall(r", (\d+)", row["gpu"])), default=None),
        "pids_at_once": max(row["gpu"].count(",") for row in rows),
        "metrics": results["metrics"],
        "notes": results["notes"],
        **free_after(),
    }


@check(
    110,
    lambda found: {
        "saved and ended in an epoch + 10 s": found["cancelled"] == "cancelled" and found["cancel_s"] < 20,
        "a full GPU is told, and nobody is told to overwrite": CPU
        or ("memory" in found["full_gpu"]["cause"] and "overwrite" not in found["full_gpu"]["remedy"]),
        "resumed at the next epoch": found["history"] == list(range(found["epochs"] + 1)),
        **is_free(found),
    },
)
def cancel_and_resume() -> Found:
    os.environ["GPU_CHECK_EPOCHS"] = "40"
    run = train("1")
    stage = folder(run).stage("train_fold_1")
    follow(run, lambda now: bool(stage.epochs()), 120)
    begun = time.monotonic()
    said = cancel(run)
    now, _ = follow(run, limit_s=90)
    took, done, gone = round(time.monotonic() - begun, 1), len(stage.epochs()), free_after()
    os.environ["GPU_CHECK_EPOCHS"] = str(done + 1)
    full = {"cause": "not tried", "remedy": ""}
    if not CPU:
        os.environ["GPU_CHECK_FRACTION"] = "0.0001"
        refused, _ = follow(train("1", continue_training=True), limit_s=60)
        del os.environ["GPU_CHECK_FRACTION"]
        full = refused.failure.model_dump() if refused.failure else full
    again = train("1", continue_training=True)
    then, _ = follow(again, limit_s=120)
    history = folder(again).stage("train_fold_1").epochs()
    os.environ["GPU_CHECK_EPOCHS"] = str(EPOCHS)
    return {
        "cancel_s": took,
        "said": said,
        "cancelled": now.status,
        "epochs": done,
        **gone,
        "full_gpu": full,
        "resumed": ended(again, then),
        "history": [epoch.epoch for epoch in history],
        "losses": [epoch.train_loss for epoch in history],
        "first_epoch_again": history[-1].model_dump(include={"seconds", "compile_s"}) if history else None,
    }


@check(
    55,
    lambda found: {
        "interrupted in 10 s": found["status"] == "interrupted" and found["after_s"] < 10,
        "no process is left": found["left"] == 0,
        "the slot is free": not any(found["slots"]),
        **is_free(found),
    },
)
def killed() -> Found:
    run = train("2")
    stage = folder(run).stage("train_fold_2")
    follow(run, lambda now: bool(stage.epochs()), 120)
    state = stage.state()
    assert state is not None and state.process is not None
    os.kill(state.process.pid, 9)
    begun = time.monotonic()
    now, _ = follow(run, limit_s=40)
    took = round(time.monotonic() - begun, 1)
    slots = [slot.holder for slot in BY_NAME["nnunet_system"](SystemRequest(), SETTINGS).slots]
    return {
        "status": now.status,
        "after_s": took,
        **free_after(),
        "left": len(processes_of(stage.path)),
        "slots": slots,
    }


NO_COMPILER = {"CC": "/bin/false", "TORCHINDUCTOR_CACHE_DIR": "/tmp/gc_i", "TRITON_CACHE_DIR": "/tmp/gc_t"}


@check(
    60,
    lambda found: {
        "trained without it": len(found["epochs"]) >= 1,
        "said so in the log": "without torch.compile" in found["said"],
        "said why in the notes": "without torch.compile" in found["notes"],
    },
)
def no_compiler() -> Found:
    """In the first step, as a program that is no compiler can only be found out there."""
    before = {name: os.environ.get(name) for name in NO_COMPILER}
    os.environ.update(NO_COMPILER)
    run = train("3")
    stage = folder(run).stage("train_fold_3")
    now, _ = follow(run, lambda now: bool(stage.epochs()), 100)
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    cancel(run, force=True)
    follow(run, limit_s=30)
    said = [line for line in stage.log_file.read_text().splitlines() if "torch.compile" in line]
    return {
        **ended(run, now),
        "epochs": [(epoch.seconds, epoch.compile_s) for epoch in stage.epochs()],
        "said": " | ".join(said)[:400],
        "notes": " | ".join(stage.notes())[:400],
        **free_after(),
    }


SHARED = "import torch; torch.cuda.set_per_process_memory_fraction(1e-4); torch.empty(1 << 30, device='cuda')"
COMPILE = (
    "import torch; torch.compile(lambda x: torch.nn.functional.leaky_relu(x) * 2 + 1)(torch.ones(999, device='cuda'))"
)
LABELS = "import torch; torch.zeros(3, device='cuda')[torch.tensor([7], device='cuda')].cpu()"
TEXTS: dict[str, tuple[str, dict[str, str]]] = {
    "oom": ("import torch; torch.empty(1 << 44, device='cuda')", {}),
    "no gpu": ("import torch; torch.zeros(1).cuda()", {"CUDA_VISIBLE_DEVICES": "-1"}),
    "ordinal": ("import torch; torch.zeros(1, device='cuda:7')", {}),
    "assert": (LABELS, {}),
    "no compiler": (
        COMPILE,
        {name: f"{value}_text" if "tmp" in value else value for name, value in NO_COMPILER.items()},
    ),
    "shared GPU": (SHARED, {}),
}


@check(40, lambda found: {name: not re.match("unknown|one of the GPUs", one["cause"]) for name, one in found.items()})
def error_texts() -> Found:
    found: Found = {}

    def one(name: str) -> None:
        code, env = TEXTS[name]
        done, took = python(code, **env)
        log = OUT / f"text_{name.replace(' ', '_')}.txt"
        log.write_text(done.stderr)
        found[name] = {"rc": done.returncode, "s": took, **diagnose(log, code=1).model_dump(exclude={"remedy"})}

    threads = [threading.Thread(target=one, args=(name,)) for name in TEXTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@check(100, lambda found: {"within 1.3x of the trained epoch": bool(found["ratio"]) and 1 / 1.3 < found["ratio"] < 1.3})
def measured() -> Found:
    begun = time.monotonic()
    asked = {"dataset_id": 1, "configuration": "3d_fullres", "fold": "3", "trainer": "nnUNetTrainer", "measure": True}
    now = BY_NAME["nnunet_preflight"](PreflightRequest.model_validate({**asked, **DEVICE}), SETTINGS)
    took = round(time.monotonic() - begun, 1)
    steps = int(os.environ["GPU_CHECK_ITERATIONS"]) + 5
    trained = median(KEPT.get("epochs", [])) / steps * 300
    told = now.hours.expected * 3600 / 1000 if now.hours else None
    return {
        "s": took,
        "network": now.network.model_dump() if now.network else None,
        "hours": now.hours.model_dump() if now.hours else None,
        "notes": now.notes,
        "problems": now.problems,
        "epoch_s": {"measured": told, "as trained": round(trained, 2)},
        "ratio": round(told / trained, 2) if told and trained else None,
    }


@check(
    45,
    lambda found: {
        "success": found["status"] == "success",
        "3 + 3 processes and what starts them": found["processes_and_gb"][0] <= 10,
        "not spoken of in epochs": "epoch" not in found["health"].lower(),
    },
)
def prediction() -> Found:
    asked = {"run_id": KEPT["run"], "images": "imagesTr", "labels": "labelsTr", **DEVICE}
    run = BY_NAME["nnunet_predict"](PredictRequest.model_validate(asked), SETTINGS).run_id
    most: list[tuple[int, float]] = []

    def count(now: ProgressAnswer) -> bool:
        own = [one for spec in record(run).stages for one in processes_of(folder(run).stage(spec.name).path)]
        most.append((len(own), round(sum(one.memory_info().rss for one in own) / 1e9, 1)))
        return False

    now, rows = follow(run, count, 90)
    gpu = max((row["gpu"] for row in rows), key=len)
    return {**ended(run, now), "s": rows[-1]["t"], "processes_and_gb": max(most), "gpu": gpu}


SPIN = "import torch; x = torch.ones(1, device='cuda'); print(1, flush=True); torch.cuda._sleep(1 << 42); x.cpu()"
IDLE = """
import time, psutil, torch
from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
class Data:
    def set_thread_id(self, number): pass
    def __next__(self): return {"data": torch.zeros(9)}
loaders = [NonDetMultiThreadedAugmenter(Data(), None, n, num_cached=6, wait_time=0.002) for n in (12, 6)]
for loader in loaders: next(loader)
time.sleep(4)
own = [psutil.Process(), *psutil.Process().children(recursive=True)]
used = lambda: sum(sum(one.cpu_times()[:2]) for one in own)
before = used(); time.sleep(8); print((used() - before) / 8)
for loader in loaders: loader._finish()
"""


@check(
    35, lambda found: {"CPU time proves nothing": found["of_a_hang"] > 0.9 and float(found["of_idle_loaders"]) > 0.05}
)
def hang() -> Found:
    """The share of a core that a GPU that hangs keeps busy, and that idle loaders take."""
    with subprocess.Popen([sys.executable, "-c", SPIN], stdout=subprocess.PIPE, text=True) as spin:
        assert spin.stdout is not None
        spin.stdout.readline()
        process = psutil.Process(spin.pid)
        before = sum(process.cpu_times()[:2])
        time.sleep(5)
        used = sum(process.cpu_times()[:2]) - before
        spin.kill()
    return {"of_a_hang": round(used / 5, 2), "of_idle_loaders": python(IDLE)[0].stdout.strip(), **free_after()}


RANK = """
import torch.multiprocessing as mp
from nnunet_mcp.worker.training.ddp import run_ddp, stop_of_ranks
from nnunet_mcp.worker.progress import StopRequested
if __name__ == "__main__":
    options = ("GpuCheck", "nnUNetPlans", False, False, False, None, False, False, 1)
    try:
        with stop_of_ranks():
            mp.spawn(run_ddp, args=("Dataset001_Phantom", "3d_fullres", 4, *options), nprocs=1)
    except StopRequested:
        print("STOPPED ON REQUEST")
"""


@check(
    60,
    lambda found: {
        "epochs by rank 0": len(found["epochs"]) >= 1,
        "stopped on request": found["stopped"] and found["rc"] == 0,
        "a warning of NCCL is no failure": "GPUs' processes" not in found["cause_of_its_log"],
        **is_free(found),
    },
)
def ddp() -> Found:
    """One rank over NCCL with our hooks, without torch.compile, which this is not about."""
    os.environ["GPU_CHECK_EPOCHS"] = "40"
    run, _, _ = prepare_run(request("4"), SETTINGS)
    os.environ["GPU_CHECK_EPOCHS"] = str(EPOCHS)
    stage = run.stage("train_fold_4")
    stage.path.mkdir(parents=True, exist_ok=True)
    (WORK / "ddp.py").write_text(RANK)
    own = {"NNUNET_MCP_STAGE_DIR": str(stage.path), "MASTER_ADDR": "localhost", "MASTER_PORT": "29511"}
    env = {**os.environ, **own, "GPU_CHECK_EPOCHS": "40", "nnUNet_n_proc_DA": "6", "nnUNet_compile": "f"}
    with (OUT / "ddp.txt").open("w") as log:
        child = subprocess.Popen([sys.executable, str(WORK / "ddp.py")], stdout=log, stderr=log, env=env)
    begun = time.monotonic()
    while not stage.epochs() and child.poll() is None and time.monotonic() - begun < 90:
        time.sleep(0.5)
    run.cancel_file.write_text(json.dumps({"requested_at": time.time(), "grace_s": 60}))
    child.wait(timeout=60)
    said = (OUT / "ddp.txt").read_text()
    return {
        "rc": child.returncode,
        "stopped": "STOPPED ON REQUEST" in said,
        "epochs": [(epoch.epoch, epoch.seconds) for epoch in stage.epochs()],
        "nccl_lines": [line[:150] for line in said.splitlines() if "NCCL" in line][:4],
        "cause_of_its_log": diagnose(OUT / "ddp.txt", code=1).cause,
        **free_after(),
    }


PLAIN = """
import sys
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
nnUNetTrainer.perform_actual_validation = lambda *args: None
sys.argv = ["nnUNetv2_train", "1", "3d_fullres", "0", "-tr", "GpuCheck", *sys.argv[1:]]
if __name__ == "__main__":
    run_training_entry()
"""
SAVE = """
import time, torch
from nnunet_mcp.worker.training.checkpoints import save_whole
weights = [torch.zeros(1 << 20, device={device!r}) for _ in range(62)]
for name in ("checkpoint_latest.pth", "checkpoint_best.pth") * 2:
    begun = time.monotonic(); save_whole(lambda file: torch.save(weights, file), {folder!r} + "/" + name)
    print(name.split(".")[0], round(time.monotonic() - begun, 2))
"""


@check(
    80,
    lambda found: {
        "an epoch of ours <= 1.03 x nnU-Net's": found["ratio"] is not None and found["ratio"] <= 1.03,
        "from epoch to epoch <= 1.03 x": found["period_ratio"] is not None and found["period_ratio"] <= 1.03,
        "a save blocks < 1 s": all(seconds < 1 for _, seconds in found["save_250_mb"]),
    },
)
def overhead() -> Found:
    """The same training by nnUNetv2_train, with as many loaders, after ours."""
    kept = str(SETTINGS.folder("results"))
    (WORK / "plain.py").write_text(PLAIN)
    loaders = fit_to_machine("train", "cpu" if CPU else "cuda", {LANES_VARIABLE: "1"})["nnUNet_n_proc_DA"]
    env = {**os.environ, "nnUNet_results": f"{kept}_plain", "nnUNet_n_proc_DA": loaders}
    command = [sys.executable, str(WORK / "plain.py"), *(["-device", "cpu"] if CPU else [])]
    begun = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=env)
    took = round(time.monotonic() - begun, 1)
    plain = [float(seconds) for seconds in re.findall(r"Epoch time: ([\d.]+)", done.stdout)]
    save, _ = python(SAVE.format(device="cpu" if CPU else "cuda", folder=str(WORK)))
    theirs, between = median(plain[1:]), median(periods(done.stdout))
    return {
        "loaders": loaders,
        "plain_epochs_s": plain,
        "our_epochs_s": [round(seconds, 2) for seconds in KEPT["epochs"]],
        "ratio": round(median(KEPT["epochs"]) / theirs, 3) if theirs else None,
        "periods_s": {"plain": periods(done.stdout), "ours": KEPT["periods"]},
        "period_ratio": round(median(KEPT["periods"]) / between, 3) if between else None,
        "s": took,
        "save_250_mb": [(line.split()[0], float(line.split()[1])) for line in save.stdout.splitlines()],
        "error": done.stderr[-300:] if not plain else "",
    }


def periods(log: str) -> list[float]:
    """Seconds from each epoch's beginning to the next one's, without the first."""
    stamps = re.findall(r"^\d{4}-\d\d-\d\d (\d\d):(\d\d):([\d.]+): Epoch \d+\s*$", log, re.MULTILINE)
    times = [int(hour) * 3600 + int(minute) * 60 + float(second) for hour, minute, second in stamps]
    return [round(later - earlier, 2) for earlier, later in pairwise(times)][1:]


def median(values: list[float]) -> float:
    return float(numpy.median(values)) if values else 0.0


def carry_out(one: Check) -> Found:
    begun = time.monotonic()
    try:
        found = one.act()
        failed = [name for name, well in one.expect(found).items() if not well]
        line = {"check": one.name, "failed": failed, "found": found}
    except Exception as error:
        line = {
            "check": one.name,
            "failed": [f"{type(error).__name__}: {error}"[:300]],
            "where": traceback.format_exc()[-900:],
        }
    return {**line, "s": round(time.monotonic() - begun, 1)}


def in_order(only: list[str]) -> list[Check]:
    """All checks by their value, or those that are named as they are named; a training goes before them."""
    known = {one.name: one for one in CHECKS}
    return [known[name] for name in dict.fromkeys(["environment", "training", *only])] if only else CHECKS


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    for path in (OUT, WORK, WORK / "trainers"):
        path.mkdir(parents=True, exist_ok=True)
    (WORK / "trainers" / "gpu_check_trainer.py").write_text(TRAINER)
    for one in in_order(sys.argv[2:]):
        left = DEADLINE_S - (time.monotonic() - BEGUN)
        line = (
            carry_out(one) if left > one.budget_s * 0.6 else {"check": one.name, "skipped": f"{left:.0f} s were left"}
        )
        print(json.dumps(line, default=str), flush=True)
        with (OUT / "checks.jsonl").open("a") as file:
            file.write(json.dumps(line, default=str) + "\n")
    for log in SETTINGS.state_dir.glob("runs/*/stages/*/log.txt"):
        shutil.copyfile(log, OUT / f"log_{log.parts[-4]}_{log.parts[-2]}.txt")
    print(f"whole: {time.monotonic() - BEGUN:.0f} s")


if __name__ == "__main__":
    main()
