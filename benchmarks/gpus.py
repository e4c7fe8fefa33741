"""Five folds on one, two and five GPUs, without GPUs: slots and supervisor are real, the stages are played.

    PYTHONPATH=. python benchmarks/gpus.py

Every played training takes the same few seconds, so the best possible ratio to one GPU is 3/5 with two and 1/5
with five.
"""

import tempfile
import time
from pathlib import Path

from tests.chaos import stand_in_worker
from tests.kit.lab import Lab
from tests.kit.phantom import write_phantom

PACE_S = "1.0"  # per epoch, of six


def seconds(folder: Path, gpus: int) -> float:
    """From the call to the end of the run."""
    extra = {
        "NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__,
        "NNUNET_MCP_GPUS": str(gpus),
        "STAND_IN_PACE_S": PACE_S,
    }
    lab = Lab(folder, extra)
    write_phantom(folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    begun = time.monotonic()
    result = lab.train(dataset_id=71, configuration="3d_fullres", fold="all", device="cuda")
    assert result["status"] == "success", result
    return time.monotonic() - begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as workspace:
        found = {gpus: seconds(Path(workspace) / str(gpus), gpus) for gpus in (1, 2, 5)}
    print("| GPUs | s | ratio to one |\n|---:|---:|---:|")
    for gpus, took in found.items():
        print(f"| {gpus} | {took:.1f} | {took / found[1]:.2f} |")
