"""Another user of the machine who may only read the state folder cannot hold up its runs."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnunet_mcp.locks import Lock, held

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def locks() -> Iterator[Path]:
    """A folder that everybody may read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(act: Callable[[], bool]) -> bool:
    """What the act says where it is done by a user without any right."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = 0 if act() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1)
    return code == 0


def can_take(path: Path, how: int) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH])
def test_who_may_only_read_the_folder_takes_no_lock(locks: Path, how: int) -> None:
    path = locks / "start.lock"
    with held(path):
        pass
    assert can_take(path, how)
    assert not as_nobody(lambda: can_take(path, how))


def test_an_old_lock_file_that_everybody_may_read_is_mended(locks: Path) -> None:
    path = locks / "old.lock"
    path.touch()
    path.chmod(0o644)
    assert as_nobody(lambda: can_take(path, fcntl.LOCK_EX))
    with held(path):
        pass
    assert not as_nobody(lambda: can_take(path, fcntl.LOCK_EX))


def test_our_own_code_takes_no_lock_for_them_either(locks: Path) -> None:
    path = locks / "old.lock"
    path.touch()
    path.chmod(0o644)

    def take() -> bool:
        try:
            return Lock(path).try_acquire({"run_id": "d666"})
        except PermissionError:
            return False

    assert not as_nobody(take)


def test_they_still_see_whether_it_is_held(locks: Path) -> None:
    path = locks / "slot.lock"
    lock = Lock(path)
    assert lock.try_acquire()
    assert not as_nobody(lambda: Lock(path).is_free())
    lock.release()
    assert as_nobody(lambda: Lock(path).is_free())


@pytest.mark.parametrize(("folder", "taken"), [(0o775, False), (0o757, True), (0o777, True)])
def test_who_may_write_the_folder_may_take_it(locks: Path, folder: int, taken: bool) -> None:
    locks.chmod(folder)
    path = locks / "shared.lock"
    with held(path):
        pass
    assert as_nobody(lambda: can_take(path, fcntl.LOCK_EX)) == taken
