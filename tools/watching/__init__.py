"""Runs that were started: how they are doing, what they say, what came of them, and how to stop them."""

from ...schemas.dashboard import DashboardAnswer, DashboardData, DashboardDataRequest, DashboardRequest
from ...schemas.logs import LogsAnswer, LogsRequest
from ...schemas.progress import ProgressAnswer, ProgressRequest
from ...schemas.results import Result, ResultsRequest
from ...schemas.run_list import CancelAnswer, CancelRequest, QueueAnswer, QueueRequest, RunsAnswer, RunsRequest
from ..tool import Command, Tool

OF_A_RUN = (
    Tool(
        "nnunet_progress",
        "Progress of a run",
        "reads",
        ProgressRequest,
        ProgressAnswer,
        "Status, stage, epoch, losses, pseudo Dice, ETA, health, failure of a run. Ask again after retry_after_s.",
        "watching.progress:nnunet_progress",
        Command(
            "progress",
            "show how a run is doing",
            ("run_id",),
            "follow the run to its end; Ctrl-C ends the watching, never the run",
            waits="wait_s",
        ),
        waits=True,
        heeds_read_only=True,
    ),
    Tool(
        "nnunet_logs",
        "Log of a run",
        "reads",
        LogsRequest,
        LogsAnswer,
        "Part of a stage's log, whose epochs count from 0. For numbers use nnunet_progress.",
        "watching.logs:nnunet_logs",
        Command("logs", "show a part of a stage's log", ("run_id",)),
    ),
    Tool(
        "nnunet_results",
        "Result of a run",
        "reads",
        ResultsRequest,
        Result,
        "Dice, IoU and validation loss of a run, per class and fold; worst cases, checkpoint, notes.",
        "watching.results:nnunet_results",
        Command("results", "show what nnU-Net measured", ("run_id",)),
    ),
)
OF_ALL_RUNS = (
    Tool(
        "nnunet_runs",
        "Runs",
        "reads",
        RunsRequest,
        RunsAnswer,
        "Runs, newest first, also of earlier chats: epoch, losses, ETA, Dice.",
        "watching.runs:nnunet_runs",
        Command("runs", "list runs, newest first"),
    ),
    Tool(
        "nnunet_queue",
        "Place in the queue",
        "arranges",
        QueueRequest,
        QueueAnswer,
        "Change a waiting run's place.",
        "watching.runs:nnunet_queue",
        Command("queue", "let a waiting run go first, hold it back, or release it", ("run_id", "action")),
    ),
    Tool(
        "nnunet_cancel",
        "Cancel a run",
        "stops",
        CancelRequest,
        CancelAnswer,
        "Stop a run. A training first finishes its epoch and saves a checkpoint.",
        "watching.runs:nnunet_cancel",
        Command("cancel", "stop a run and all its processes", ("run_id",)),
    ),
)
OF_THE_PAGE = (
    Tool(
        "nnunet_dashboard",
        "Dashboard",
        "reads",
        DashboardRequest,
        DashboardAnswer,
        "Show the person a live page of the runs, or text.",
        "watching.dashboard:nnunet_dashboard",
        heeds_read_only=True,
        text=lambda answer: f"{answer.text}\n{answer.next_step}",
        page="shows",
    ),
    Tool(
        "nnunet_dashboard_data",
        "Dashboard data",
        "reads",
        DashboardDataRequest,
        DashboardData,
        "For the dashboard's own page.",
        "watching.dashboard:nnunet_dashboard_data",
        heeds_read_only=True,
        text=lambda data: data.next_step,
        page="feeds",
    ),
)
