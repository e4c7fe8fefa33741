"""Reports to hand on: a training or a comparison as one file, with the methods paragraph of a paper."""

import math

from ...schemas.models import Report, ReportRequest
from ..tool import Command, Steps, Tool

TOOLS = (
    Tool(
        "nnunet_report",
        "Write a report",
        "starts",
        ReportRequest,
        Report,
        "Runs as an .html or .md file; a methods paragraph.",
        "reports.report:nnunet_report",
        Command("report", "write a report on runs into a file", ("run_ids",), more={"patience_s": math.inf}),
        Steps("picture", stoppable=True),
        unlisted=("format",),  # the file's ending says it
    ),
)
