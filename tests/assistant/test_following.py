"""An assistant that knows nothing reaches what a person wants by following next_step alone.

The tools, the supervisor and its processes are real; a stand-in plays nnU-Net.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import Tool as Listed

from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.machine import disk
from nnunet_mcp.runs.processes import kill_all
from nnunet_mcp.server.app import create_server
from nnunet_mcp.settings import Settings
from tests.assistant.walker import Assistant, Lost, Person, Step, orders_in
from tests.kit.lab import stand_in_python, until
from tests.kit.tiny import ask, make_dataset
from tests.tools.reports.trained import Trained

TINY = "Dataset001_Tiny"
MODEL = "nnUNetTrainer__nnUNetPlans__2d"
FOLD_0: dict[str, Any] = {"dataset_id": 1, "configuration": "2d", "fold": "0", "device": "cpu"}
METRICS = {"dice": 0.8, "iou": 0.7, "validation_loss": None}


@dataclass
class World:
    """A researcher's machine with one dataset."""

    settings: Settings
    patch: pytest.MonkeyPatch
    folder: Path

    @property
    def tiny(self) -> DatasetFiles:
        return DatasetFiles(self.settings.folders, TINY)

    @property
    def fold(self) -> FoldFiles:
        return FoldFiles(self.tiny.fold("nnUNetTrainer", "nnUNetPlans", "2d", "0"))

    def plays(self, **parts: Any) -> None:
        """What the stand-in does in each stage."""
        self.patch.setenv("STAND_IN", json.dumps(parts))

    def starts(self, **arguments: Any) -> str:
        """A training that somebody started before; returns its run."""
        return str(ask(self.settings, "nnunet_training", **{**FOLD_0, **arguments})["run_id"])


@pytest.fixture
def world(settings: Settings, downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path_factory.mktemp("python"))))
        found = World(Settings(), patch, downloads)
        make_dataset(settings.folder("raw"), TINY)
        found.plays()
        yield found
        state = StateDir.of(found.settings)
        for run_id in state.run_ids():
            for stage in (state.run(run_id).path / "stages").glob("*"):
                kill_all(stage)


@dataclass(frozen=True)
class Scenario:
    """What a person wants, the first tool, and how it is seen to be done. `made` makes the machine as it is then, and
    returns what else the person says."""

    wish: str
    first: str
    done: Callable[[Step], bool]
    says: dict[str, Any] = field(default_factory=lambda: FOLD_0)
    wants: tuple[str, ...] = ()
    made: Callable[[World], dict[str, Any] | None] = lambda world: None
    does: str = ""  # words after which the person acts
    undo: Callable[[World], object] = lambda world: None
    heavy: bool = False


def has_result(step: Step) -> bool:
    return step.tool == "nnunet_results" and step.answer["complete"] and step.answer["metrics"]["dice"] == 0.8


def a_folder(world: World) -> dict[str, Any]:
    return {"source": str(make_dataset(world.folder, "from the clinic", style="msd"))}


def a_held_run(world: World) -> dict[str, Any]:
    world.plays(train_fold_0="waits for go")
    busy = world.starts()
    held = world.starts(fold="1")
    assert until(lambda: "is held by" in ask(world.settings, "nnunet_progress", run_id=held)["health"]["detail"])
    ask(world.settings, "nnunet_queue", run_id=held, action="hold")
    assert until(lambda: "release" in ask(world.settings, "nnunet_progress", run_id=held)["next_step"])
    (StateDir.of(world.settings).run(busy).path / "go").touch()
    return {"status": "queued"}


def one_at_work(world: World) -> dict[str, Any]:
    world.plays(train_fold_0="saves when asked")
    run_id = world.starts()
    assert until(lambda: ask(world.settings, "nnunet_progress", run_id=run_id)["stage"] == "train_fold_0")
    return {"cancel.run_id": run_id}


def no_memory_in_3d(world: World) -> None:
    world.plays(train_fold_0="runs out of gpu memory in 3d")


def killed_once(world: World) -> None:
    world.plays(train_fold_0="is killed once")


