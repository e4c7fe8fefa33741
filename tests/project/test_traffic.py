"""How much of the house one call walks through: the bounds are the figures of now."""

import pytest

from tests.project.house import Traffic, traffic

# Aims: 20 for a training, until its supervisor is started, and 9 for the progress.
FILES_CROSSED = {
    "nnunet_training": 36,
    "nnunet_progress": 26,
    "nnunet_results": 26,
    "nnunet_runs": 30,
    "nnunet_dashboard_data": 35,
}
READERS = ("nnunet_progress", "nnunet_results", "nnunet_runs", "nnunet_dashboard_data")


@pytest.fixture(scope="module")
def measured() -> Traffic:
    return traffic()


@pytest.mark.parametrize("tool", FILES_CROSSED)
def test_a_call_crosses_few_files(measured: Traffic, tool: str) -> None:
    crossed = measured["crossed"][tool]
    assert len(crossed) <= FILES_CROSSED[tool], crossed


@pytest.mark.parametrize("state", ["running", "finished"])
@pytest.mark.parametrize("tool", READERS)
def test_an_answer_reads_no_file_of_a_run_twice(measured: Traffic, tool: str, state: str) -> None:
    counts = measured["reads"][f"{tool}, {state}"]
    assert counts["run.json"] >= 1, "the reads are counted"
    assert {file: count for file, count in counts.items() if count > 1} == {}
