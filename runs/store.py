"""Record new runs, such that no fold folder ever has two active ones, and find recorded runs.

The record of a run that is about to start is the same for every kind of job.

A claim names the last run that was started on a fold folder. It is only a pointer: whether that run is
still active is derived from the run itself.
"""

import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

from ..errors import NotFound, Refused
from ..files import Stamp, has_settled, make_folder, read_model, stamp, write_model
from ..liveness import host_name
from ..locks import held, lock_name
from ..schemas.jobs import AnyJob
from ..schemas.records import ACTIVE, Folders, RunRecord, StageSpec
from ..schemas.training import Device
from ..texts import clean
from .by_hand import is_external
from .engine import Engine
from .engines import engine_of, verdict
from .layout import RunDir, StateDir
from .requests import AskedAs

# No vowels and no look-alikes, so that ids neither spell words nor get misread.
ID_ALPHABET = "23456789bcdfghjkmnpqrstvwxz"


# Only valid file names can be asked for, never paths.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")


class Claim(BaseModel):
    """Which run was last started on a fold folder."""

    run_id: str


def new_run_id(dataset_id: int, configuration: str, fold: str) -> str:
    """A short readable id, e.g. d004-3d_fullres-f0-k7m3."""
    part = f"f{fold}" if fold.isdigit() else fold
    suffix = "".join(secrets.choice(ID_ALPHABET) for _ in range(4))
    return f"d{dataset_id:03d}-{configuration}-{part}-{suffix}"


def new_record(
    job: AnyJob,
    stages: Sequence[StageSpec],
    *,
    dataset_name: str,
    folders: Folders,
    versions: dict[str, str],
    device: tuple[Device, str] = ("cpu", ""),
    engine: tuple[Engine, dict[str, str]] | None = None,
    notes: Sequence[str] = (),
) -> RunRecord:
    """The record, under an id of its own; `device` comes with why it was chosen, `engine` with its options.

    Without an engine it runs on this machine.
    """
    training = job if job.kind == "train" else None
    fold = training.request.fold if training else job.kind
    record = RunRecord(
        run_id=new_run_id(job.dataset_id, job.configuration, fold),
        created_at=time.time(),
        job=job,
        dataset_name=dataset_name,
        device=device[0],
        device_reason=device[1],
        num_gpus=(training.request.num_gpus if training else None) or 1,
        folders=folders,
        stages=tuple(stages),
        host=host_name(),
        versions=versions,
        notes=tuple(notes),
    )
    return record if engine is None else record.model_copy(update={"engine": engine[0].name, "slurm": engine[1]})


