"""Attacks that once worked, whole: a real server, real workers, and files that strangers made.

Each looks for what the attack would have left: a marker that code of the stranger's ran, a file outside the allowed
folders that was read, written or deleted.
"""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet.output_paths import same_output
from tests.kit.lab import FEW, Answer, Lab, ToolRefused, write_evil_checkpoint
from tests.kit.phantom import write_phantom
from tests.kit.strangers import make_model, sample, small
from tests.kit.tiny import make_dataset

pytestmark = pytest.mark.heavy
MODEL = "nnUNetTrainer__nnUNetPlans__2d"
TRAINING = {"dataset_id": 7, "configuration": "2d", "fold": "0", "trainer": "nnUNetTrainer_1epoch", "device": "cpu"}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Folders of a person, with a folder `data` that tools may read and `outside` that they may not."""
    for name in ("box", "data", "outside"):
        (tmp_path / name).mkdir()
    lab = Lab(tmp_path / "box", {**FEW, "NNUNET_MCP_ALLOWED_DIRS": str(tmp_path / "data"), "NNUNET_MCP_GPUS": "0"})
    make_dataset(lab.folder / "raw", "Dataset007_Mine")
    yield lab
    lab.stop()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside"


def runs_code(marker: Path) -> Callable[[dict[str, Any]], None]:
    """Plans whose network would make a file when it is built."""

    def change(plans: dict[str, Any]) -> None:
        layers = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        layers.update(nonlin="subprocess.Popen", nonlin_kwargs={"args": ["touch", str(marker)]})

    return change


def images_in(data: Path, lab: Lab) -> Path:
    (data / "images").mkdir()
    source = lab.folder / "raw" / "Dataset007_Mine" / "imagesTr" / "case_000_0000.nii.gz"
    shutil.copy(source, data / "images" / "x_0000.nii.gz")
    return data / "images"


def ended(lab: Lab, run_id: str) -> Answer:
    lab.finish(run_id, timeout_s=300)
    return lab.call("nnunet_progress", run_id=run_id)


def test_weights_with_plans_beside_run_nothing(lab: Lab, data: Path, outside: Path) -> None:
    model = make_model(data / MODEL, runs_code(outside / "marker"))

    with pytest.raises(ToolRefused, match=r"nonlin is 'subprocess\.Popen'"):
        lab.call("nnunet_training", **TRAINING, pretrained_weights=str(model / "fold_0" / "checkpoint_final.pth"))
    assert not (outside / "marker").exists()


@pytest.mark.parametrize("key", ["nonlin", "norm_op"])
def test_plans_inside_a_checkpoint_run_nothing(lab: Lab, data: Path, outside: Path, key: str) -> None:
    def change(plans: dict[str, Any]) -> None:
        layers = plans["configurations"]["2d"]["architecture"]["arch_kwargs"]
        layers.update({key: "subprocess.Popen", f"{key}_kwargs": {"args": ["touch", str(outside / "marker")]}})

    model = make_model(data / MODEL, change)
    weights = shutil.move(model / "fold_0" / "checkpoint_final.pth", data / "alone.pth")

    run = lab.call("nnunet_training", **TRAINING, pretrained_weights=str(weights))
    found = ended(lab, run["run_id"])

    assert found["status"] == "error" and f"{key} is 'subprocess.Popen'" in found["failure"]["cause"]
    assert not (outside / "marker").exists()


@pytest.mark.parametrize("place", ["plans_name", "data_identifier"])
def test_names_inside_a_checkpoint_lead_nowhere(lab: Lab, data: Path, outside: Path, place: str) -> None:
    (outside / ".claude.json").write_text("mine", encoding="utf-8")
    (outside / "victim").mkdir()
    (outside / "victim" / "thesis.txt").write_text("precious", encoding="utf-8")

    def change(plans: dict[str, Any]) -> None:
        two = plans["configurations"]["2d"]
        (plans if place == "plans_name" else two)[place] = str(outside / {"plans_name": ".claude"}.get(place, "victim"))
        plans["mcpServers"] = {"evil": {"command": "sh"}}

    model = make_model(data / MODEL, change)
    weights = shutil.move(model / "fold_0" / "checkpoint_final.pth", data / "alone.pth")

    run = lab.call("nnunet_training", **TRAINING, pretrained_weights=str(weights))
    found = ended(lab, run["run_id"])

    assert found["status"] == "error" and place in found["failure"]["cause"]
    assert (outside / ".claude.json").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in outside.rglob("*")) == [".claude.json", "thesis.txt", "victim"]


def test_a_zip_with_such_plans_is_not_imported(lab: Lab, data: Path, outside: Path) -> None:
    def change(plans: dict[str, Any]) -> None:
        plans["plans_name"] = str(outside / ".claude")

    model = make_model(data / MODEL, change)
    with zipfile.ZipFile(data / "chain.zip", "w") as archive:
        for path in sorted(model.rglob("*.*")):
            archive.write(path, f"Dataset700_Nice/{MODEL}/{path.relative_to(model)}")

    run = lab.call("nnunet_import_model", zip=str(data / "chain.zip"))
    found = ended(lab, run["run_id"])

    assert found["status"] == "error" and "plans_name" in found["failure"]["cause"]
    assert not (lab.folder / "results" / "Dataset700_Nice").exists()
    assert not list((lab.folder / "results").glob(".import*")) and not list(outside.iterdir())


def test_plans_that_lie_in_the_preprocessed_folder_run_nothing(lab: Lab, outside: Path) -> None:
    """Somebody's archive was unpacked there: looking and training judge it, too."""
    plans = {**small(sample()), "dataset_name": "Dataset007_Mine", "plans_name": "theirs"}
    runs_code(outside / "marker")(plans)
    folder = lab.folder / "preprocessed" / "Dataset007_Mine"
    folder.mkdir(parents=True)
    (folder / "theirs.json").write_text(json.dumps(plans), encoding="utf-8")
    shutil.copy(lab.folder / "raw" / "Dataset007_Mine" / "dataset.json", folder)

    seen = lab.call("nnunet_preflight", **TRAINING, plans_identifier="theirs")
    with pytest.raises(ToolRefused, match=r"nonlin is 'subprocess\.Popen'"):
        lab.call("nnunet_training", **TRAINING, plans_identifier="theirs")

    assert any("nonlin is 'subprocess.Popen'" in problem for problem in seen["problems"])
    assert not (outside / "marker").exists()


