"""Which GPUs have slots, by which names, and which of them a run gets. A stand-in nvidia-smi says what there is."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import write_model
from nnunet_mcp.locks import Lock
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local import slots
from nnunet_mcp.runs.local.places import Place, find_places, slot_path
from nnunet_mcp.runs.local.slots import SlotQueue, slot_holder
from nnunet_mcp.runs.machine import gpus
from nnunet_mcp.runs.processes import LANES_VARIABLE
from nnunet_mcp.runs.stage_process import Grant, worker_environment
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import RunRecord
from nnunet_mcp.settings import Settings
from tests.kit.gpus import GIB, Card, nvidia_smi_shows
from tests.kit.lab import stand_in_nvidia_smi, until
from tests.kit.tiny import record_of

FOUR = [Card(uuid) for uuid in ("GPU-aa11", "GPU-bb22", "GPU-cc33", "GPU-dd44")]
ALL = [card.uuid for card in FOUR]
TARGET = "gpu_memory_target"
MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/0"
HOLD = """
import fcntl, sys
stream = open(sys.argv[1], "rb")
fcntl.flock(stream, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


@pytest.fixture(autouse=True)
def four_gpus(no_gpus: None, tmp_path: Path) -> None:
    nvidia_smi_shows(tmp_path, *FOUR)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


def names(state: StateDir, **settings: Any) -> list[str]:
    return [place.name for place in find_places("gpu", state, Settings(**settings))[0]]


def named_places(state: StateDir, share: str = "") -> list[Place]:
    """Four GPUs, or another share of each."""
    return [Place("gpu", name, slot_path(state, "gpu", name + share), name) for name in "0123"]


def why_none(state: StateDir) -> str:
    places, why = find_places("gpu", state, Settings())
    assert not places
    return why


def granted(
    state: StateDir, run_id: str, *, wanted: int = 1, record: RunRecord | None = None, **settings: Any
) -> Grant | str:
    """What a run gets that asks for GPUs."""
    places, why = find_places("gpu", state, Settings(**settings), record=record)
    queue = SlotQueue(state, "gpu", places, run_id, created_at=1.0, stage="train_fold_0", why_none=why)
    answer = queue.try_acquire(wanted)
    queue.withdraw()
    return answer


def given(answer: Grant | str) -> list[str]:
    """The GPUs of a grant, which is given back."""
    assert isinstance(answer, Grant), answer
    answer.release()
    return answer.devices


@pytest.mark.parametrize(
    ("visible", "seen"),
    [
        (None, ALL),
        ("2,3", ["GPU-cc33", "GPU-dd44"]),
        ("GPU-bb22, 0", ["GPU-bb22", "GPU-aa11"]),
        ("GPU-bb", ["GPU-bb22"]),
        (MIG, [MIG]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,2", ["GPU-bb22"]),
        ("0,7,1", ["GPU-aa11"]),
        ("0,0", ["GPU-aa11"]),
    ],
)
def test_the_gpus_are_those_that_cuda_would_see(
    visible: str | None, seen: list[str], state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert names(state) == seen
    assert names(state, gpus=1) == seen[:1], "the setting takes fewer of them, and never another card"


@pytest.mark.heavy  # asks the real PyTorch
def test_a_number_of_gpus_is_believed_only_where_no_driver_of_nvidia_could_tell_them(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in_nvidia_smi(tmp_path, "echo the driver is away; exit 9")
    assert names(state, gpus=2) == [], "two runs could get one GPU under two names"

    (tmp_path / "nvidia-smi").unlink()
    gpus.MACHINE.forget()
    assert names(state, gpus=2) == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert names(state, gpus=1) == ["3"]


def test_of_fewer_than_there_are_the_largest_are_used(state: StateDir, tmp_path: Path) -> None:
    nvidia_smi_shows(tmp_path, Card("GPU-small", total=2 * GIB), Card("GPU-large"))

    assert names(state, gpus=1) == ["GPU-large"]


@pytest.mark.heavy
def test_without_a_gpu_it_is_said_why(state: StateDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert why_none(state) == "CUDA_VISIBLE_DEVICES='-1' shows no GPU"
    stand_in_nvidia_smi(tmp_path, "echo no driver; exit 9")
    assert why_none(state) == "nvidia-smi lists no GPU (no driver)"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    gpus.MACHINE.forget()
    assert why_none(state) == "nvidia-smi lists no GPU (it is not installed)"


def test_more_gpus_than_there_are_are_waited_for_with_a_reason_and_keep_nobody_else(state: StateDir) -> None:
    places = find_places("gpu", state, Settings(gpus=1))[0]
    queue = SlotQueue(state, "gpu", places, "d001", created_at=1.0, stage="train_fold_0")

    assert queue.try_acquire(2) == "waits for a slot: 2 gpu slots are needed and there are 1"
    assert given(granted(state, "d002", gpus=1))
    queue.withdraw()


def test_a_gpu_has_one_slot_under_all_its_names_and_in_every_container(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    grant = granted(state, "d001")
    assert isinstance(grant, Grant)

    monkeypatch.setattr("socket.gethostname", lambda: "container")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb22")

    answer = granted(state, "d002")
    assert answer == "waits for a slot: gpu slot 1 (NVIDIA RTX 4090) is held by run d001 (train_fold_0)"
    grant.release()


def test_a_gpu_that_only_pytorch_tells_of_has_the_same_slot_or_none(
    state: StateDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grant = granted(state, "d001", gpus=1)
    assert isinstance(grant, Grant)
    stand_in_nvidia_smi(tmp_path, "echo the driver is away; exit 9")
    monkeypatch.setattr(gpus, "SIGNS", (str(tmp_path),))

    def where_pytorch_says(device: str) -> Grant | str:
        gpus.MACHINE.forget()
        python = tmp_path / f"python{len(device)}"
        python.write_text(f"""#!/bin/sh\necho '{{"cuda": "13.0", "devices": [{device}]}}'""", encoding="utf-8")
        python.chmod(0o755)
        return granted(state, "d002", worker_python=str(python))

    assert "is held by run d001" in str(where_pytorch_says('{"uuid": "GPU-aa11", "name": "NVIDIA H200"}'))
    assert "the UUID of GPU 0 (H100 MIG 1g.10gb) is not known now; nvidia-smi lists no GPU (the driver is away)" in str(
        where_pytorch_says('{"uuid": "GPU-aa11", "name": "H100 MIG 1g.10gb"}')
    )
    grant.release()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-7")
    assert given(where_pytorch_says('{"uuid": "GPU-aa11", "name": "H100 MIG 1g.10gb"} ')) == ["MIG-7"]


def test_runs_of_two_state_folders_do_not_get_the_same_gpu(state: StateDir, tmp_path: Path) -> None:
    other = StateDir(tmp_path / "somebody else")
    grant = granted(state, "d001", gpus=1)
    assert isinstance(grant, Grant)

    answer = granted(other, "d002", gpus=1)

    wanted = "waits for a slot: GPU 0 (NVIDIA RTX 4090) is held by a run of another user or state folder"
    assert answer == wanted
    assert slot_holder(find_places("gpu", other, Settings())[0][0]) == "a run of another user or state folder"
    assert given(granted(other, "d002")) == ["GPU-bb22"], "the next one is free"
    grant.release()
    assert given(granted(other, "d002", gpus=1)) == ["GPU-aa11"]


def test_the_hosts_lock_can_be_taken_by_every_user_and_written_by_none(state: StateDir, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        given(granted(state, "d001", gpus=1))
    finally:
        os.umask(before)

    assert (tmp_path / "nnunet-mcp-gpu-GPU-aa11.lock").stat().st_mode & 0o777 == 0o444


def test_a_stranger_who_holds_a_lock_on_an_empty_gpu_holds_it_for_minutes_only(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(granted(state, "d001", gpus=1))
    command = [sys.executable, "-c", HOLD, str(tmp_path / "nnunet-mcp-gpu-GPU-aa11.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None and stranger.stdout.readline() == b"held\n"
        places = find_places("gpu", state, Settings(gpus=1))[0]
        queue = SlotQueue(state, "gpu", places, "d002", created_at=1.0, stage="train_fold_0")
        assert "another user" in str(queue.try_acquire(1))
        monkeypatch.setattr(slots, "EMPTY_S", 0.0)

        assert until(lambda: isinstance(answer := queue.try_acquire(1), Grant) and bool(given(answer)), timeout_s=5)
        stranger.kill()


def test_a_lock_on_a_gpu_of_unknown_memory_holds_for_as_long_as_it_is_held(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_nvidia_smi(tmp_path, 'case "$*" in *query-gpu=index*) echo 0, GPU-aa11;; esac')
    theirs = granted(StateDir(tmp_path / "somebody else"), "d001")
    assert isinstance(theirs, Grant)
    monkeypatch.setattr(slots, "EMPTY_S", -1.0)

    assert "another user" in str(granted(state, "d002"))

    theirs.release()


@pytest.mark.parametrize("make", ["link", "pipe", "folder"])
def test_what_somebody_puts_in_the_place_of_the_hosts_lock_harms_nothing(
    make: str, state: StateDir, tmp_path: Path
) -> None:
    lock, victim = tmp_path / "nnunet-mcp-gpu-GPU-aa11.lock", tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    if make == "link":
        lock.symlink_to(victim)
    elif make == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()

    assert slot_holder(find_places("gpu", state, Settings(gpus=1))[0][0]) is None
    assert given(granted(state, "d001", gpus=1)) == ["GPU-aa11"]
    assert victim.read_text(encoding="utf-8") == "mine"


def test_the_worker_gets_uuids_and_the_order_of_nvidia_smi(
    state: StateDir, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record, grant = record_of(settings, device="cuda"), granted(state, "d001", wanted=2)
    assert isinstance(grant, Grant)
    stage = state.run("d001").stage("train_fold_0")

    environment = worker_environment(stage, record, grant)
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-aa11,GPU-bb22"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"

    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert worker_environment(stage, record, grant)["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST", "the user has said it"
    grant.release()


@pytest.mark.parametrize(
    ("each", "folds", "busy", "lanes"),
    [
        (1, 1, 0, "1"),  # alone on the machine it gets all cores
        (1, 5, 0, "5"),  # two share a GPU
        (1, 3, 0, "3"),
        (1, 1, 2, "3"),
        (2, 1, 0, "2"),
        (2, 2, 1, "5"),
    ],
)
def test_the_worker_is_told_how_many_train_beside_it(
    state: StateDir, settings: Settings, each: int, folds: int, busy: int, lanes: str
) -> None:
    places = [place for share in ("", "-2") for place in named_places(state, share)]
    taken = [Lock(place.lock) for place in places[:busy]]
    assert all(lock.try_acquire() for lock in taken)
    queue = SlotQueue(state, "gpu", places[busy:4] + places[:busy] + places[4:], "d001", 1.0, "train_fold_0")
    queue.beside = each * folds
    grant, record = queue.try_acquire(each), record_of(settings, device="cuda", num_gpus=each)
    assert isinstance(grant, Grant)

    environment = worker_environment(state.run("d001").stage("train_fold_0"), record, grant)

    assert environment[LANES_VARIABLE] == lanes
    grant.release()
    for lock in taken:
        lock.release()


def test_a_gpu_that_other_peoples_programs_fill_is_not_free_and_they_are_named(state: StateDir, tmp_path: Path) -> None:
    full = Card("GPU-aa11", used=20 * GIB)
    nvidia_smi_shows(tmp_path, full, Card("GPU-bb22"), apps="GPU-aa11, 4242, /usr/bin/python3, 20000")
    used = "21 of its 26 GB are used by pid 4242 (python3, 21 GB)"

    one = granted(state, "d001")
    two = granted(state, "d002")

    assert isinstance(one, Grant) and one.devices == ["GPU-bb22"]
    assert isinstance(two, str) and f"GPU 0 (NVIDIA RTX 4090) is used by others: {used}" in two
    holder = slot_holder(find_places("gpu", state, Settings())[0][1])
    assert holder == f"others: {used}; NNUNET_MCP_SHARE_GPUS=2 trains beside them"
    one.release()


@pytest.mark.parametrize(
    ("card", "apps"),
    [
        (Card("GPU-aa11", used=1500), "GPU-aa11, 4242, jupyter, 500"),
        (Card("GPU-aa11", used=1900), "GPU-aa11, 4242, /usr/libexec/gnome-remote-desktop, 300"),
        (Card("GPU-aa11"), "GPU-aa11, [N/A], [N/A], [N/A]"),
        (Card("GPU-aa11"), "GPU-aa11, 7, nvidia-cuda-mps-server, 60"),
        (Card("GPU-aa11", total=80 * GIB, used=8 * GIB), "GPU-aa11, 4242, python3, 8000"),
    ],
)
def test_what_leaves_a_training_enough_memory_keeps_nobody_waiting(
    card: Card, apps: str, state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    nvidia_smi_shows(tmp_path, card, apps=apps)

    assert given(granted(state, "d001", record=record_of(settings, device="cuda"))) == ["GPU-aa11"]


def test_where_the_memory_is_not_told_processes_decide(state: StateDir, tmp_path: Path) -> None:
    script = """case "$*" in *query-gpu=index*) echo 0, GPU-aa11;; *apps*) echo GPU-aa11, {}, [N/A];; esac"""
    stand_in_nvidia_smi(tmp_path, script.format("4242, python3"))
    assert "is used by others: pid 4242 (python3)" in str(granted(state, "d001"))

    stand_in_nvidia_smi(tmp_path, script.format("7, nvidia-cuda-mps-server"))
    assert given(granted(state, "d001")) == ["GPU-aa11"]


def test_on_request_stages_share_a_gpu_as_long_as_its_memory_lasts(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record, grants = record_of(settings, device="cuda"), list[Grant]()
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=80 * GIB, used=8 * GIB), apps="GPU-aa11, 4242, python3, 8000")

    for run_id in ("d001", "d002"):
        grant = granted(state, run_id, record=record, share_gpus=2)
        assert isinstance(grant, Grant) and grant.devices == ["GPU-aa11"]
        grants.append(grant)

    assert "held by run d001" in str(granted(state, "d003", record=record, share_gpus=2))
    lacking = "waits for a slot: 2 gpu slots are needed and there are 1"
    assert granted(state, "d003", wanted=2, share_gpus=2) == lacking, "one GPU is not two"
    for grant in grants:
        grant.release()
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=80 * GIB, used=75 * GIB), apps="GPU-aa11, 4242, python3, 75000")
    assert "is used by others" in str(granted(state, "d003", record=record, share_gpus=2))


@pytest.mark.parametrize(
    ("card", "plans"),
    [
        (Card("GPU-aa11", total=8 * GIB, used=300), "nnUNetPlans"),
        (Card("GPU-aa11", total=6 * GIB, used=300), "nnUNetPlans"),
        (Card("GPU-aa11", total=24 * GIB, used=300), "nnUNetResEncUNetLPlans"),
    ],
)
@pytest.mark.parametrize("shares", [1, 2])
def test_an_empty_card_is_free_for_one_however_small_it_is(
    card: Card, plans: str, shares: int, state: StateDir, settings: Settings, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    nvidia_smi_shows(tmp_path, card)
    record = record_of(settings, device="cuda", plans_identifier=plans)

    assert given(granted(state, "d001", record=record, share_gpus=shares)) == ["GPU-aa11"]


def test_beside_a_large_desktop_it_trains_on_request_and_the_reason_says_how(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record = record_of(settings, device="cuda", plans_identifier="nnUNetPlans")
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=10 * GIB, used=2100), apps="GPU-aa11, 4242, gnome-shell, 300")

    waiting = granted(state, "d001", record=record)

    used = "2 of its 11 GB are used by pid 4242 (gnome-shell, 1 GB); NNUNET_MCP_SHARE_GPUS=2 trains beside them"
    assert isinstance(waiting, str) and waiting.endswith(used)
    assert given(granted(state, "d001", record=record, share_gpus=2)) == ["GPU-aa11"]
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=10 * GIB, used=6000), apps="GPU-aa11, 4242, python3, 5000")
    gpus.MACHINE.forget()
    assert "NNUNET_MCP_SHARE_GPUS" not in str(granted(state, "d001", record=record)), "that would not help"


def test_a_gpu_is_shared_by_no_more_stages_than_fit_before_any_shows_memory(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record = record_of(settings, device="cuda", plans_identifier="nnUNetPlans")
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=12 * GIB))

    first = granted(state, "d001", record=record, share_gpus=2)

    assert isinstance(first, Grant)
    assert "held by run d001" in str(granted(state, "d002", record=record, share_gpus=2)), "9.8 GB each of 12.9"
    first.release()


def test_a_run_that_has_just_begun_beside_another_program_leaves_only_what_is_free_then(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 26 GB another program has 11. Each run needs 9.8: two of them fit into 26, but not into what is left."""
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record = record_of(settings, device="cuda", plans_identifier="nnUNetPlans")
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", used=10 * GIB), apps="GPU-aa11, 4242, python3, 10000")

    first = granted(state, "d001", record=record, share_gpus=2)

    assert isinstance(first, Grant)
    said = str(granted(state, "d002", record=record, share_gpus=2))
    assert "has 15 GB free, of which runs that have just begun need 10, and this one 10" in said
    monkeypatch.setattr(slots, "UNSEEN_S", 0.0)
    assert given(granted(state, "d002", record=record, share_gpus=2)) == ["GPU-aa11"], "what it takes shows by then"
    first.release()


def test_a_run_gets_the_card_with_most_free_memory_and_none_that_is_too_small(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    record = record_of(settings, device="cuda", plans_identifier="nnUNetPlans")
    cards = [Card("GPU-display", "NVIDIA GeForce GT 710", 2 * GIB), Card("GPU-desk", used=1800), Card("GPU-rest")]
    nvidia_smi_shows(tmp_path, *cards)

    grants = [granted(state, f"d00{number}", record=record) for number in range(3)]

    assert [grant.devices for grant in grants if isinstance(grant, Grant)] == [["GPU-rest"], ["GPU-desk"]]
    assert isinstance(grants[2], str) and "GT 710" not in grants[2]
    for grant in grants[:2]:
        assert isinstance(grant, Grant)
        grant.release()
    nvidia_smi_shows(tmp_path, cards[0])
    assert given(granted(state, "d001", record=record)) == ["GPU-display"], "where there is nothing better, it may try"
    nvidia_smi_shows(tmp_path, Card("GPU-half", total=8 * GIB), Card("GPU-whole"))
    both = record.model_copy(update={"num_gpus": 2})
    assert given(granted(state, "d001", wanted=2, record=both)) == ["GPU-whole", "GPU-half"], "each has half a batch"


def test_a_training_on_several_gpus_gets_no_instances_of_a_divided_one(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    listing = (
        "GPU 0: H100 (UUID: GPU-aa11)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\n  MIG 1g.10gb Device 1: (UUID: MIG-2)"
    )
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", mig="Enabled"), listing=listing)

    answer = granted(state, "d001", wanted=2, record=record_of(settings, device="cuda", num_gpus=2))

    assert answer == "waits for a slot: a training on several GPUs cannot use instances of a divided one (MIG)"
    assert given(granted(state, "d001")) == ["MIG-1"]


def test_small_trainings_share_a_gpu_as_far_as_what_they_took_before_fits(
    state: StateDir, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 26 GB: three that took 5 before, and one planned for 3. None of them shows its memory yet."""
    monkeypatch.delenv("NNUNET_MCP_GPUS")
    nvidia_smi_shows(tmp_path, Card("GPU-aa11", total=24 * GIB))
    run, _ = record_run(state, record_of(settings, run_id="d001-2d-f0-b7km", device="cuda"), [], repeat_window_s=0)
    write_model(run.stage("train_fold_0").outcome_file, ModelOutcome(ok=True, gpu_gb=5.0))
    measured = record_of(settings, run_id="measured", device="cuda")
    planned = [
        record_of(settings, run_id=f"for-{gb}", device="cuda", trainer="Mine", request={"changes": [f"{TARGET}={gb}"]})
        for gb in (3, 12)
    ]

    grants = [granted(state, f"d{number}", record=measured, share_gpus=8) for number in range(3)]
    grants.append(granted(state, "d3", record=planned[0], share_gpus=8))

    assert all(isinstance(grant, Grant) and grant.devices == ["GPU-aa11"] for grant in grants), grants
    first, *others = (grant for grant in grants if isinstance(grant, Grant))
    assert [grant.lanes for grant in (first, *others)] == [1, 2, 3, 4], "the cores are divided by those that train"
    first.release()
    said = str(granted(state, "d4", record=planned[1], share_gpus=8))
    assert "has 26 GB, of which run d1 (train_fold_0) and others need 14, and this one 14" in said
    for grant in others:
        grant.release()
    one = granted(state, "d1", record=measured)
    assert isinstance(one, Grant) and "is held by run d1" in str(granted(state, "d2", record=measured)), "unless asked"
    one.release()
