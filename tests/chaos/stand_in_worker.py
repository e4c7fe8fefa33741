#!/usr/bin/env python3
"""Plays a stage's worker in seconds: heartbeat, epochs, checkpoints, a data-loader child, the outcome.

Started as `<this file> -m nnunet_mcp.worker <run directory> <stage>`, through NNUNET_MCP_WORKER_PYTHON. It
writes the same files in the same order as the real worker, and stops as it does when it is asked to. For
REAL_DATASET it becomes the real worker. Its loader is forked as nnU-Net's are, by the real rule for orphans.
"""

import hashlib
import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

EPOCHS = 6
REAL_DATASET = 74
REAL_PYTHON = "TESTS_PYTHON"


def main() -> int:
    """Play the stage to its end."""
    if "nnunet_mcp.worker" not in sys.argv:
        _become_real()
    if sys.executable != (real := os.environ.get(REAL_PYTHON, sys.executable)):  # the one that has our modules
        os.execv(real, [real, *sys.argv])
    run, name = Path(sys.argv[-2]), sys.argv[-1]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    if record["job"]["request"]["dataset_id"] == REAL_DATASET:
        _become_real()
    spec = next(spec for spec in record["stages"] if spec["name"] == name)
    stage = run / "stages" / name
    pace = float(os.environ.get("STAND_IN_PACE_S", random.Random(os.getpid()).uniform(0.05, 0.4)))
    loader = _loader()
    try:
        if spec["kind"] == "train":
            return _train(run, stage, record, spec, pace)
        _say(stage, phase="working")
        time.sleep(pace)
        _replace(stage / "outcome.json", {"ok": True})
        return 0
    finally:
        loader.kill()


def _loader() -> Any:
    from nnunet_mcp.worker.orphans import take_children_along

    take_children_along()
    loader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    loader.start()
    return loader


def _become_real() -> None:
    real = os.environ.get(REAL_PYTHON, sys.executable)
    os.execv(real, [real, *sys.argv[1:]])


def _train(run: Path, stage: Path, record: dict[str, Any], spec: dict[str, Any], pace: float) -> int:
    model = f"{record['job']['trainer']}__{record['job']['plans_identifier']}__{spec['configuration']}"
    fold = Path(record["folders"]["results"]) / record["dataset_name"] / model / f"fold_{spec['fold']}"
    fold.mkdir(parents=True, exist_ok=True)
    (fold / "nnunet_mcp_run.txt").write_text(record["run_id"], encoding="utf-8")
    (stage / "device.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""), encoding="utf-8")
    first = _resume(fold, stage) if spec["resume"] else 0
    for epoch in range(first, EPOCHS):
        _say(stage, phase="training", epoch=epoch, epochs=EPOCHS)
        time.sleep(pace)
        _wait_for_leave()
        _append(stage, epoch)
        print(f"epoch {epoch}", flush=True)
        save(fold / "checkpoint_latest.pth", epoch + 1)
        if (run / "cancel.json").exists():
            _replace(stage / "outcome.json", {"ok": False, "stopped": True})
            return 1
    save(fold / "checkpoint_final.pth", EPOCHS)
    (fold / "checkpoint_latest.pth").unlink()
    (fold / "validation").mkdir(exist_ok=True)
    numbers = {"Dice": 0.5, "IoU": 0.4}
    _replace(fold / "validation" / "summary.json", {"foreground_mean": numbers, "mean": {}, "metric_per_case": []})
    metrics = {"dice": 0.5, "iou": 0.4, "validation_loss": 0.1}
    outcome = {"kind": "model", "ok": True, "model_path": str(fold), "metrics": metrics, "epochs_trained": EPOCHS}
    _replace(fold / "nnunet_mcp.json", outcome)
    _replace(stage / "outcome.json", outcome)
    return 0


def _wait_for_leave() -> None:
    """Where a test names a file, go on when it is there, or after a minute."""
    leave = os.environ.get("STAND_IN_LEAVE")
    deadline = time.monotonic() + 60
    while leave and not Path(leave).exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _resume(fold: Path, stage: Path) -> int:
    checkpoints = [fold / name for name in ("checkpoint_final.pth", "checkpoint_latest.pth")]
    done = max((load(path) for path in checkpoints if path.exists()), default=0)
    for epoch in range(done):
        _append(stage, epoch, restored=True)
    return done


def save(path: Path, epochs: int) -> None:
    """A checkpoint with a checksum, so that a torn one can be told."""
    payload = json.dumps({"epochs": epochs, "weights": "w" * 20000})
    digest = hashlib.sha256(payload.encode()).hexdigest()
    _replace_text(path, f"{digest}\n{payload}")


def load(path: Path) -> int:
    """The epochs in a checkpoint.

    Raises:
        ValueError: it is torn.
    """
    digest, payload = path.read_text(encoding="utf-8").split("\n", 1)
    if hashlib.sha256(payload.encode()).hexdigest() != digest:
        raise ValueError(f"{path} is torn")
    return int(json.loads(payload)["epochs"])


def _append(stage: Path, epoch: int, *, restored: bool = False) -> None:
    names = ("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice", "seconds")
    line = json.dumps({"epoch": epoch, "restored": restored, **dict.fromkeys(names, 0.1)})
    with (stage / "epochs.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def _say(stage: Path, **fields: Any) -> None:
    _replace(stage / "progress.json", {"heartbeat": time.time(), **fields})


def _replace(path: Path, content: dict[str, Any]) -> None:
    _replace_text(path, json.dumps(content))


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
