"""Locks and slots free themselves when their holder dies, and the oldest in line goes first."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.locks import Lock, held, lock_name, waiting_for
from nnunet_mcp.runs.slots import Grant, SlotQueue, slot_holder
from tests.lab import until

HOLD = """
import sys
from pathlib import Path
from nnunet_mcp.runs.locks import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.try_acquire({"run_id": "d009", "stage": "train_fold_0"})
print("held", flush=True)
input()
"""
WAIT = """
import sys
from pathlib import Path
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.slots import SlotQueue
queue = SlotQueue(StateDir(Path(sys.argv[1])), "cpu", 1, "d009", 1.0, "train_fold_0")
print(queue.try_acquire(1), flush=True)
input()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.fixture
def running() -> Iterator[list["subprocess.Popen[str]"]]:
    children: list[subprocess.Popen[str]] = []
    yield children
    for child in children:
        child.kill()
        child.communicate()


def start(script: str, path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def queue(state: StateDir, run_id: str, *, age: float, count: int = 1) -> SlotQueue:
    return SlotQueue(state, "cpu", count, run_id, created_at=age, stage="train_fold_0")


def granted(answer: Grant | str) -> Grant:
    assert isinstance(answer, Grant), answer
    return answer


def test_a_lock_of_a_killed_process_is_free_again(tmp_path: Path, running: list["subprocess.Popen[str]"]) -> None:
    path = tmp_path / "some.lock"
    running.append(start(HOLD, path))
    assert said(running[0]) == "held"
    assert not Lock(path).try_acquire()
    assert Lock(path).holder() == {"run_id": "d009", "stage": "train_fold_0"}

    running[0].kill()

    assert until(lambda: Lock(path).try_acquire(), timeout_s=10)


def test_a_child_that_inherits_a_lock_goes_on_holding_it(
    tmp_path: Path, running: list["subprocess.Popen[str]"]
) -> None:
    lock = Lock(tmp_path / "some.lock")
    assert lock.try_acquire()
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    running.append(subprocess.Popen(command, text=True, pass_fds=[lock.fileno()], **pipes))
    assert said(running[0]) == "up"

    lock.release()

    assert not Lock(lock.path).try_acquire()
    running[0].kill()
    assert until(lambda: Lock(lock.path).try_acquire(), timeout_s=10)


def test_waiting_for_a_lock_in_vain_ends_with_a_timeout(tmp_path: Path) -> None:
    with (
        held(tmp_path / "some.lock"),
        pytest.raises(TimeoutError, match="held by another"),
        held(tmp_path / "some.lock", timeout_s=0.05),
    ):
        pass


def test_a_long_wait_says_who_holds_the_lock_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    first = Lock(path)
    assert first.try_acquire({"run_id": "d001"})
    heard: list[dict[str, object]] = []

    def say(holder: dict[str, object]) -> None:
        heard.append(holder)
        first.release()

    with waiting_for(path, say, holder={"run_id": "d002"}):
        assert heard == [{"run_id": "d001"}]
        assert Lock(path).holder()["run_id"] == "d002"


def test_readers_share_a_lock_and_keep_writers_out(tmp_path: Path) -> None:
    path = tmp_path / "some.lock"
    one, two, writer = Lock(path), Lock(path), Lock(path)

    assert one.try_acquire(shared=True) and two.try_acquire(shared=True)
    assert not writer.try_acquire()
    one.release()
    two.release()
    assert writer.try_acquire()


def test_long_names_become_file_names() -> None:
    assert lock_name("Dataset001", "a/b", "..") == "Dataset001__a_b__...lock"


def test_the_second_in_line_is_told_who_holds_the_slot(state: StateDir) -> None:
    granted(queue(state, "d001", age=1).try_acquire(1))

    assert queue(state, "d002", age=2).try_acquire(1) == (
        "waits for a slot: cpu slot 0 is held by run d001 (train_fold_0)"
    )
    assert slot_holder(state, "cpu", 0) == "run d001 (train_fold_0)"


def test_a_released_slot_goes_to_the_oldest_in_line(state: StateDir) -> None:
    grant = granted(queue(state, "d001", age=1).try_acquire(1))
    younger, older = queue(state, "d003", age=3), queue(state, "d002", age=2)
    younger.try_acquire(1)
    older.try_acquire(1)

    grant.release()

    assert younger.try_acquire(1) == "waits behind d002 for a cpu slot"
    granted(older.try_acquire(1)).release()
    granted(younger.try_acquire(1))
    assert not list((state.locks_dir / "queue-cpu").iterdir())


def test_who_withdraws_lets_the_next_one_pass(state: StateDir) -> None:
    grant = granted(queue(state, "d001", age=1).try_acquire(1))
    older, younger = queue(state, "d002", age=2), queue(state, "d003", age=3)
    older.try_acquire(1)
    younger.try_acquire(1)
    grant.release()

    older.withdraw()

    granted(younger.try_acquire(1))


def test_a_ticket_of_a_killed_waiter_is_removed(state: StateDir, running: list["subprocess.Popen[str]"]) -> None:
    grant = granted(queue(state, "d001", age=1).try_acquire(1))
    running.append(start(WAIT, state.path))
    assert "held by run d001" in said(running[0])
    grant.release()
    waiting = queue(state, "d010", age=2)
    assert waiting.try_acquire(1) == "waits behind d009 for a cpu slot"

    running[0].kill()
    running[0].wait()

    granted(waiting.try_acquire(1))


def test_several_slots_are_taken_together_or_not_at_all(state: StateDir) -> None:
    one = granted(queue(state, "d001", age=1, count=3).try_acquire(1))
    waiting = queue(state, "d002", age=2, count=3)

    assert waiting.try_acquire(3) == "waits for a slot: cpu slot 0 is held by run d001 (train_fold_0)"
    assert slot_holder(state, "cpu", 1) is None
    one.release()
    assert granted(waiting.try_acquire(3)).devices == ["0", "1", "2"]


def test_of_many_who_ask_at_once_only_one_has_the_slot_at_a_time(state: StateDir) -> None:
    inside: list[str] = []
    most: list[int] = []

    def work(run_id: str, age: float) -> None:
        own = queue(state, run_id, age=age)
        grants: list[Grant] = []
        assert until(lambda: _took(own, grants), timeout_s=20)
        inside.append(run_id)
        most.append(len(inside))
        inside.remove(run_id)
        grants[0].release()

    threads = [threading.Thread(target=work, args=(f"d{n:03d}", float(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 8


def _took(own: SlotQueue, grants: list[Grant]) -> bool:
    answer = own.try_acquire(1)
    if isinstance(answer, Grant):
        grants.append(answer)
    return bool(grants)
