"""Pictures of runs and datasets."""

from ...schemas.plots import FigureRequest, Plot, PlotRequest
from ..tool import Command, Tool

TOOLS = (
    Tool(
        "nnunet_plot",
        "Draw a picture",
        "reads",
        PlotRequest,
        Plot,
        "A picture of a run or dataset.",
        "plots.plots:nnunet_plot",
        Command(
            "plot",
            "draw a run's curves, folds or a case, or a dataset's labels, into a PNG or SVG file",
            ("run_id",),
            request=FigureRequest,
            function="plots.plots:figure",
        ),
        unlisted=("theme",),  # light pictures can be read on every page
    ),
)
