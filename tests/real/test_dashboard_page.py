"""The dashboard as people meet it: real Chromium, the real AppBridge, the default policy, a real run."""

from functools import partial
from pathlib import Path

import pytest

from nnunet_mcp.files import append_line, write_model
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.schemas.records import RunRecord
from tests.kit.browser import NEEDS_BROWSER, Page, dashboard
from tests.kit.lab import FEW, Answer, Lab, until
from tests.kit.phantom import write_phantom
from tests.kit.tiny import record_of
from tests.tools.watching.test_dashboard import HOSTILE, epoch

pytestmark = [pytest.mark.heavy, NEEDS_BROWSER]
POINTS = "(document.querySelector('.curve.one[d*=L]')?.getAttribute('d').match(/[ML]/g) ?? []).length"
# The text of what is not in view as well.
RUNS = "document.getElementById('runs').textContent"
STATUS = "document.querySelector('.name .status')?.innerText"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "work", FEW)
    lab.settings.create_folders()
    return lab


def write_run(lab: Lab, run_id: str, created_at: float | None = None) -> RunRecord:
    """A run with a hostile name and a gap in its curves."""
    given = {} if created_at is None else {"created_at": created_at}
    record = record_of(lab.settings, run_id=run_id, dataset_name=HOSTILE, **given)
    run = StateDir(lab.settings.state_dir).run(run_id)
    stage = run.stage("train_fold_0")
    stage.path.mkdir(parents=True)
    for number in range(9):
        append_line(stage.epochs_file, epoch(number, **({"train_loss": None} if number == 4 else {})))
    write_model(run.run_file, record)
    return record


def assert_clean(page: Page) -> None:
    assert page.tell("audit") == []
    assert page.tell("errors") == []


def reached(epochs: int, progress: Answer) -> bool:
    return (progress["epoch"] or 0) >= epochs


def test_a_run_is_selected_watched_and_cancelled_with_the_keyboard_alone(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-rest", created_at=1.0)
    write_phantom(lab.folder / "raw" / "Dataset061_Phantom", cases=5, shape=(24, 24, 24))
    request = {"dataset_id": 61, "configuration": "2d", "fold": "0", "device": "cpu", "trainer": "LongTrainer"}
    run_id = lab.call("nnunet_training", **request)["run_id"]

    with dashboard(lab, run_id="d001-2d-f0-rest") as page:
        page.wait(f"{STATUS} === '◐ interrupted'")
        page.focus("run d001-2d-f0-rest")
        page.press("ArrowUp", "Enter")
        page.wait(f"{STATUS} === '► running'")
        assert "preprocess" in page.text(".stages")
        for epochs in (3, 6):  # however long these take here, the page follows at once
            lab.wait_for(run_id, partial(reached, epochs), timeout_s=900)
            page.wait(f"{POINTS} >= {epochs}")
        assert_clean(page)

        page.focus("cancel")
        page.press("Enter")
        assert page.run("document.activeElement.dataset.key") == "keep"
        assert_clean(page)
        page.press("Escape")
        assert page.run("document.activeElement.dataset.key") == "cancel"
        assert lab.call("nnunet_progress", run_id=run_id)["status"] == "running"
        page.press("Enter")
        page.focus("stop")
        page.press("Enter")
        lab.wait_for(run_id, partial(reached, 10**9))  # its end
        page.wait(f"{STATUS} === '■ cancelled'")

        assert "cancelled" in page.text("#live")
        assert page.run("document.querySelector('[data-key=cancel]')") is None
        assert run_id in page.tell("host", script="window.told[0].text")
        assert_clean(page)
    assert lab.call("nnunet_results", run_id=run_id)["status"] == "cancelled"
    assert until(lambda: not lab.processes())


def test_a_hostile_name_is_text_and_a_missing_number_a_gap(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-rest", created_at=1.0)

    with dashboard(lab) as page:
        page.wait("document.querySelector('.name')")

        assert HOSTILE in page.text(".name") and "<img src=x onerror=alert(1)>" in page.run(RUNS)
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.run("document.querySelector('.curves .curve.one[d*=L]').getAttribute('d').match(/M/g).length") == 2
        page.run("document.querySelector('details').open = true")
        page.wait("document.querySelector('details table')?.rows.length === 10")
        assert "–" in page.text("details table")
        assert_clean(page)


def test_a_read_only_server_has_no_cancel_button(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-wait")

    with dashboard(lab, "--read-only") as page:
        page.wait(f"{STATUS} === '○ queued'")
        assert page.run("document.querySelector('[data-key=cancel]')") is None


def test_an_error_is_a_message_with_a_way_on(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-rest", created_at=1.0)

    with dashboard(lab, run_id="d001-2d-f0-none") as page:
        page.wait("document.querySelector('[role=alert]')")

        assert "There is no run 'd001-2d-f0-none'" in page.text("[role=alert]")
        assert "Traceback" not in page.text()
        assert_clean(page)
        page.focus("retry")
        page.press("Tab", "Enter")
        page.wait("document.querySelector('.name')")
        assert page.run("document.querySelector('[role=alert]')") is None


def test_a_run_stays_on_the_page_while_the_server_does_not_answer(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-rest", created_at=1.0)

    with dashboard(lab) as page:
        page.wait("document.querySelector('.name')")
        page.tell("host", script="window.real = window.callServer, window.callServer = () => Promise.reject('gone')")
        page.focus("refresh")
        page.press("Enter")
        page.wait("document.querySelector('[role=alert]')")
        assert HOSTILE in page.text(".name")
        page.tell("host", script="window.callServer = window.real, null")
        page.focus("retry")
        page.press("Enter")
        page.wait("!document.querySelector('[role=alert]')")


def test_the_page_wears_the_hosts_theme_and_colours_and_fits_a_telephone(lab: Lab) -> None:
    write_run(lab, "d001-2d-f0-rest", created_at=1.0)
    back = "getComputedStyle(document.body).backgroundColor"

    with dashboard(lab, theme="dark", width=380) as page:
        page.wait("document.querySelector('.name')")
        assert page.run(back) == "rgb(22, 25, 29)"
        assert page.run("document.documentElement.scrollWidth") <= 380
        assert_clean(page)
        page.tell("host", script="window.changeContext({ theme: 'light' })")
        page.wait(f"{back} === 'rgb(255, 255, 255)'")
        assert_clean(page)
        variables = "{ '--color-background-primary': 'light-dark(#fafaf0, #000)' }"
        page.tell("host", script=f"window.changeContext({{ theme: 'light', styles: {{ variables: {variables} }} }})")
        page.wait(f"{back} === 'rgb(250, 250, 240)'")
