"""`from nnunet_mcp import nnunet_report`: the same tool, for a script."""

import math
from typing import Any

from ...schemas.models import ReportRequest
from ...settings import Settings
from ...texts import for_agents
from ..helping import helped
from .report import nnunet_report as write


def nnunet_report(**parameters: Any) -> dict[str, Any]:
    """Write a report on trainings into a file.

    Args:
        parameters: the fields of `ReportRequest`, e.g. run_ids=["d050-3d_fullres-f0-k7m3"], output="report.html".

    Returns:
        file, says, methods and more, as the tool answers.

    Raises:
        pydantic.ValidationError: a parameter is wrong.
        nnunet_mcp.errors.RunError: there is nothing to report yet, or the file cannot lie there.
    """
    request = ReportRequest.model_validate(parameters)
    with helped():
        answer = write(request, Settings(), patience_s=math.inf)
    found: dict[str, Any] = for_agents(answer).model_dump(mode="json")
    return found
