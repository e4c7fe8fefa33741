"""Reports to hand on: a training or a comparison as one file, with the methods paragraph of a paper."""

from ...schemas.results import Report, ReportRequest
from ..tool import Command, Steps, Tool

TOOLS = (
    Tool(
        "nnunet_report",
        "Write a report",
        "starts",
        ReportRequest,
        Report,
        "One file on runs for a colleague, and a methods paragraph for a paper.",
        "reports.report:nnunet_report",
        Command("report", "write a report on runs into a file"),
        Steps("picture", stoppable=True),
    ),
)
