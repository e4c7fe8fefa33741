"""Faults that nnU-Net takes without a word are named by a look, with their remedy; what is sound stays unnamed."""

import re
from pathlib import Path

import pytest

from nnunet_mcp.errors import RunError
from nnunet_mcp.nnunet.cases import file_problems, file_warnings
from nnunet_mcp.nnunet.dataset_json import read_description, region_fault
from nnunet_mcp.nnunet.datasets import DatasetFiles
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.data.findings import findings
from nnunet_mcp.tools.data.looks import Looks, case_paths, reader_of
from nnunet_mcp.worker.asks.inspection.cases import look_at_case
from tests.kit.tiny import ask
from tests.tools.data.miniatures import FAULTS, REGIONS, SOUND, Miniature, damaged, four_values

NAME = "Dataset003_Odd"


def named(miniature: Miniature) -> str:
    return miniature.name


def seen(settings: Settings) -> tuple[list[str], list[str]]:
    """What a look finds, without the process that it is made in: a second for each of so many."""
    files = DatasetFiles(settings.folders, NAME)
    try:
        description = read_description(files.raw)
    except RunError as error:
        return [str(error)], []
    cases, _ = case_paths(files, description, settings)
    reader = reader_of(description)
    found = {case.case: look_at_case(case, reader) for case in cases}
    odd = findings(Looks(len(cases), reader, found), description)
    problems = [*file_problems(files.raw, description), *odd.problems]
    warnings = [*file_warnings(files.raw, description), *odd.warnings]
    if fault := region_fault(description):
        (problems if fault.has_remedy else warnings).append(fault.told)
    return problems, warnings


@pytest.mark.parametrize("miniature", FAULTS, ids=named)
def test_a_fault_is_named_with_its_remedy(settings: Settings, miniature: Miniature) -> None:
    miniature.make(settings.folder("raw") / NAME)

    problems, warnings = seen(settings)

    sentences = problems if miniature.certain else warnings
    assert any(re.search(miniature.said, sentence) for sentence in sentences), (problems, warnings)
    assert miniature.certain or not problems, problems
    assert all(len(sentence) < 700 for sentence in problems + warnings)


@pytest.mark.parametrize("miniature", SOUND, ids=named)
def test_what_is_sound_is_not_named(settings: Settings, miniature: Miniature) -> None:
    miniature.make(settings.folder("raw") / NAME)

    assert seen(settings) == ([], [])


def test_there_are_many_miniatures() -> None:
    assert len({miniature.name for miniature in FAULTS}) == len(FAULTS) >= 47


@pytest.mark.heavy
@pytest.mark.parametrize("miniature", FAULTS, ids=named)
def test_a_certain_fault_is_refused_before_a_training(settings: Settings, miniature: Miniature) -> None:
    miniature.make(settings.folder("raw") / NAME)

    (found,) = ask(settings, "nnunet_datasets", dataset_id=3)["datasets"]
    wanted = {"dataset_id": 3, "configuration": "2d", "fold": "full", "device": "cpu"}
    refused = ask(settings, "nnunet_preflight", **wanted)["problems"]

    sentences = found["problems"] if miniature.certain else found["warnings"]
    assert any(re.search(miniature.said, sentence) for sentence in sentences), found
    falsifies = any("same file as" in said or "nothing to learn" in said for said in sentences)
    assert bool(refused) == (miniature.certain and not falsifies), refused


@pytest.mark.heavy
def test_real_data_have_no_warnings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, hippocampus: Path, nuclei: Path
) -> None:
    monkeypatch.setenv("NNUNET_MCP_ALLOWED_DIRS", f"{hippocampus}:{nuclei}")
    settings = Settings()
    for dataset_id, source in ((4, hippocampus), (5, nuclei)):
        ask(settings, "nnunet_prepare_dataset", source=str(source), dataset_id=dataset_id, name="Real")

        (found,) = ask(settings, "nnunet_datasets", dataset_id=dataset_id)["datasets"]

        assert (found.get("problems", []), found.get("warnings", [])) == ([], [])


@pytest.mark.parametrize("order", [[1, 2, 3], [4, 2, 1]])
def test_an_order_of_regions_stops_only_a_new_training_and_is_told_everywhere(
    settings: Settings, order: list[int]
) -> None:
    named_so, raw = f"regions_class_order {order} writes", settings.folder("raw") / NAME
    damaged(four_values, labels=REGIONS, regions_class_order=order)(raw)
    wanted = {"dataset_id": 3, "configuration": "2d", "device": "cpu"}
    copied = {"source": str(raw), "dataset_id": 4, "name": "Again"}

    new, resumed, validated = (
        ask(settings, "nnunet_preflight", **wanted, **more)["problems"]
        for more in ({}, {"continue_training": True}, {"validation_only": True})
    )
    told = (
        new,
        ask(settings, "nnunet_split_dataset", dataset_id=3, stratify=False)["notes"],
        ask(settings, "nnunet_prepare_dataset", **copied)["doubts"],
        ask(settings, "nnunet_datasets")["datasets"][0]["problems"],
    )

    assert {named_so in " ".join(texts) for texts in told} == {order == [1, 2, 3]}
    assert named_so not in " ".join((*resumed, *validated))
