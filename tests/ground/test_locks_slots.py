"""Locks and slots free themselves when their holder dies, and the oldest in line goes first."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.files import make_folder
from nnunet_mcp.locks import Lock, held, lock_name, waiting_for
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local.places import place_of, slot_path
from nnunet_mcp.runs.local.slots import SlotQueue, slot_holder
from nnunet_mcp.runs.stage_process import Grant
from tests.kit.lab import until

HOLD = """
import sys
from pathlib import Path
from nnunet_mcp.locks import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.try_acquire({"run_id": "d009", "stage": "train_fold_0"})
print("held", flush=True)
input()
"""
SHARE = """
import sys
from pathlib import Path
from nnunet_mcp.locks import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.try_acquire({"run_id": sys.argv[2]}, shared=True)
print("held", flush=True)
input()
"""
WAIT = """
import sys
from pathlib import Path
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.local.places import place_of
from nnunet_mcp.runs.local.slots import SlotQueue
state = StateDir(Path(sys.argv[1]))
queue = SlotQueue(state, "cpu", [place_of(state, "cpu", "0")], "d009", 1.0, "train_fold_0")
print(queue.try_acquire(1), flush=True)
input()
"""


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path / "state")


@pytest.fixture
def afterwards() -> Iterator[ExitStack]:
    """Locks, queues and processes are given back here, whatever the test has done with them."""
    with ExitStack() as stack:
        yield stack


def start(afterwards: ExitStack, script: str, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """A process that waits after its first line."""
    command = [sys.executable, "-c", script, *arguments]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    afterwards.enter_context(child)
    afterwards.callback(child.kill)
    return child


def said(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def free(path: Path) -> bool:
    """Whether nobody holds the lock."""
    lock = Lock(path)
    taken = lock.try_acquire()
    lock.release()
    return taken


@dataclass
class Line:
    """People in line for CPU slots."""

    state: StateDir
    afterwards: ExitStack

    def join(self, run_id: str, *, age: float, count: int = 1) -> SlotQueue:
        places = [place_of(self.state, "cpu", str(n)) for n in range(count)]
        queue = SlotQueue(self.state, "cpu", places, run_id, created_at=age, stage="train_fold_0")
        self.afterwards.callback(queue.withdraw)
        return queue

    def take(self, queue: SlotQueue, wanted: int = 1) -> Grant:
        grant = queue.try_acquire(wanted)
        assert isinstance(grant, Grant), grant
        self.afterwards.callback(grant.release)
        return grant


@pytest.fixture
def line(state: StateDir, afterwards: ExitStack) -> Line:
    return Line(state, afterwards)


def test_a_lock_of_a_killed_process_is_free_again(tmp_path: Path, afterwards: ExitStack) -> None:
    path = tmp_path / "some.lock"
    holder = start(afterwards, HOLD, str(path))
    assert said(holder) == "held"
    assert not free(path)
    assert Lock(path).holder() == {"run_id": "d009", "stage": "train_fold_0"}

    holder.kill()

    assert until(lambda: free(path), timeout_s=10)


def test_a_child_that_inherits_a_lock_goes_on_holding_it(tmp_path: Path, afterwards: ExitStack) -> None:
    lock = Lock(tmp_path / "some.lock")
    assert lock.try_acquire()
    child = start(afterwards, "print('up', flush=True); input()", pass_fds=[lock.fileno()])
    assert said(child) == "up"

    lock.release()

    assert not free(lock.path)
    child.kill()
    assert until(lambda: free(lock.path), timeout_s=10)


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
    one, two = Lock(path), Lock(path)

    assert one.try_acquire(shared=True) and two.try_acquire(shared=True)
    one.release()
    assert not free(path)
    two.release()
    assert free(path)


def test_a_waiter_is_told_of_those_who_share_the_lock_now(tmp_path: Path, afterwards: ExitStack) -> None:
    path = tmp_path / "some.lock"
    with waiting_for(path, print, holder={"run_id": "d001"}):
        pass
    ended = start(afterwards, SHARE, str(path), "d003")
    assert said(ended) == "held"
    with waiting_for(path, print, holder={"run_id": "d002"}, shared=True):
        last = start(afterwards, SHARE, str(path), "d004")
        assert said(last) == "held"
        assert Lock(path).holder()["run_id"] == "d004"

        for child in (last, ended):
            child.kill()
            child.wait()

        assert not free(path)
        assert Lock(path).holder()["run_id"] == "d002"


@pytest.mark.parametrize(("folder", "file"), [(0o2775, 0o660), (0o777, 0o666), (0o755, 0o600), (0o700, 0o600)])
def test_who_may_write_the_state_folder_may_use_its_locks(tmp_path: Path, folder: int, file: int) -> None:
    state = StateDir(tmp_path / "state")
    state.path.mkdir()
    state.path.chmod(folder)
    before = os.umask(0o077)
    try:
        queue = SlotQueue(state, "cpu", [place_of(state, "cpu", "0")], "d001", created_at=1.0, stage="train_fold_0")
        grant = queue.try_acquire(1)
    finally:
        os.umask(before)

    assert isinstance(grant, Grant)
    grant.release()
    made = list(state.locks_dir.rglob("*"))
    assert {path.stat().st_mode & 0o7777 for path in made if path.is_dir()} == {folder}
    assert {path.stat().st_mode & 0o7777 for path in made if path.is_file()} == {file}


def test_a_sticky_folder_passes_its_rights_to_nobody(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)

    make_folder(tmp_path / "state" / "locks")

    assert not (tmp_path / "state").stat().st_mode & 0o022


def test_looking_at_a_slot_neither_makes_nor_changes_a_file(state: StateDir, line: Line) -> None:
    assert slot_holder(place_of(state, "cpu", "0")) is None
    assert not state.path.exists()
    line.take(line.join("d001", age=1)).release()
    before = slot_path(state, "cpu", "0").stat()

    assert slot_holder(place_of(state, "cpu", "0")) is None

    assert slot_path(state, "cpu", "0").stat() == before


def test_long_names_become_file_names() -> None:
    assert lock_name("Dataset001", "a/b", "..") == "Dataset001__a_b__...lock"
    long = [lock_name(f"predictions /{'a folder/' * 60}", end) for end in ("one", "other")]
    assert len(set(long)) == 2 and all(len(name) <= 205 for name in long), "and tell each other apart"


def test_the_second_in_line_is_told_who_holds_the_slot(line: Line) -> None:
    line.take(line.join("d001", age=1))

    assert line.join("d002", age=2).try_acquire(1) == (
        "waits for a slot: cpu slot 0 is held by run d001 (train_fold_0)"
    )
    assert slot_holder(place_of(line.state, "cpu", "0")) == "run d001 (train_fold_0)"


def test_a_released_slot_goes_to_the_oldest_in_line(line: Line) -> None:
    grant = line.take(line.join("d001", age=1))
    younger, older = line.join("d003", age=3), line.join("d002", age=2)
    younger.try_acquire(1)
    older.try_acquire(1)

    grant.release()

    assert younger.try_acquire(1) == "waits behind d002 for a cpu slot"
    line.take(older).release()
    line.take(younger)
    assert not [path for queue in line.state.locks_dir.glob("queue-*") for path in queue.iterdir()]


def test_who_withdraws_lets_the_next_one_pass(line: Line) -> None:
    grant = line.take(line.join("d001", age=1))
    older, younger = line.join("d002", age=2), line.join("d003", age=3)
    older.try_acquire(1)
    younger.try_acquire(1)
    grant.release()

    older.withdraw()

    line.take(younger)


def test_a_ticket_of_a_killed_waiter_is_removed(line: Line, afterwards: ExitStack) -> None:
    grant = line.take(line.join("d001", age=1))
    dying = start(afterwards, WAIT, str(line.state.path))
    assert "held by run d001" in said(dying)
    grant.release()
    waiting = line.join("d010", age=2)
    assert waiting.try_acquire(1) == "waits behind d009 for a cpu slot"

    dying.kill()
    dying.wait()

    line.take(waiting)


def test_a_shared_state_folder_has_slots_for_each_host(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.take(line.join("d001", age=1))
    line.join("d002", age=2).try_acquire(1)

    monkeypatch.setattr("socket.gethostname", lambda: "node-b")

    assert slot_holder(place_of(line.state, "cpu", "0")) is None
    line.take(line.join("d003", age=3))


def test_several_slots_are_taken_together_or_not_at_all(line: Line) -> None:
    one = line.take(line.join("d001", age=1, count=3))
    waiting = line.join("d002", age=2, count=3)

    assert waiting.try_acquire(3) == "waits for a slot: cpu slot 0 is held by run d001 (train_fold_0)"
    assert slot_holder(place_of(line.state, "cpu", "1")) is None
    one.release()
    assert line.take(waiting, 3).devices == ["0", "1", "2"]


def test_of_many_who_ask_at_once_one_has_the_slot_at_a_time(line: Line) -> None:
    inside: list[str] = []
    most: list[int] = []

    def work(run_id: str, age: float) -> None:
        queue, grants = line.join(run_id, age=age), list[Grant]()
        assert until(lambda: _took(queue, grants), timeout_s=20)
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


def _took(queue: SlotQueue, grants: list[Grant]) -> bool:
    answer = queue.try_acquire(1)
    if isinstance(answer, Grant):
        grants.append(answer)
    return bool(grants)