def two_models(world: World, *, dice: tuple[float, float] = (0.9, 0.7)) -> dict[str, Any]:
    folds = ("0", "1", "2")
    ids = ("d005-3d_fullres-all-tttt", "d005-3d_fullres-all-uuuu")
    for run_id, trainer, value in zip(ids, ("nnUNetTrainer", "nnUNetTrainerDA5"), dice, strict=True):
        Trained(trainer=trainer, run_id=run_id, folds=folds, dice=value).on_disk(world.settings)
    return {"results.run_id": ids[0]}


def complete_models(world: World) -> dict[str, Any]:
    two_models(world)
    files = DatasetFiles(world.settings.folders, "Dataset005_Big")
    best = {"trainer": "nnUNetTrainer", "plans_identifier": "nnUNetPlans", "configuration": "3d_fullres"}
    found = {"selected_model_or_models": [best], "postprocessing_file": "/elsewhere/postprocessing.pkl"}
    name = "nnUNetTrainer__nnUNetPlans__3d_fullres"
    plans = json.loads((files.results / name / "plans.json").read_text("utf-8"))
    files.plans_file("nnUNetPlans").write_text(json.dumps(plans), "utf-8")
    files.best_file.write_text(json.dumps({"folds": [0, 1, 2], "best_model_or_ensemble": found}), "utf-8")
    merged = files.results / name / "crossval_results_folds_0_1_2"
    merged.mkdir()
    no_steps = json.dumps({"postprocessing_fns": [], "postprocessing_kwargs": []})
    (merged / "postprocessing.json").write_text(no_steps, "utf-8")
    told = {"dice": 0.9, "dice_postprocessed": 0.9, "candidates": [], "postprocessing": []}
    best_found = {"name": name, "models": [name], **told, "instructions": "", "instructions_file": "/i"}
    world.plays(
        find_best={"kind": "search", "ok": True, "best": best_found, "metrics": METRICS},
        export={"kind": "export", "ok": True, "archive": str(world.folder / "best.zip")},
    )
    return {"dataset_id": 5, "ensembling": False}