def test_pickles_and_checkpoints_in_nnunets_own_folders_run_nothing(lab: Lab, outside: Path) -> None:
    """Somebody's archive was unpacked there: preprocessed cases, and folds that no run of this place has trained."""
    write_phantom(lab.folder / "raw" / "Dataset008_Phantom", cases=5, shape=(24, 28, 24))
    short: dict[str, Any] = {**TRAINING, "dataset_id": 8, "trainer": "OneStepTrainer"}
    assert lab.train(**short)["status"] == "success"
    model = lab.folder / "results" / "Dataset008_Phantom" / "OneStepTrainer__nnUNetPlans__2d"
    for fold, name in (("2", "latest"), ("3", "final")):
        (model / f"fold_{fold}").mkdir()
        write_evil_checkpoint(model / f"fold_{fold}" / f"checkpoint_{name}.pth", outside / "marker")

    resumed = lab.train(**{**short, "fold": "2"}, continue_training=True)
    validated = lab.train(**{**short, "fold": "3"}, validation_only=True)
    for case in (lab.folder / "preprocessed" / "Dataset008_Phantom" / "nnUNetPlans_2d").glob("*.pkl"):
        case.write_bytes(pickle.dumps(Evil(outside / "marker")))
    trained = lab.train(**{**short, "fold": "1"})

    assert [found["status"] for found in (resumed, validated, trained)] == ["error"] * 3
    assert not (outside / "marker").exists()


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


def test_a_model_whose_plans_are_exchanged_after_the_answer_runs_nothing(lab: Lab, data: Path, outside: Path) -> None:
    model, images = make_model(data / MODEL), images_in(data, lab)
    evil = json.loads((model / "plans.json").read_text(encoding="utf-8"))
    runs_code(outside / "marker")(evil)

    run = lab.call("nnunet_predict", model=str(model), images=str(images), output=str(data / "out"), device="cpu")
    (model / "plans.json").write_text(json.dumps(evil), encoding="utf-8")
    found = ended(lab, run["run_id"])

    assert found["status"] == "error" and "nonlin is 'subprocess.Popen'" in found["failure"]["cause"]
    assert not (outside / "marker").exists()


def test_a_good_model_of_somebody_else_predicts(lab: Lab, data: Path) -> None:
    model, images = make_model(data / MODEL), images_in(data, lab)

    run = lab.call("nnunet_predict", model=str(model), images=str(images), output=str(data / "out"), device="cpu")
    found = ended(lab, run["run_id"])

    assert found["status"] == "success", found
    assert (data / "out" / "x.nii.gz").is_file()


def test_a_link_in_a_model_folder_brings_nothing_into_the_zip(lab: Lab, data: Path, outside: Path) -> None:
    secret = outside / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----", encoding="utf-8")
    model = make_model(data / MODEL)
    (model / "fold_0" / "progress.png").symlink_to(secret)

    run = lab.call("nnunet_export_model", model=str(model), output=str(data / "out.zip"))
    found = ended(lab, run["run_id"])

    assert found["status"] == "error" and not (data / "out.zip").exists()


