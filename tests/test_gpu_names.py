"""Which GPUs have slots, by which names. A stand-in nvidia-smi, because this is about reading what it says."""

from pathlib import Path

import pytest

from nnunet_mcp.runs.child import worker_environment
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.processes import LANES_VARIABLE
from nnunet_mcp.runs.settings import Settings
from nnunet_mcp.runs.slots import Grant, SlotQueue, find_slots, slot_holder, slot_names
from tests.lab import stand_in_nvidia_smi
from tests.tiny import record_of

FOUR = """case "$*" in *query-gpu=index*) printf '0, GPU-aa11\\n1, GPU-bb22\\n2, GPU-cc33\\n3, GPU-dd44\\n';; esac"""
MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0"


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    stand_in_nvidia_smi(tmp_path, FOUR)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def granted(state: StateDir, run_id: str, *names: str) -> Grant | str:
    """What a run gets that asks for one of these GPUs."""
    queue = SlotQueue(state, "gpu", list(names), run_id, created_at=1.0, stage="train_fold_0")
    answer = queue.try_acquire(1)
    queue.withdraw()
    return answer


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2,3", ["2", "3"]),
        ("GPU-bb22, 0", ["GPU-bb22", "0"]),
        ("GPU-bb", ["GPU-bb"]),
        (MIG, [MIG]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,2", ["1"]),
        ("0,7,1", ["0"]),
    ],
)
def test_the_gpus_are_those_that_cuda_would_see(
    visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert slot_names("gpu", None) == names
    assert slot_names("gpu", 1) == ["0"], "the setting wins"


def test_without_a_gpu_it_is_said_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert find_slots("gpu", None) == ([], "CUDA_VISIBLE_DEVICES='-1' shows no GPU")
    stand_in_nvidia_smi(tmp_path, "echo no driver; exit 9")
    assert find_slots("gpu", None) == ([], "nvidia-smi lists no GPU (no driver)")
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert find_slots("gpu", None) == ([], "nvidia-smi lists no GPU (it is not installed)")


def test_more_gpus_than_there_are_are_waited_for_with_a_reason(state: StateDir) -> None:
    queue = SlotQueue(state, "gpu", ["0"], "d001", created_at=1.0, stage="train_fold_0")

    assert queue.try_acquire(2) == "waits for a slot: 2 gpu slots are needed and there are 1"
    queue.withdraw()


def test_a_gpu_has_one_slot_under_all_its_names_and_in_every_container(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = granted(state, "d001", "1")
    assert isinstance(grant, Grant)

    monkeypatch.setattr("socket.gethostname", lambda: "container")

    answer = granted(state, "d002", "GPU-bb22")
    assert answer == "waits for a slot: gpu slot GPU-bb22 is held by run d001 (train_fold_0)"
    grant.release()


def test_the_worker_gets_the_names_as_they_were_and_the_order_of_nvidia_smi(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, grant = record_of(settings, device="cuda"), granted(state, "d001", MIG)
    assert isinstance(grant, Grant)
    stage = state.run("d001").stage("train_fold_0")

    environment = worker_environment(stage, record, grant)
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["CUDA_DEVICE_ORDER"]) == (MIG, "PCI_BUS_ID")

    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert worker_environment(stage, record, grant)["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST", "the user has said it"
    grant.release()


@pytest.mark.parametrize(("gpus", "each", "lanes"), [(1, 1, "1"), (4, 1, "4"), (4, 2, "4")])
def test_the_worker_is_told_how_many_can_train_beside_it(
    state: StateDir, settings: Settings, gpus: int, each: int, lanes: str
) -> None:
    names = [str(number) for number in range(gpus)]
    queue = SlotQueue(state, "gpu", names, "d001", created_at=1.0, stage="train_fold_0")
    grant, record = queue.try_acquire(each), record_of(settings, device="cuda", num_gpus=each)
    assert isinstance(grant, Grant)

    environment = worker_environment(state.run("d001").stage("train_fold_0"), record, grant)

    assert environment[LANES_VARIABLE] == lanes
    grant.release()


def test_a_gpu_that_other_peoples_processes_use_is_not_free(state: StateDir, tmp_path: Path) -> None:
    stand_in_nvidia_smi(tmp_path, 'case "$*" in *compute-apps*--id=0*) echo 4242;; esac')

    one, two = granted(state, "d001", "0", "1"), granted(state, "d002", "0")

    assert isinstance(one, Grant) and one.devices == ["1"]
    assert isinstance(two, str) and "GPU 0 is used by other processes (pid 4242)" in two
    assert slot_holder(state, "gpu", "0") == "other processes (pid 4242)"
    one.release()
