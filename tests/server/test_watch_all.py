"""Following all runs at the terminal: one screen in a window of any size, plain lines in a pipe."""

import re

import pytest
from rich.cells import cell_len

from nnunet_mcp.server.terminal.codes import Code
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import ANSI
from tests.kit.terminal import in_a_window, terminal
from tests.kit.tiny import record_of
from tests.tools.watching.test_dashboard import epoch, write_run

ALTERNATE_SCREEN, USUAL_SCREEN, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
ODD = "Dataset001_\x1b[31m\u202edeR"


@pytest.fixture
def runs(settings: Settings) -> list[str]:
    """Forty at rest, and one that waits."""
    ids = [f"d{number:03d}-3d_cascade_fullres-f0-{number:04d}" for number in range(40)]
    for number, run_id in enumerate(ids):
        write_run(settings, record_of(settings, run_id=run_id, created_at=1.0 + number, dataset_name=ODD), [epoch(4)])
    write_run(settings, record_of(settings, run_id="d050-2d-f0-wait"))
    return [*ids, "d050-2d-f0-wait"]


def test_the_screen_fits_each_size_of_its_window_and_ctrl_c_ends_it_quietly(runs: list[str]) -> None:
    code, (narrow, wide, rest) = in_a_window("watch", sizes=[(40, "more"), (120, "dataset")])

    assert code == Code.CTRL_C and "Traceback" not in rest and "Interrupted" not in rest
    assert "1 at work, 41 in all" in narrow and "d050-2d-f0-wait" in narrow and "stage" in wide
    assert runs[39] in narrow and runs[39] in wide  # the newest after it, its name not cut
    assert max(cell_len(row) for row in re.split(r"[\r\n]+", ANSI.sub("", narrow))) <= 40
    assert narrow.index(ALTERNATE_SCREEN) < narrow.index("1 at work")
    assert SHOW_CURSOR in rest and rest.index(USUAL_SCREEN) < rest.index(runs[0])  # the last state stays, as a whole
    assert "\u202e" not in wide + rest and "\x1b[31mdeR" not in wide + rest


def test_a_pipe_gets_a_plain_line_for_each_run_and_the_end_when_none_is_at_work(settings: Settings) -> None:
    write_run(settings, record_of(settings, created_at=1.0, dataset_name=ODD), [epoch(4)])

    done = terminal("watch")

    assert (done.returncode, done.stderr) == (Code.DONE, "")
    assert done.stdout == "d001-2d-f0-tttt  interrupted  train_fold_0  epoch 5\n"
    assert terminal("watch", "d001-2d-f0-none").returncode == Code.NOT_FOUND
    assert terminal("watch", "d001-2d-f0-tttt").returncode == Code.STOPPED
