"""Takes the documentation's pictures from a real training: `make pictures`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from nnunet_mcp.schemas.plots import PlotRequest
from nnunet_mcp.tools.plots.plots import nnunet_plot
from tests.kit.browser import browser, dashboard, missing
from tests.kit.lab import Lab, make_tiny_plans, until
from tests.kit.phantom import write_phantom
from tests.kit.served import TOKEN, showing

DATASET = "Dataset061_Phantom"
# Long enough for curves worth looking at, short enough to wait for: about a minute.
REQUEST: dict[str, Any] = {"dataset_id": 61, "configuration": "3d_fullres", "device": "cpu"}
NOW = "(document.querySelector('[aria-label=Progress]')?.innerText ?? '')"


def main(folder: Path) -> None:
    """Train all folds of a phantom; while the second fold trains, photograph the dashboard and draw the rest."""
    if (reason := missing()) is not None:
        sys.exit(reason)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        lab = Lab(Path(temporary) / "work")
        try:
            _take(lab, folder)
        finally:
            lab.stop()
            until(lambda: not lab.processes())


def _take(lab: Lab, folder: Path) -> None:
    write_phantom(lab.folder / "raw" / DATASET, cases=10, shape=(32, 32, 32))
    lab.train(**REQUEST, fold="0", trainer="OneStepTrainer")
    make_tiny_plans(lab.folder / "preprocessed" / DATASET)
    training = {**REQUEST, "fold": "all", "trainer": "PictureTrainer", "plans_identifier": "tinyPlans"}
    run_id = lab.call("nnunet_training", **training)["run_id"]
    _photograph(lab, run_id, folder / "dashboard.png")
    _photograph_browser(lab, folder / "browser.png")
    for kind in ("curves", "overlay"):
        drawn = nnunet_plot(PlotRequest.model_validate({"run_id": run_id, "kind": kind}), lab.settings)
        (folder / f"{kind}.png").write_bytes(drawn.png)


def _photograph(lab: Lab, run_id: str, path: Path) -> None:
    with dashboard(lab, run_id=run_id) as page:
        second = f"{NOW}.includes('train fold 1') && / epoch [12]\\d/.test({NOW})"
        page.wait(f"{second} && document.querySelector('.health.good') !== null", timeout_s=3600)
        page.picture(path)


def _photograph_browser(lab: Lab, path: Path) -> None:
    with showing(lab) as site, browser(f"{site.url}/#token={TOKEN}", theme="dark") as page:
        page.wait("document.querySelector('.curves') !== null", timeout_s=60)
        for key in ("look-classes", "log summary"):
            page.focus(key)
            page.press(" ")
        page.wait("document.querySelectorAll('figure').length === 3 && document.querySelector('.loglines') !== null")
        page.picture(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
