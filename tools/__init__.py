"""What an agent can do, one folder per noun: a request in, a typed answer out. No transport, no torch.

A tool is declared in its noun's `__init__.py`; `TOOLS` lists them in the order that clients see.
"""

from ..calls import argument
from ..schemas.system import DoctorRequest, SystemAnswer, SystemRequest
from .data import TOOLS as OF_DATA
from .models import TOOLS as OF_MODELS
from .plots import TOOLS as OF_PLOTS
from .reports import TOOLS as OF_REPORTS
from .tool import Command, Tool
from .training import TOOLS as OF_TRAINING
from .watching import OF_A_RUN, OF_ALL_RUNS, OF_THE_PAGE

SLOW = f"Loading PyTorch and nnU-Net takes some seconds; {argument(quick=True)} leaves it out."
OF_THE_MACHINE = (
    Tool(
        "nnunet_system",
        "This machine",
        "reads",
        SystemRequest,
        SystemAnswer,
        "GPUs, cores, memory, disk, folders, versions, slots in use, problems with their fixes.",
        "system:nnunet_system",
        Command(
            "doctor",
            "check folders, versions, GPU, disk and the server's start",
            first=lambda request: "" if request.quick else SLOW,
            request=DoctorRequest,
            function="doctor:examine",
        ),
    ),
)
TOOLS: tuple[Tool, ...] = (
    *OF_TRAINING,
    *OF_A_RUN,
    *OF_PLOTS,
    *OF_MODELS,
    *OF_REPORTS,
    *OF_ALL_RUNS,
    *OF_DATA,
    *OF_THE_MACHINE,
    *OF_THE_PAGE,
)
BY_NAME = {tool.name: tool for tool in TOOLS}