def test_a_cascade_leads_to_no_model_elsewhere(lab: Lab, data: Path, outside: Path) -> None:
    make_model(outside / "A__B__2d")

    def change(plans: dict[str, Any]) -> None:
        plans["configurations"]["2d"]["previous_stage"] = f"x/../../{outside.name}/A__B__2d"

    model = make_model(data / MODEL, change)

    for tool in ("nnunet_export_model", "nnunet_predict"):
        more = {"images": str(data), "device": "cpu"} if tool == "nnunet_predict" else {"output": str(data / "o.zip")}
        with pytest.raises(ToolRefused, match="previous_stage"):
            lab.call(tool, model=str(model), **more)


def test_images_and_outputs_that_become_links_lead_nowhere(lab: Lab, data: Path, outside: Path) -> None:
    model, images = make_model(data / MODEL), images_in(data, lab)
    arguments = {"model": str(model), "images": str(images), "device": "cpu"}
    shutil.copy(images / "x_0000.nii.gz", outside / "private_0000.nii.gz")

    (images / "y_0000.nii.gz").symlink_to(outside / "private_0000.nii.gz")
    with pytest.raises(ToolRefused, match="outside the allowed folders"):
        lab.call("nnunet_predict", **arguments, output=str(data / "other"))
    # What the worker asks where it begins to write; the link may have come at any moment before.
    settings = lab.settings.model_copy(update={"allowed_dirs": str(data)})
    assert same_output(settings, data / "out", []) == data / "out"
    for target, said in ((outside, "outside the allowed folders"), (data / "images", "leads elsewhere")):
        (data / "out").unlink(missing_ok=True)
        (data / "out").symlink_to(target)
        with pytest.raises(Refused, match=said):
            same_output(settings, data / "out", [])


@pytest.mark.parametrize("place", [f"{MODEL}/fold_3", "nnUNetTrainer__nnUNetPlans__3d_fullres", "../Dataset900_New"])
def test_nothing_is_written_among_other_models(lab: Lab, data: Path, place: str) -> None:
    model, images = make_model(data / MODEL), images_in(data, lab)
    own = make_model(lab.folder / "results" / "Dataset007_Mine" / MODEL)
    output = str(own.parent / place)

    with pytest.raises(ToolRefused, match="lies among the models"):
        lab.call("nnunet_predict", model=str(model), images=str(images), output=output, device="cpu")
    with pytest.raises(ToolRefused, match="lies among the models"):
        lab.call("nnunet_export_model", model=str(model), output=f"{output}/x.zip")
    with pytest.raises(ToolRefused, match="holds a model or a dataset"):
        lab.call("nnunet_export_model", model=str(model), output=str(model / "x.zip"))


AUDITED = """
import sys, warnings
import torch
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunet_mcp.errors import Refused
from nnunet_mcp.nnunet.safe_plans import judged_plans
from tests.kit.phantom import write_phantom
from tests.kit.strangers import mutants, sample

warnings.simplefilter("ignore")
ASKED = ("preprocessor_class", "resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities", "patch_size")
ACTS = ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "shutil.rmtree", "os.remove")
seen, watching = [], False

def watch(event, given):
    if watching and (event in ACTS
            or (event == "open" and isinstance(given[1], str) and set(given[1]) & set("wax+"))):
        seen.append((event, str(given)[:200]))

def build(plans):
    manager = PlansManager(plans)
    for part in ("image_reader_writer_class", "label_manager_class", "experiment_planner_class"):
        attempt(lambda: getattr(manager, part))
    for name in plans["configurations"]:
        attempt(lambda: use(manager.get_configuration(name)))

def use(configuration):
    for part in ASKED:
        attempt(lambda: getattr(configuration, part))
    with torch.device("meta"):
        get_network_from_plans(configuration.network_arch_class_name, configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import, 1, 2, allow_init=False, deep_supervision=True)

def attempt(act):
    try:
        return act()
    except Exception:
        return None

build(sample())  # imports what it needs
sys.addaudithook(watch)
watching, passed = True, 0
for plans in mutants(5000, seed=int(sys.argv[1])):
    try:
        judged = judged_plans(plans, "plans.json")
    except Refused:
        continue
    passed += 1
    build(judged)
watching = False
print(passed, seen)
"""


def test_of_five_thousand_mutated_plans_none_makes_nnunet_run_or_write_anything(tmp_path: Path) -> None:
    """What passes is handed to nnU-Net's own builders, while every process, file and connection is watched."""
    command = [sys.executable, "-c", AUDITED, "4711"]

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=Path(__file__).parents[2]
    )

    assert done.returncode == 0, done.stderr[-2000:]
    passed, _, seen = done.stdout.strip().rpartition("\n")[2].partition(" ")
    assert int(passed) > 50 and seen == "[]"
