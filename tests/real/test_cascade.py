"""The documentation's cascade: 3d_lowres fold 0, then 3d_cascade_fullres fold 0."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest

from tests.kit.lab import FEW, Lab, ToolRefused
from tests.kit.phantom import write_phantom

pytestmark = pytest.mark.long
PLANS = "smallMemoryPlans"
REQUEST: dict[str, Any] = {
    "dataset_id": 60,
    "fold": "0",
    "device": "cpu",
    "trainer": "ShortTrainer",
    "plans_identifier": PLANS,
}
# nnU-Net's planner drops 3d_lowres unless the images are large against the patch: a small memory target does it.
MAKE_PLANS = f"""
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
if __name__ == "__main__":
    ExperimentPlanner("Dataset060_Large", gpu_memory_target_in_gb=0.05, plans_name={PLANS!r}).plan_experiment()
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("cascade")
    lab = Lab(folder / "work", FEW)
    write_phantom(lab.folder / "raw" / "Dataset060_Large", cases=5, shape=(64, 64, 64))
    first = lab.train(dataset_id=60, configuration="3d_fullres", fold="0", device="cpu", trainer="OneStepTrainer")
    assert first["status"] == "success", first
    script = folder / "plan.py"
    script.write_text(MAKE_PLANS, encoding="utf-8")
    subprocess.run([sys.executable, str(script)], check=True, env=lab.environment, stdout=subprocess.DEVNULL)
    return lab


def test_small_images_have_no_lowres_and_the_error_says_what_to_use(lab: Lab) -> None:
    with pytest.raises(ToolRefused, match=r"no 3d_lowres.*3d_fullres"):
        lab.call("nnunet_training", **{**REQUEST, "plans_identifier": "nnUNetPlans"}, configuration="3d_lowres")


def test_the_documented_example_trains_what_the_cascade_still_needs_of_lowres(lab: Lab) -> None:
    example = Path(__file__).parents[2] / "examples" / "train_cascade.py"
    options = ["--dataset", "60", "--device", "cpu", "--trainer", "OneStepTrainer", "--plans", PLANS]

    done = subprocess.run(
        [sys.executable, str(example), *options], env=lab.environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lowres, cascade = (run for run in reversed(lab.call("nnunet_runs", dataset_id=60)["runs"][:2]))
    assert (lowres["configuration"], cascade["configuration"]) == ("3d_lowres", "3d_cascade_fullres")
    record = json.loads((lab.run_dir(cascade["run_id"]) / "run.json").read_text(encoding="utf-8"))
    names = [stage["name"] for stage in record["stages"]]
    assert names == ["preprocess", *(f"lowres_fold_{fold}" for fold in range(1, 5)), "train_fold_0"]
    assert "lowres_fold_1" in " ".join(record["notes"])
    result = lab.call("nnunet_results", run_id=cascade["run_id"])
    assert Path(result["model_path"]).parent.name == f"OneStepTrainer__{PLANS}__3d_cascade_fullres"
    assert result["fold"] == "0" and "folds" not in result


def test_a_cascade_predicts_both_stages_as_nnunets_two_commands(lab: Lab, tmp_path: Path) -> None:
    images = lab.folder.parent / "new_images"
    images.mkdir()
    for path in sorted((lab.folder / "raw" / "Dataset060_Large" / "imagesTr").iterdir())[:2]:
        shutil.copy(path, images)
    run = lab.call("nnunet_runs", dataset_id=60)["runs"][0]

    started = lab.call("nnunet_predict", run_id=run["run_id"], images=str(images))
    result = lab.finish(started["run_id"])

    assert result["status"] == "success", result
    record = json.loads((lab.run_dir(started["run_id"]) / "run.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in record["stages"]] == ["predict_lowres", "predict"]
    assert "predicts first, for the cascade" in " ".join(started["notes"])
    program = str(Path(sys.executable).with_name("nnUNetv2_predict"))
    common = ["-d", "60", "-f", "0", "-p", PLANS, "-tr", "OneStepTrainer", "-device", "cpu", "-i", str(images)]
    first = ["-c", "3d_lowres", "-o", str(tmp_path / "lowres")]
    second = [
        "-c",
        "3d_cascade_fullres",
        "-o",
        str(tmp_path / "out"),
        "-prev_stage_predictions",
        str(tmp_path / "lowres"),
    ]
    for words in (first, second):
        subprocess.run([program, *common, *words], check=True, env=lab.environment, stdout=subprocess.DEVNULL)
    predicted = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert len(predicted) == 2
    for path in predicted:
        ours, theirs = (nibabel.load(folder / path.name) for folder in (Path(result["predictions"]), tmp_path / "out"))
        assert (numpy.asarray(ours.dataobj) == numpy.asarray(theirs.dataobj)).all()
    assert not (Path(result["predictions"]) / "parts").exists()
