"""Two runs never write the same fold folder, whoever asks and however fast."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.requests import AskedAs
from nnunet_mcp.runs.store import find_run, new_run_id, newest_runs, record_run
from nnunet_mcp.schemas.records import EngineRecord, RunRecord, StageState
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.helping import helped
from tests.kit.tiny import record_of

FOLD = "Dataset001_Tiny/nnUNetTrainer__nnUNetPlans__2d/fold_0"
RACE = """
import sys
from pathlib import Path
from nnunet_mcp.errors import Refused
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import RunRecord
record = RunRecord.model_validate_json(sys.argv[2])
print("ready", flush=True)
input()
try:
    run, new = record_run(StateDir(Path(sys.argv[1])), record, [sys.argv[3]], repeat_window_s=0)
    print("won" if new else "repeat", run.run_id)
except Refused as refused:
    print("refused", refused)
"""


@pytest.fixture
def state(settings: Settings) -> StateDir:
    return StateDir(settings.state_dir)


def numbered(settings: Settings, number: int, **fields: object) -> RunRecord:
    request = {"dataset_id": 1, "configuration": "2d", "fold": "0", "npz": bool(number % 2)}
    return record_of(settings, run_id=f"d001-2d-f0-tt{number:02d}", **{"request": request, **fields})


def end(run: RunDir) -> None:
    write_model(run.stage("train_fold_0").state_file, StageState(status="success"))


@pytest.mark.heavy
def test_of_eight_processes_that_start_the_same_training_one_wins(settings: Settings, state: StateDir) -> None:
    racers = []
    for number in range(8):
        text = numbered(settings, number, request={"fold": "0", "trainer": f"T{number}"}).model_dump_json()
        command = [sys.executable, "-c", RACE, str(state.path), text, FOLD]
        racers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"

    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=30)[0] for racer in racers]

    won = [answer for answer in answers if answer.startswith("won")]
    assert len(won) == 1, answers
    winner = won[0].split()[1]
    assert all(f"Run {winner} is already active" in answer for answer in answers if answer not in won)
    assert list(state.run_ids()) == [winner]


def test_a_second_run_on_the_same_fold_is_told_the_first_one(settings: Settings, state: StateDir) -> None:
    first, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)

    with pytest.raises(Refused, match=rf"{first.run_id} is already active.*nnunet_progress.*nnunet_cancel"), helped():
        record_run(state, numbered(settings, 2), ["Dataset001_Tiny/other/fold_0", FOLD], repeat_window_s=60)

    assert list(state.run_ids()) == [first.run_id]


def test_an_ended_run_frees_its_fold(settings: Settings, state: StateDir) -> None:
    first, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)
    end(first)

    _, new = record_run(state, numbered(settings, 2), [FOLD], repeat_window_s=60)

    assert new


def test_other_folds_can_run_beside_it(settings: Settings, state: StateDir) -> None:
    record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)

    _, new = record_run(state, numbered(settings, 2), [FOLD.replace("fold_0", "fold_1")], repeat_window_s=60)

    assert new


def test_the_same_request_again_gets_the_run_that_it_started(settings: Settings, state: StateDir) -> None:
    first, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)

    again, new = record_run(state, numbered(settings, 3), [FOLD], repeat_window_s=60)

    assert (again, new) == (first, False)


def test_the_same_request_much_later_is_refused(settings: Settings, state: StateDir) -> None:
    record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)

    with pytest.raises(Refused, match="already active"):
        record_run(state, numbered(settings, 3, created_at=time.time() + 61), [FOLD], repeat_window_s=60)


def test_a_claim_whose_run_was_never_written_claims_nothing(settings: Settings, state: StateDir) -> None:
    run, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)
    run.run_file.unlink()

    _, new = record_run(state, numbered(settings, 2), [FOLD], repeat_window_s=60)

    assert new


def test_a_run_exists_whole_or_not_at_all(settings: Settings, state: StateDir) -> None:
    record = numbered(settings, 1)
    (state.runs_dir / record.run_id / "in the way").mkdir(parents=True)

    with pytest.raises(OSError):
        record_run(state, record, [FOLD], repeat_window_s=60)

    assert [path.name for path in state.runs_dir.iterdir()] == [record.run_id]


def test_an_unknown_run_names_the_newest_ones(settings: Settings, state: StateDir) -> None:
    with pytest.raises(NotFound, match="There are no runs yet"):
        find_run(state, "d001-2d-f0-none")
    for number in range(7):
        run, _ = record_run(state, numbered(settings, number), [str(number)], repeat_window_s=0)
        end(run)

    with (
        pytest.raises(NotFound, match=r"no run 'd001-2d-f0-none'.*newest are d001-2d-f0-tt06, .*tt02\. nnunet_runs"),
        helped(),
    ):
        find_run(state, "d001-2d-f0-none")


@pytest.mark.parametrize("name", [".", "..", "../runs", "/", ".hidden", "a/b"])
def test_a_run_id_cannot_leave_its_folder(settings: Settings, state: StateDir, name: str) -> None:
    run, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=0)
    for other in (state.path, state.runs_dir, state.runs_dir / ".hidden"):
        other.mkdir(exist_ok=True)
        (other / "run.json").write_bytes(run.run_file.read_bytes())

    with pytest.raises(NotFound):
        find_run(state, name)


def test_a_training_started_by_hand_can_only_be_looked_at(state: StateDir) -> None:
    with pytest.raises(Refused, match="started by hand"):
        find_run(state, "x004-2d-0-abcdef")


def test_a_damaged_run_does_not_hide_the_others(settings: Settings, state: StateDir) -> None:
    good, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=0)
    (state.runs_dir / "d001-2d-f0-torn").mkdir()
    (state.runs_dir / "d001-2d-f0-torn" / "run.json").write_text('{"run_id": "d0', encoding="utf-8")

    assert good.run_id in [run.run_id for run in newest_runs(state)]
    assert find_run(state, good.run_id)[1].run_id == good.run_id


def test_run_ids_are_readable_and_never_the_same() -> None:
    ids = {new_run_id(4, "3d_fullres", "0") for _ in range(200)}

    assert len(ids) > 195
    assert all(found.startswith("d004-3d_fullres-f0-") for found in ids)
    assert new_run_id(4, "2d", "all").startswith("d004-2d-all-")


def test_a_path_with_odd_characters_is_no_obstacle(settings: Settings, tmp_path: Path) -> None:
    odd = StateDir(tmp_path / "a folder with 'quotes', spaces & ümlauts")

    run, new = record_run(odd, numbered(settings, 1), [FOLD], repeat_window_s=60)

    assert new and run.record() is not None


def test_a_request_id_finds_its_run_unless_that_was_never_started_and_its_time_is_over(
    settings: Settings, state: StateDir
) -> None:
    asked = AskedAs("mine", {"dataset_id": 1})
    late = numbered(settings, 1, created_at=time.time() - 3600)
    never_started, _ = record_run(state, late, [FOLD], repeat_window_s=0, asked=asked)

    anew, new = record_run(state, numbered(settings, 2), [FOLD], repeat_window_s=0, asked=asked)
    assert new and anew.run_id != never_started.run_id
    assert record_run(state, numbered(settings, 3), [FOLD], repeat_window_s=0, asked=asked) == (anew, False)


def test_an_identical_start_under_an_id_of_its_own_is_found_by_that_id_for_ever(
    settings: Settings, state: StateDir
) -> None:
    first, _ = record_run(state, numbered(settings, 1), [FOLD], repeat_window_s=60)
    asked = AskedAs("mine", {"dataset_id": 1})
    same = numbered(settings, 1).model_copy(update={"run_id": "d001-2d-f0-same"})
    assert record_run(state, same, [FOLD], repeat_window_s=60, asked=asked) == (first, False)

    end(first)
    write_model(first.engine_file, EngineRecord(supervisor=mark_of(os.getpid())))
    assert record_run(state, same, [FOLD], repeat_window_s=0, asked=asked) == (first, False)