def record_run(
    state: StateDir,
    record: RunRecord,
    targets: Iterable[str],
    *,
    repeat_window_s: float,
    asked: AskedAs | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[RunDir, bool]:
    """Write run.json, unless another active run has one of the fold folders.

    First, processes that an interrupted run left on these folders are ended. Returns the run and whether it is new: an
    identical request within `repeat_window_s` gets the run that the first one started, because clients call again when
    an answer is late; one with the same request_id gets it for ever. `check` refuses what has changed since the run was
    planned, while nothing else can.

    Raises:
        Refused: another run is active on one of the `targets` (fold folders), or `check` refuses.
    """
    wanted = sorted(set(targets))
    with nobody_starts(state):
        if asked is not None and (before := run_of_request(state, asked)) is not None:
            return before[0], False
        earlier = {target: found for target in wanted if (found := _last_on(state, target)) is not None}
        for target, (run, other) in earlier.items():
            if verdict(run, other).status in ACTIVE:
                if _is_repeat(other, record, repeat_window_s):
                    if asked is not None:
                        asked.started(state, run.run_id)
                    return run, False
                raise _already_active(run.run_id, target)
        check()
        for run, other in {run.run_id: (run, other) for run, other in earlier.values()}.values():
            engine_of(other).sweep(run, other)
        if asked is not None:
            asked.started(state, record.run_id)
        make_folder(state.claims_dir)
        for target in wanted:
            write_model(_claim_path(state, target), Claim(run_id=record.run_id))
        return _publish(state, record), True


def run_of_request(state: StateDir, asked: AskedAs) -> tuple[RunDir, RunRecord] | None:
    """The run that this request started; None where there is none, or where it was recorded and never started in time,
    so that its folds may be others' by now.

    Raises:
        Refused: the request's id has started a run with other arguments.
    """
    run = asked.run(state)
    record = run.record() if run is not None else None
    if run is None or record is None:
        return None
    was_started = run.engine_file.exists() or verdict(run, record).status in ACTIVE
    return (run, record) if was_started else None


@contextmanager
def nobody_starts(state: StateDir) -> Iterator[None]:
    """No run is recorded meanwhile."""
    with held(state.locks_dir / "start.lock"):
        yield


def trainings_on(state: StateDir, dataset_name: str) -> Iterator[str]:
    """The active trainings of a dataset."""
    for run in newest_runs(state):
        record = run.record()
        if record is None or record.training is None or record.dataset_name != dataset_name:
            continue
        if verdict(run, record).status in ACTIVE:
            yield record.run_id


def active_on(state: StateDir, targets: Iterable[str]) -> list[Refused]:
    """Why fold folders cannot be written now: the runs that are active on them."""
    found = [(target, last) for target in targets if (last := _last_on(state, target)) is not None]
    return [_already_active(run.run_id, target) for target, (run, rec) in found if verdict(run, rec).status in ACTIVE]


def _already_active(run_id: str, target: str) -> Refused:
    return Refused(f"Run {run_id} is already active on {target}.", about="active run", run_id=run_id)


def _is_repeat(other: RunRecord, record: RunRecord, window_s: float) -> bool:
    return other.job.asked == record.job.asked and abs(record.created_at - other.created_at) < window_s


def _last_on(state: StateDir, target: str) -> tuple[RunDir, RunRecord] | None:
    claim = read_model(_claim_path(state, target), Claim)
    if claim is None:
        return None
    run = state.run(claim.run_id)
    record = run.record()
    return (run, record) if record is not None else None


def _claim_path(state: StateDir, target: str) -> Path:
    return state.claims_dir / lock_name(target).replace(".lock", ".json")


def _publish(state: StateDir, record: RunRecord) -> RunDir:
    """Build the folder under a hidden name and rename it, so that a run exists completely or not at all."""
    hidden = state.runs_dir / f".new-{record.run_id}-{secrets.token_hex(4)}"
    make_folder(hidden)
    try:
        for spec in record.stages:
            make_folder(RunDir(hidden).stage(spec.name).path)
        write_model(RunDir(hidden).run_file, record)
        hidden.rename(state.runs_dir / record.run_id)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return state.run(record.run_id)


def find_run(state: StateDir, run_id: str) -> tuple[RunDir, RunRecord]:
    """The run of that id.

    Raises:
        NotFound: no such run; the message names the newest ones.
        Refused: it is a training that was started by hand.
    """
    run = state.run(run_id)
    record = run.record() if RUN_ID.fullmatch(run_id) else None
    if record is None and is_external(run_id):
        raise Refused(
            f"{run_id} was started by hand with nnUNetv2_train: it can be seen among the runs, but not followed, "
            "cancelled or resumed from here. Stop it in its own terminal."
        )
    if record is None:
        known = [found.run_id for found in newest_runs(state, limit=5)]
        hint = f"The newest are {', '.join(known)}." if known else "There are no runs yet."
        raise NotFound(f"There is no run {clean(run_id)!r}. {hint}", about="runs")
    return run, record


def ended_run(state: StateDir, run_id: str) -> RunRecord | None:
    """The record of a run that is not active any more; None where there is none of that id."""
    run = state.run(run_id)
    record = run.record() if RUN_ID.fullmatch(run_id) else None
    return record if record is not None and verdict(run, record).status not in ACTIVE else None


def run_to_follow(state: StateDir, run_id: str) -> tuple[RunRecord, bool]:
    """The run that a new one is to follow, and whether it has succeeded already.

    Raises:
        NotFound: no such run.
        Refused: it has ended without success, or was started by hand.
    """
    run, record = find_run(state, run_id)
    status = verdict(run, record).status
    if status not in ACTIVE and status != "success":
        raise Refused(
            f"Run {run_id} is {status}: it will not succeed any more, so a run after it would never start. Start this "
            "one at once, or after the run that does that one's work again.",
            about="ended run",
            run_id=run_id,
        )
    return record, status == "success"


def newest_ids(state: StateDir) -> list[str]:
    """All runs, newest first, by the time of their recording.

    No file is read. While no run is added or removed, one stat finds out; else there is one per run.
    """
    folder = str(state.runs_dir)
    seen, ids = _LISTED.get(folder, (None, []))
    now = stamp(folder)
    if seen is None or seen != now:
        # Plain strings, because ten thousand Path objects would take longer than their stats.
        recorded = ((_recorded_at(f"{folder}/{run_id}/run.json"), run_id) for run_id in state.run_ids())
        ids = [run_id for _, run_id in sorted(recorded, reverse=True)]
        _LISTED[folder] = (now if has_settled(now) else None), ids
    return list(ids)


# By the folder of runs: its stamp, and what was in it then.
_LISTED: dict[str, tuple[Stamp | None, list[str]]] = {}


def newest_runs(state: StateDir, *, limit: int | None = None) -> Iterator[RunDir]:
    """Runs, newest first."""
    return (state.run(run_id) for run_id in newest_ids(state)[:limit])


def _recorded_at(run_file: str) -> int:
    found = stamp(run_file)
    return found[2] if found else 0


def forget(state: StateDir, *, older_than_s: float) -> list[str]:
    """Remove the records of ended runs older than that; models are never touched."""
    gone = []
    for run in newest_runs(state):
        record = run.record()
        if record is None or time.time() - record.created_at < older_than_s:
            continue
        if verdict(run, record).status not in ACTIVE:
            run.remove()
            gone.append(run.run_id)
    return gone
