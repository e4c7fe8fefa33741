"""Plays the worker of one stage: stand_in_worker.py -m nnunet_mcp.worker <run folder> <stage>.

The environment variable STAND_IN names the part of each stage, e.g. {"train_fold_0": "hangs"}, or has its outcome;
others succeed.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

if "nnunet_mcp.worker" not in sys.argv:  # asked what it has: as any Python with nnunet-mcp
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])

RUN = Path(sys.argv[-2])
STAGE = RUN / "stages" / sys.argv[-1]
MODEL = Path("Dataset001_Tiny") / "nnUNetTrainer__nnUNetPlans__2d"
RESULTS = "nnUNet_results"
CHECKPOINT = Path(os.environ[RESULTS]) / MODEL / f"fold_{STAGE.name[-1]}" / "checkpoint_latest.pth"
METRICS = {"dice": 0.8, "iou": 0.7, "validation_loss": -0.5}
FAILURE = {"cause": "the label 7 is not declared", "evidence": "case_001", "remedy": "declare it"}


def end(**outcome: object) -> None:
    """Write the outcome as the worker does, and exit as it does."""
    temporary = STAGE / ".outcome.json.new"
    temporary.write_text(json.dumps(outcome), encoding="utf-8")
    temporary.replace(STAGE / "outcome.json")
    sys.exit(0 if outcome["ok"] else 1)


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)


def replace_a_model(*, saves: bool) -> None:
    """Begin a training with overwrite, as the worker does, and get stuck."""
    from nnunet_mcp.nnunet.datasets import FoldFiles
    from nnunet_mcp.nnunet.old_models import keep

    fold = FoldFiles(CHECKPOINT.parent)
    keep(fold, RUN.name)
    fold.path.mkdir(parents=True)
    fold.owner_file.write_text(RUN.name, encoding="utf-8")
    if saves:
        CHECKPOINT.touch()
    (STAGE / "hanging").touch()
    time.sleep(600)


def save_when_asked() -> None:
    """The first time, as a training does that is asked to stop; the next time go on."""
    from nnunet_mcp.nnunet.datasets import FoldFiles

    if not CHECKPOINT.exists():
        wait_for(RUN / "cancel.json")
        CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
        FoldFiles(CHECKPOINT.parent).owner_file.write_text(RUN.name, encoding="utf-8")
        CHECKPOINT.touch()
        end(ok=False, stopped=True)


def predict() -> None:
    """Each image is its own prediction."""
    job = json.loads((RUN / "run.json").read_text(encoding="utf-8"))["job"]
    output = Path(job["output"])
    output.mkdir(parents=True)
    for image in Path(job["images"]).iterdir():
        (output / image.name.replace("_0000", "")).write_bytes(image.read_bytes())
    end(kind="prediction", ok=True, predictions=str(output))


def install(*, unzips: str = "", **outcome: Any) -> None:
    """End with this outcome, a zip unpacked before."""
    if unzips:
        zipfile.ZipFile(unzips).extractall(os.environ[RESULTS])
    end(**outcome)


def play(part: str) -> None:
    """Do what the part says."""
    print(f"{STAGE.name} {part}", flush=True)
    if part == "runs out of gpu memory in 3d":
        part = "runs out of gpu memory" if "3d_fullres" in RUN.name else "succeeds"
    if part == "is killed once":
        part = "is killed" if len(list(RUN.parent.iterdir())) == 1 else "succeeds"
    if part == "saves when asked":
        save_when_asked()
    if part == "predicts":
        predict()
    if part in ("hangs", "leaves a helper behind"):
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        subprocess.Popen(command, start_new_session=True)
    if part == "hangs":
        (STAGE / "hanging").touch()
        time.sleep(600)
    elif part == "crashes":
        raise RuntimeError("something nobody has seen before")
    elif part == "runs out of gpu memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
    elif part == "fails":
        end(ok=False, failure=FAILURE)
    elif part == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif part == "says nothing":
        sys.exit(0)
    elif part == "stops when asked":
        wait_for(RUN / "cancel.json")
        end(ok=False, stopped=True)
    elif part == "goes on after a pause" and not CHECKPOINT.exists():
        wait_for(STAGE / "pause")
        CHECKPOINT.parent.mkdir(parents=True)
        CHECKPOINT.touch()
        end(ok=False, stopped=True)
    elif part == "saves nothing":
        wait_for(STAGE / "pause")
        end(ok=False, stopped=True)
    elif part.startswith("replaces a model"):
        replace_a_model(saves=part.endswith("and saves"))
    elif part == "waits for go":
        wait_for(RUN / "go")
    end(kind="model", ok=True, metrics=METRICS, model_path=str(STAGE))


if __name__ == "__main__":
    named = json.loads(os.environ["STAND_IN"]).get(STAGE.name, "succeeds")
    install(**named) if isinstance(named, dict) else play(named)
