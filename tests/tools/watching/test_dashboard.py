"""The dashboard: small answers about anything, and a page that loads nothing."""

import json
import math
import re
from collections.abc import Sequence

import anyio
import pytest
from mcp import Client
from mcp.types import CallToolResult

from nnunet_mcp.files import write_model, write_text
from nnunet_mcp.nnunet.datasets import DatasetFiles, FoldFiles
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import (
    CaseMetrics,
    ClassMetrics,
    Epoch,
    Metrics,
    RunRecord,
    StageSpec,
    StageState,
)
from nnunet_mcp.server.app import create_server
from nnunet_mcp.server.dashboard import PAGE_URI, page_html
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.watching.curves import POINTS_OF_A_RUN, POINTS_OF_A_STAGE, sparkline, thinned
from tests.kit.lab import ToolRefused
from tests.kit.tiny import ask, record_of, stage
from tests.kit.wire import INITIALIZE, Wire
from tests.server.test_contract import DISCOVER, wire

__all__ = ["wire"]  # a fixture, used by its name
MIME = "text/html;profile=mcp-app"
HOSTILE = "Dataset001_<img src=x onerror=alert(1)>"
FOLDS = tuple(stage(f"train_fold_{fold}") for fold in range(5))


def epoch(number: int, **fields: float | tuple[float | None, ...] | None) -> Epoch:
    wave = math.sin(number) - 0.123456789
    known = {"train_loss": wave, "val_loss": wave, "pseudo_dice": 0.5 + wave / 3, "ema_pseudo_dice": 0.5 + wave / 9}
    return Epoch.model_validate({"epoch": number, "learning_rate": 0.01, "seconds": 1.5, **known, **fields})


def write_run(settings: Settings, record: RunRecord, epochs: Sequence[Epoch] = ()) -> None:
    """A recorded run whose training stages all have these epochs."""
    run = StateDir(settings.state_dir).run(record.run_id)
    lines = "".join(f"{line.model_dump_json()}\n" for line in epochs)
    for spec in record.stages:
        run.stage(spec.name).path.mkdir(parents=True)
        if spec.kind == "train" and epochs:
            write_text(run.stage(spec.name).epochs_file, lines, durable=False)
    write_model(run.run_file, record, durable=False)


@pytest.mark.heavy
@pytest.mark.parametrize("stages", [FOLDS[:1], (stage("preprocess"), *FOLDS, stage("cross_validation")), FOLDS * 2])
def test_ten_thousand_epochs_and_a_thousand_runs_stay_small(settings: Settings, stages: tuple[StageSpec, ...]) -> None:
    long = "Dataset001_" + "x" * 200
    unique = tuple(spec.model_copy(update={"name": f"{spec.name}_{i}"}) for i, spec in enumerate(stages))
    for number in range(999):
        write_run(settings, record_of(settings, run_id=f"d001-3d_cascade_fullres-f0-{number:04d}", dataset_name=long))
    record = record_of(settings, *unique, run_id="d001-3d_cascade_fullres-full-long", dataset_name=long)
    write_run(settings, record, [epoch(number) for number in range(10_000)])

    data = ask(settings, "nnunet_dashboard_data", run_id=record.run_id)
    answer = ask(settings, "nnunet_dashboard", run_id=record.run_id)

    assert data["total"] == 1000
    assert len(json.dumps(data)) <= 30_000
    assert len(json.dumps(answer, ensure_ascii=False)) <= 1_500
    lengths = [len(curves["epoch"]) for curves in data["run"]["curves"]]
    assert len(lengths) == len([spec for spec in stages if spec.kind == "train"])
    assert max(lengths) <= POINTS_OF_A_STAGE and sum(lengths) <= POINTS_OF_A_RUN
    assert all(curves["epoch"][-1] == 10_000 for curves in data["run"]["curves"])


def test_the_worst_cases_of_a_fold_are_there_as_soon_as_it_is_measured(settings: Settings) -> None:
    write_run(settings, record_of(settings, *FOLDS, run_id="d001-2d-all-aaaa"))
    cases = tuple(CaseMetrics(case=f"case {number}", dice=1 - number / 10) for number in range(6))
    outcome = ModelOutcome(ok=True, metrics=Metrics(dice=0.7, iou=0.6, validation_loss=None), cases=cases)
    write_model(StateDir(settings.state_dir).run("d001-2d-all-aaaa").stage("train_fold_1").outcome_file, outcome)

    scores = ask(settings, "nnunet_dashboard_data")["run"]["scores"]

    shown = [[case["case"] for case in fold["worst_cases"]] for fold in scores["folds"]]
    assert shown == [[], ["case 5", "case 4", "case 3"], [], [], []] and scores["worst_cases"] == []
    assert "worst_cases" not in ask(settings, "nnunet_results", run_id="d001-2d-all-aaaa")["folds"][1]


