"""A training like an earlier one: its arguments, with those that are given now in their place."""

from pydantic import ValidationError

from ...calls import call
from ...errors import Refused
from ...nnunet.datasets import DatasetFiles, FoldFiles
from ...runs.layout import StateDir
from ...runs.store import find_run
from ...schemas.changes.table import read_changes, written
from ...schemas.jobs import TrainingJob
from ...schemas.records import RunRecord
from ...schemas.training import EXCLUDE_EACH_OTHER, TrainingRequest, go_together
from ...settings import Settings

RESUME = "continue_training"
# What was asked of one run only: nothing is overwritten, and nothing is resumed, because an earlier run did; why it was
# started, and after which run.
OF_ONE_RUN = ("overwrite", "note", "after", RESUME)
EXCLUSIONS = [{one, other} for one, other, _ in EXCLUDE_EACH_OTHER]


def repeated(like: str, given: dict[str, object], settings: Settings) -> tuple[TrainingRequest, str]:
    """The whole request, and a note on what of the earlier run came into it.

    Raises:
        NotFound: no such run.
        Refused: it is no training, or its arguments and the new ones exclude each other.
    """
    record = find_run(StateDir.of(settings), like)[1]
    if record.training is None:
        raise Refused(
            f"Run {like} is no training, so it cannot be repeated as one. {call('nnunet_runs')} lists the trainings."
        )
    earlier = _of_earlier(record.training, given, begun=_every_fold_has_begun(record))
    changes = _changes(earlier, given)
    try:
        whole = TrainingRequest.model_validate({**earlier, **given, "changes": changes})
    except ValidationError as error:
        told = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise Refused(f"The arguments of {like} and the new ones do not go together: {told}") from None
    return whole, _note(like, {**earlier, "changes": list(whole.changes)}, {*given} - {"changes"})


def _every_fold_has_begun(record: RunRecord) -> bool:
    files = DatasetFiles(record.folders, record.dataset_name)
    folds = (files.fold_of(record, spec) for spec in record.stages if spec.traits.trains)
    return all(FoldFiles(fold).checkpoints() for fold in folds)


def _of_earlier(training: TrainingJob, given: dict[str, object], *, begun: bool) -> dict[str, object]:
    """A run's arguments. For a resume without what only began it: checkpoints hold the weights that folds started from;
    `begun`: every fold has one."""
    earlier = training.request.model_dump(mode="json", exclude={"dataset_id", *OF_ONE_RUN})
    if given.get(RESUME):
        fold = given.get("fold", earlier["fold"])
        needed = [name for name in earlier if go_together(name, RESUME, fold) and not begun]
        kept = [name for name in earlier if {name, RESUME} not in EXCLUSIONS or name in needed]
        earlier = {name: earlier[name] for name in kept}
        if not training.changes_of_plans:  # those of a transfer; what is derived is named by its changes
            earlier["plans_identifier"] = training.plans_identifier
    return earlier


def _changes(earlier: dict[str, object], given: dict[str, object]) -> tuple[str, ...]:
    """The earlier run's changes with those that are given: a name that both have counts as given."""
    both = [read_changes(map(str, words)) for words in (_words(earlier), _words(given))]
    return written(both[0] | both[1])


def _words(arguments: dict[str, object]) -> list[object]:
    found = arguments.get("changes", ())
    return list(found) if isinstance(found, list | tuple) else []


def _note(like: str, earlier: dict[str, object], given: set[str]) -> str:
    defaults = {name: field.default for name, field in TrainingRequest.model_fields.items()}
    taken = [f"{k}={v!r}" for k, v in earlier.items() if k not in given and v and v != defaults[k]]
    return f"As {like}: {', '.join(taken) or 'only defaults'}."
