"""Add the call that helps to errors, which say what they are about: the rooms below `tools/` name no tools."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..calls import argument, call
from ..errors import RunError

HELP: dict[str, Callable[..., str]] = {
    "runs": lambda: f"{call('nnunet_runs')} lists them.",
    "active run": lambda run_id: (
        f"Follow it with {call('nnunet_progress', run_id=run_id)}, or ask the person whether to stop it first: "
        f"{call('nnunet_cancel', run_id=run_id)}."
    ),
    "ended run": lambda run_id: f"{call('nnunet_progress', run_id=run_id)} says how it ended.",
    "datasets": lambda: f"{call('nnunet_prepare_dataset')} imports one.",
    "models": lambda: f"{call('nnunet_datasets')} lists what is trained.",
    "model before": lambda run_id, name: before(run_id, name),
    "best": lambda dataset_id: (
        f"Ask the person whether to search it: {call('nnunet_find_best_configuration', dataset_id=dataset_id)}."
    ),
    "postprocessing": lambda: f"Ask the person whether to search one: {call('nnunet_find_best_configuration')}.",
    "machine": lambda: f"{call('nnunet_system')} names what is wrong with this machine.",
    "jobs": lambda: (
        f"Correct the options (e.g. {argument(slurm=['partition=…', 'account=…'])}; {call('nnunet_preflight')} shows "
        "the scripts), or ask the cluster's administrators."
    ),
}


def before(run_id: str, name: str) -> str:
    """How to get the model back that a run was to replace."""
    return f"The model before is kept in {name}: {call('nnunet_cancel', run_id=run_id)} puts it back."


def about_idle(dataset_id: int, idle: str) -> str:
    """Cases in no fold, with the call that makes another split."""
    return f"{idle}. {call('nnunet_split_dataset', dataset_id=dataset_id)} makes a new split."


def about_torn(dataset_id: int, torn: str, pattern: str) -> str:
    """Patients on both sides of folds, with the call that keeps those together whose cases the pattern tells."""
    way = call("nnunet_split_dataset", dataset_id=dataset_id, patients=pattern or None)
    return f"{torn}. {way} shows a split that keeps them together."


def told(error: RunError) -> str:
    """The error's text, followed by the call that helps."""
    return f"{error.text} {HELP[error.about](**error.facts)}" if error.about else error.text


@contextmanager
def helped() -> Iterator[None]:
    """For Python, which renders nothing: errors that pass get the sentence with the call that helps, once."""
    try:
        yield
    except RunError as error:
        error.text, error.about = told(error), ""
        raise