def test_a_result_with_a_hundred_classes_and_endless_names_stays_small(settings: Settings) -> None:
    stages = (*FOLDS, *(stage(f"train_lowres_fold_{fold}") for fold in range(5)))
    for number in range(20):
        write_run(settings, record_of(settings, run_id=f"d001-2d-f0-{number:04d}", dataset_name="x" * 200))
    record = record_of(settings, *stages, dataset_name="x" * 200, notes=("n" * 900,) * 6)
    write_run(settings, record, [epoch(number) for number in range(10_000)])
    third = 1 / 3
    outcome = ModelOutcome(
        ok=True,
        model_path="/data/" + "p" * 400,
        metrics=Metrics(dice=third, iou=third, validation_loss=-third),
        per_class=tuple(ClassMetrics(label="l" * 90, dice=third, iou=third) for _ in range(104)),
        cases=tuple(CaseMetrics(case="c" * 90, dice=third) for _ in range(50)),
    )
    for spec in stages:
        folder = StateDir(settings.state_dir).run(record.run_id).stage(spec.name)
        write_model(folder.state_file, StageState(status="success", started_at=1.0, ended_at=1e6), durable=False)
        write_model(folder.outcome_file, outcome, durable=False)

    data = ask(settings, "nnunet_dashboard_data", run_id=record.run_id)

    assert len(json.dumps(data)) <= 31_000
    assert (len(data["run"]["scores"]["classes"]), data["run"]["scores"]["classes_left_out"]) == (20, 84)
    assert data["run"]["scores"]["metrics"]["dice"] == 0.3333


@pytest.mark.parametrize("count", [1, 2, 199, 200, 201, 1000, 1001, 9_999])
def test_a_thinned_history_is_short_and_ends_with_the_last_epoch(count: int) -> None:
    epochs = [epoch(number) for number in range(count)]

    every, shown = thinned(epochs, POINTS_OF_A_STAGE)

    assert len(shown) <= POINTS_OF_A_STAGE and shown[-1] is epochs[-1]
    assert [found.epoch + 1 for found in shown[:-1]] == list(range(every, count, every))
    assert count > POINTS_OF_A_STAGE or shown == epochs


