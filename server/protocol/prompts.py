"""Prompts for the four things people come for, and completions for their arguments."""

from collections.abc import Callable

import mcp.types as types
from mcp.server.mcpserver import MCPServer

from ...calls import call
from ...settings import Settings
from ...texts import for_agents

MAX_VALUES = 100


def _train_dataset(source: str, dataset_id: str) -> str:
    return f"""\
Import {source} with {call("nnunet_prepare_dataset")} as dataset {dataset_id} (choose a short name). Look into it with
{call("nnunet_datasets", dataset_id=_number(dataset_id))} and tell me about problems and warnings before anything
starts. Then start {call("nnunet_training")} with configuration 3d_fullres (2d for 2D or strongly anisotropic images)
and fold 0, follow it with {call("nnunet_progress", wait_s=25)}, and report the Dice and IoU of
{call("nnunet_results")} per class. If you mention the pseudo Dice, say what it is: an estimate, not the Dice.
"""


def _diagnose_run(run_id: str) -> str:
    return f"""\
Look at run {run_id}: {call("nnunet_progress")} for its status, health and failure, then {call("nnunet_logs")} in
summary mode for the stage that failed. Tell me the cause, the line that shows it, and the remedy. Start or cancel
nothing before I agree.
"""


def _choose_configuration(dataset_id: str) -> str:
    return f"""\
Look at {call("nnunet_datasets", dataset_id=_number(dataset_id))} and at this machine with {call("nnunet_system")}.
Recommend one of 2d, 3d_fullres, 3d_lowres and 3d_cascade_fullres with your reasons from the data, and a trainer that
fits the time I have (nnUNetTrainer has 1000 epochs; nnUNetTrainer_100epochs and others are shorter).
"""


def _resume_run(run_id: str) -> str:
    return f"""\
Check run {run_id} with {call("nnunet_progress")}. If it is cancelled or interrupted, make the call that its next_step
names, and tell me how many epochs were kept. If it still runs, say so and do nothing.
"""


def _number(dataset_id: str) -> int | str:
    return int(dataset_id) if dataset_id.isdecimal() else dataset_id


def add_prompts(app: MCPServer, settings: Settings) -> None:
    """Register the prompts and what completes their arguments."""

    @app.prompt(title="Train a new dataset")
    def train_dataset(source: str, dataset_id: str) -> str:
        """From a folder of images to a trained model and its result."""
        return str(for_agents(_train_dataset(source, dataset_id)))

    @app.prompt(title="Diagnose a run")
    def diagnose_run(run_id: str) -> str:
        """What is wrong with a run, and what to do."""
        return str(for_agents(_diagnose_run(run_id)))

    @app.prompt(title="Choose a configuration")
    def choose_configuration(dataset_id: str) -> str:
        """Which nnU-Net configuration suits a dataset."""
        return str(for_agents(_choose_configuration(dataset_id)))

    @app.prompt(title="Resume after an interruption")
    def resume_run(run_id: str) -> str:
        """Go on with a run that was cancelled or interrupted."""
        return str(for_agents(_resume_run(run_id)))

    @app.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: types.PromptReference | types.ResourceTemplateReference,
        argument: types.CompletionArgument,
        context: types.CompletionContext | None,
    ) -> types.Completion | None:
        values = _values(settings).get(argument.name)
        if values is None:
            return None
        found = [value for value in values() if value.startswith(argument.value)]
        return types.Completion(values=found[:MAX_VALUES], total=len(found), has_more=len(found) > MAX_VALUES)


def _values(settings: Settings) -> dict[str, Callable[[], list[str]]]:
    """What can be completed, by the argument's name."""
    from ...tools.data.datasets import dataset_ids
    from ...tools.watching.runs import newest_run_ids

    return {
        "dataset_id": lambda: [str(number) for number in dataset_ids(settings)],
        "run_id": lambda: newest_run_ids(settings, limit=MAX_VALUES),
    }