def a_zip(world: World) -> dict[str, Any]:
    path, labels = world.folder / "model.zip", world.tiny.raw / "labelsTr"
    description = (world.tiny.raw / "dataset.json").read_text("utf-8")
    plans = {"dataset_name": TINY, "configurations": {"2d": {}}}
    content = {"plans.json": json.dumps(plans), "dataset.json": description, "fold_0/checkpoint_final.pth": "weights"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(f"{TINY}/{MODEL}/{name}", text)
    evaluated = {"kind": "evaluation", "ok": True, "evaluation": str(world.folder), "metrics": METRICS}
    imported = {"ok": True, "unzips": str(path), "model_path": str(world.settings.folder("results") / TINY / MODEL)}
    world.plays(import_model=imported, predict="predicts", evaluate=evaluated)
    images = world.tiny.raw / "imagesTr"
    return {"zip": str(path), "predict.images": str(images), "evaluate.labels": str(labels), "device": "cpu"}


def an_unfinished_fold(world: World) -> None:
    world.fold.path.mkdir(parents=True)
    world.fold.latest.touch()


SCENARIOS = (
    Scenario(
        "a folder becomes a model with a Dice",
        "nnunet_prepare_dataset",
        has_result,
        {**FOLD_0, "dataset_id": 7, "name": "Clinic"},
        made=a_folder,
    ),
    Scenario(
        "a misspelt trainer is mended", "nnunet_training", has_result, {**FOLD_0, "trainer": "nnUNetTrainer_100epoch"}
    ),
    Scenario("what waits is let go", "nnunet_runs", has_result, {}, wants=("nnunet_queue",), made=a_held_run),
    Scenario("stop, and go on tomorrow", "nnunet_cancel", has_result, made=one_at_work),
    Scenario(
        "the GPU was too small",
        "nnunet_training",
        has_result,
        {**FOLD_0, "configuration": "3d_fullres"},
        made=no_memory_in_3d,
    ),
    Scenario(
        "the best of all, as a zip for a colleague",
        "nnunet_find_best_configuration",
        lambda step: bool(step.answer.get("archive")),
        {},
        wants=("nnunet_export_model",),
        made=complete_models,
    ),
    Scenario(
        "a colleague's zip, tried on labelled images",
        "nnunet_import_model",
        lambda step: bool(step.answer.get("evaluation")),
        {},
        wants=("nnunet_evaluate",),
        made=a_zip,
    ),
    Scenario(
        "which of my models is better",
        "nnunet_results",
        lambda step: step.tool == "nnunet_compare" and len(step.answer["differences"]) == 1,
        {},
        wants=("nnunet_compare",),
        made=two_models,
    ),
    Scenario(
        "a report for the meeting",
        "nnunet_results",
        lambda step: step.tool == "nnunet_report" and Path(step.answer["file"]).is_file(),
        {},
        wants=("nnunet_report",),
        made=two_models,
        heavy=True,
    ),
    Scenario(
        "first there is no room",
        "nnunet_preflight",
        has_result,
        made=lambda world: world.patch.setattr(disk, "FOLD_BYTES", 1e18),
        does="Free some space",
        undo=lambda world: world.patch.setattr(disk, "FOLD_BYTES", 1.0),
    ),
    Scenario("a fold that somebody left unfinished", "nnunet_training", has_result, made=an_unfinished_fold),
    Scenario("its process was killed", "nnunet_training", has_result, made=killed_once),
)


def walk(world: World, scenario: Scenario) -> list[Step]:
    says = {**scenario.says, **(scenario.made(world) or {})}
    does = {scenario.does: lambda: scenario.undo(world)} if scenario.does else {}

    async def walked() -> list[Step]:
        async with Client(create_server(world.settings)) as client:
            tools = (await client.list_tools()).tools
            person = Person(says, scenario.wants, does)
            try:
                return await Assistant(client, person, tools).reaches(scenario.first, scenario.done)
            except Lost as lost:  # raised where no task group wraps it
                found = lost
        raise found

    return anyio.run(walked)


@pytest.mark.parametrize(
    "scenario", [pytest.param(one, id=one.wish, marks=[pytest.mark.heavy] * one.heavy) for one in SCENARIOS]
)
def test_who_follows_next_step_alone_gets_there(world: World, scenario: Scenario) -> None:
    trail = walk(world, scenario)

    assert scenario.done(trail[-1])


def test_who_is_told_nothing_in_the_next_step_is_lost_whatever_else_the_answer_names() -> None:
    tools = [Listed(name=name, input_schema={"properties": {}}) for name in ("nnunet_runs", "nnunet_training")]
    beside = {"notes": ["nnunet_runs lists them."], "failure": {"remedy": "nnunet_training(fold='1') trains it."}}
    follower = Assistant(Client("nobody is asked"), Person({"fold": "0"}), tools)

    with pytest.raises(Lost, match="no next step"):
        follower.next_call(Step("nnunet_results", {}, {**beside, "next_step": "Look around."}))

    pointed = "Do what failure.remedy says. Then ask whether to start it again: nnunet_training(fold='0')."
    assert follower.next_call(Step("nnunet_results", {}, {**beside, "next_step": pointed}))[0] == "nnunet_training"


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        ("Ask the person whether to train it: nnunet_training(fold='0').", []),
        ("Ask whether to go on, e.g. nnunet_predict(model='a. b'); or to stop: nnunet_cancel(run_id='a').", []),
        ("Ask again: nnunet_preflight(fold='0'). nnunet_training(fold='0') trains.", ["nnunet_training(fold='')"]),
        ("Ask the person whether to wait. nnunet_export_model writes a zip.", ["nnunet_export_model"]),
        ("nnunet_predict(images=…) segments: ask whether.", ["nnunet_predict(images=…)"]),
        ("Ask: nnunet_evaluate or nnunet_import_model.", ["nnunet_evaluate", "nnunet_import_model"]),
        ("nnunet_find_best_configuration() searches; nnunet_runs() lists.", ["nnunet_find_best_configuration()"]),
    ],
)
def test_what_starts_work_without_a_question_in_its_sentence_is_an_order(text: str, orders: list[str]) -> None:
    assert list(orders_in(text)) == orders