def test_the_usual_thousand_epochs_show_every_fifth_and_every_tenth_of_five_folds() -> None:
    epochs = [epoch(number) for number in range(1000)]

    assert thinned(epochs, POINTS_OF_A_STAGE)[0] == 5
    assert thinned(epochs, POINTS_OF_A_RUN // 5)[0] == 10


def test_each_class_has_its_curve_where_the_page_asks_for_it(settings: Settings) -> None:
    record = record_of(settings)
    folder = settings.folder("preprocessed") / record.dataset_name
    folder.mkdir()
    write_text(folder / "dataset.json", json.dumps({"labels": {"background": 0, "b": 2, "a": 1}}))
    write_run(settings, record, [epoch(0), epoch(1, pseudo_dice_per_class=(0.1, None))])

    (curves,) = ask(settings, "nnunet_dashboard_data", classes=True)["run"]["curves"]

    assert curves["classes"] == {"a": [None, 0.1], "b": [None, None]}
    assert ask(settings, "nnunet_dashboard_data")["run"]["curves"][0]["classes"] == {}


def test_the_page_lists_and_filters_all_runs(settings: Settings) -> None:
    for number in range(30):
        write_run(
            settings, record_of(settings, run_id=f"d{number % 3:03d}-2d-f0-{number:04d}", created_at=1.0 + number)
        )

    every = ask(settings, "nnunet_dashboard_data", limit=500)
    assert (len(every["runs"]), every["total"], every["datasets"]) == (30, 30, [1, 2]), "0 stands for no dataset"
    found = ask(settings, "nnunet_dashboard_data", dataset_id=2, status="interrupted", search="-2D-F0-", limit=3)
    assert (len(found["runs"]), found["total"]) == (3, 10)
    assert {run["run_id"][:5] for run in found["runs"]} == {"d002-"}


def test_a_run_with_a_checkpoint_can_be_resumed_from_the_page(settings: Settings) -> None:
    record = record_of(settings, created_at=1.0)
    write_run(settings, record, [epoch(number) for number in range(5)])
    assert ask(settings, "nnunet_dashboard_data")["run"]["resume"] is None
    files = DatasetFiles(record.folders, record.dataset_name)
    fold = FoldFiles(files.fold_of(record, record.stages[0]))
    fold.path.mkdir(parents=True)
    fold.owner_file.write_text(record.run_id, encoding="utf-8")
    fold.latest.write_bytes(b"weights")

    resume = ask(settings, "nnunet_dashboard_data")["run"]["resume"]

    assert resume["arguments"] == {"dataset_id": 1, "like": record.run_id, "continue_training": True}
    assert "goes on" in resume["meaning"] and "nnunet_" not in resume["meaning"]


def test_a_missing_number_is_null_and_a_gap(settings: Settings) -> None:
    nothing = {"train_loss": None, "val_loss": None, "pseudo_dice": None, "ema_pseudo_dice": None}
    record = record_of(settings)
    write_run(settings, record, [epoch(0), epoch(1, **nothing), epoch(2)])

    (curves,) = ask(settings, "nnunet_dashboard_data")["run"]["curves"]

    assert curves["train_loss"][1] is None and None not in (curves["train_loss"][0], curves["train_loss"][2])
    assert sparkline([0.0, None, 1.0]) == "▁ █"
    assert sparkline([None]) == "" and sparkline([3.0]) == "▁"


def test_the_answer_in_words_has_curves_and_says_what_pseudo_dice_is(settings: Settings) -> None:
    record = record_of(settings)
    write_run(settings, record, [epoch(number) for number in range(50)])

    result = raw(settings, "nnunet_dashboard")

    text = result.content[0].text  # type: ignore[union-attr]
    assert text.startswith(f"{record.run_id}: Dataset001_Tiny, 2d, fold 0\nqueued")
    assert "pseudo Dice (an estimate) " in text and "▁" in text and "█" in text
    assert not re.search(r"(?<!pseudo )Dice", text)
    assert (result.structured_content or {})["text"] in text


def raw(settings: Settings, tool: str) -> CallToolResult:
    async def once() -> CallToolResult:
        async with Client(create_server(settings)) as client:
            return await client.call_tool(tool, {})

    return anyio.run(once)


def test_without_a_run_the_dashboard_says_how_to_start_one(settings: Settings) -> None:
    assert "nnunet_training" in ask(settings, "nnunet_dashboard")["next_step"]
    data = ask(settings, "nnunet_dashboard_data")
    assert (data["runs"], data["run"], data["retry_after_s"]) == ([], None, 0)


def test_a_run_that_works_is_shown_before_a_newer_one_that_is_at_rest(settings: Settings) -> None:
    write_run(settings, record_of(settings, run_id="d001-2d-f0-work"))
    write_run(settings, record_of(settings, run_id="d001-2d-f1-rest", created_at=1.0))

    assert ask(settings, "nnunet_dashboard")["run_id"] == "d001-2d-f0-work"
    assert ask(settings, "nnunet_dashboard", run_id="d001-2d-f1-rest")["run_id"] == "d001-2d-f1-rest"
    with pytest.raises(ToolRefused, match="There is no run"):
        ask(settings, "nnunet_dashboard_data", run_id="d001-2d-f0-none")


def test_only_a_server_that_can_cancel_or_move_offers_it(settings: Settings) -> None:
    write_run(settings, record_of(settings))

    async def offered(*, read_only: bool) -> tuple[bool, list[str]]:
        async with Client(create_server(settings, read_only=read_only)) as client:
            result = await client.call_tool("nnunet_dashboard_data", {})
            run = (result.structured_content or {})["run"]
            return run["can_cancel"], run["queue"]

    assert anyio.run(lambda: offered(read_only=False)) == (True, ["front", "hold"])
    assert anyio.run(lambda: offered(read_only=True)) == (False, [])


def test_the_page_is_one_small_file_that_loads_nothing() -> None:
    page = page_html()

    assert len(page.encode()) <= 64_000
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search(r"\b(src|href)\s*=|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|WebSocket", page)
    assert "/* style.css */" not in page and "/* scripts */" not in page


def test_the_page_sets_text_only_as_text_and_asks_in_the_page(settings: Settings) -> None:
    page = page_html()
    write_run(settings, record_of(settings, dataset_name=HOSTILE))

    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", page)
    assert not re.search(r"\b(confirm|alert|prompt)\(", page)
    assert ask(settings, "nnunet_dashboard_data")["run"]["facts"]["dataset"] == HOSTILE


@pytest.mark.parametrize("modern", [False, True])
def test_the_page_and_its_tools_are_served_in_both_protocol_eras(wire: Wire, modern: bool) -> None:
    wire.request("server/discover", DISCOVER) if modern else wire.request("initialize", INITIALIZE)
    base = DISCOVER if modern else {}

    tools = {tool["name"]: tool for tool in wire.request("tools/list", {**base})["result"]["tools"]}
    found = wire.request("resources/read", {**base, "uri": PAGE_URI})["result"]["contents"][0]

    assert tools["nnunet_dashboard"]["_meta"] == {"ui": {"resourceUri": PAGE_URI}}
    assert tools["nnunet_dashboard_data"]["_meta"]["ui"]["visibility"] == ["app"]
    assert found["mimeType"] == MIME and found["text"] == page_html()
