"""The storm: random events, one after the other; after each, the invariants are checked."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import psutil

from nnunet_mcp.errors import RunError
from nnunet_mcp.liveness import liveness
from nnunet_mcp.runs.engines import verdict
from nnunet_mcp.runs.layout import RunDir, StateDir
from nnunet_mcp.runs.processes import STAGE_VARIABLE, processes_of
from nnunet_mcp.runs.status import START_ALLOWANCE_S
from nnunet_mcp.schemas.records import ACTIVE, QueueAction, RunRecord, StageState
from nnunet_mcp.schemas.run_list import CancelRequest, QueueRequest, RunLine, RunsRequest
from nnunet_mcp.tools.watching.runs import nnunet_cancel, nnunet_queue, nnunet_runs
from tests.kit.lab import Answer, Lab, call, stand_in_python, structured
from tests.kit.phantom import write_phantom

from . import stand_in_worker

DATASETS = (71, 72, 73)
REAL_DATASET = stand_in_worker.REAL_DATASET
REAL_SHARE = 0.05
FOLDS = ("0", "1", "2", "all")
MOVES: tuple[QueueAction, ...] = ("front", "hold", "hold", "release")
VOCABULARY = {"queued", "running", "success", "error", "cancelled", "interrupted"}
AT_REST = {"success", "error", "cancelled", "interrupted"}
SETTLE_S = 40.0
REAL_SETTLE_S = 240.0  # a real stage reads its libraries for seconds before it has children
ORPHANS_GONE_S = 10.0
# A supervisor that has just looked whether it is held may still start a stage, on a loaded machine seconds later.
OBEYED_WITHIN_S = 5.0
DISK_BYTES = 640 * 1024**2


@dataclass
class Counts:
    """What happened and what went wrong."""

    events: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = Counter(text.split(":")[0] for text in self.broken)
        wrong = ", ".join(
            f"{name} {kinds.get(name, 0)}" for name in ("lost", "misreported", "orphans", "torn", "stuck", "early")
        )
        return f"{sum(self.events.values())} events {dict(self.events)}; {self.runs} runs {dict(self.ended)}; {wrong}"


class Storm:
    """A workspace, a seed, and everything that can go wrong there."""

    def __init__(self, folder: Path, seed: int, *, real: bool = False) -> None:
        self.random, self.real = random.Random(seed), real
        extra = {
            "NNUNET_MCP_WORKER_PYTHON": str(stand_in_python(folder, Path(stand_in_worker.__file__))),
            "NNUNET_MCP_GRACE_S": "5",
            "NNUNET_MCP_REPEAT_WINDOW_S": "0",
        }
        self.lab = Lab(folder / "work", extra)
        self.state = StateDir(self.lab.settings.state_dir)
        self.counts = Counts()
        self.known: set[str] = set()
        (folder / "work" / "results").mkdir(parents=True)
        self.disk = _small_disk(folder / "work" / "results")
        for number in DATASETS:
            write_phantom(folder / "work" / "raw" / f"Dataset{number:03d}_Chaos", cases=5, shape=(4, 4, 4))
        if real:
            write_phantom(folder / "work" / "raw" / f"Dataset{REAL_DATASET:03d}_Real", cases=6, shape=(32, 32, 32))

    def rage(self, events: int) -> Counts:
        """Make events happen, then wait until every run has ended, and check the invariants once more."""
        deeds = self._deeds()
        try:
            for number in range(1, events + 1):
                name = self.random.choices(list(deeds), weights=[weight for weight, _ in deeds.values()])[0]
                deeds[name][1]()
                self.counts.events[name] += 1
                time.sleep(self.random.uniform(0.0, 0.3))
                self._check()
                if number % 100 == 0:
                    print(f"{number}: {self.counts}", flush=True)
                    for text in self.counts.broken[-3:]:
                        print(f"  {text}", flush=True)
            self._come_to_rest()
        finally:
            self._clean_up()
        return self.counts

    def _deeds(self) -> dict[str, tuple[int, Callable[[], None]]]:
        return {
            "start": (6, self._start),
            "race": (2, self._race),
            "resume": (3, self._resume),
            "follow": (2, self._follow),
            "move": (3, self._move),
            "cancel": (2, self._cancel),
            "kill server": (2, self._kill_server),
            "kill supervisor": (2, lambda: self._kill(self._supervisors)),
            "kill worker": (3, lambda: self._kill(self._workers)),
            "kill loader": (1, lambda: self._kill(self._loaders)),
            "kill session": (2, self._kill_session),
            "fill disk": (1, self._fill_disk),
        }

    # What can happen

    def _request(self) -> dict[str, object]:
        if self.real and self.random.random() < REAL_SHARE:
            return _asked(REAL_DATASET, self.random.choice(FOLDS[:2]))
        return _asked(self.random.choice(DATASETS), self.random.choice(FOLDS))

    def _start(self, **more: object) -> None:
        """Make a request that may be refused; a refused request must leave nothing behind."""
        overwrite = not more and self.random.random() < 0.7
        request = {**self._request(), **more, **({"overwrite": True} if overwrite else {})}

        async def once() -> Answer | None:
            async with self.lab.client() as client:
                return _accepted(await client.call_tool("nnunet_training", request))

        if (answer := anyio.run(once)) is not None:
            self.known.add(str(answer["run_id"]))

    def _follow(self) -> None:
        """A request for a run after one that is at work or waits, perhaps for another."""
        if active := self._active():
            self._start(after=self.random.choice(active), overwrite=True)

    def _move(self) -> None:
        """Let a waiting run go first, hold it, or release it, at whatever moment it is in."""
        if active := self._active():
            request = QueueRequest(run_id=self.random.choice(active), action=self.random.choice(MOVES))
            with contextlib.suppress(RunError, OSError):  # nothing of it may wait any more; the disk may be full
                nnunet_queue(request, self.lab.settings)

    def _release_all(self) -> None:
        for run_id in self._active():
            with contextlib.suppress(RunError):
                nnunet_queue(QueueRequest(run_id=run_id, action="release"), self.lab.settings)

    def _resume(self) -> None:
        self._start(continue_training=True)

    def _race(self) -> None:
        """The same fold asked for by several servers at once: one wins, the others name it."""
        request = {**self._request(), "overwrite": True}
        won: list[str] = []

        async def one() -> None:
            async with self.lab.client() as client:
                if (answer := _accepted(await client.call_tool("nnunet_training", request))) is not None:
                    won.append(str(answer["run_id"]))

        async def all_at_once() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(one)

        anyio.run(all_at_once)
        self.known.update(won)
        if len(set(won)) > 1 and self._overlap(set(won)):
            self.counts.broken.append(f"misreported: {len(set(won))} runs won the same fold: {won}")

    def _overlap(self, run_ids: set[str]) -> bool:
        """Whether runs were alive on one fold at the same time: the first may just have ended."""
        spans = []
        for run_id in run_ids:
            states = [s for _, _, s in self._states(self.state.run(run_id)) if s.started_at is not None]
            if states:
                end = max(s.ended_at or time.time() for s in states)
                spans.append((min(s.started_at or 0.0 for s in states), end))
        spans.sort()
        return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))

    def _cancel(self) -> None:
        self._victim(self._supervisors)
        run_id = self.random.choice(self._active() or sorted(self.known))
        self.lab.call("nnunet_cancel", run_id=run_id, force=self.random.random() < 0.5)

    def _kill_server(self) -> None:
        """Start a run on a server and kill the server's group at a random moment of the call."""
        process = subprocess.Popen(
            [sys.executable, "-m", "nnunet_mcp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.lab.environment,
            start_new_session=True,
        )
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        start = {"name": "nnunet_training", "arguments": {**self._request(), "overwrite": True}}
        messages: list[dict[str, object]] = [
            {"id": 1, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/call", "params": start},
        ]
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            for message in messages:
                process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
                process.stdin.flush()
        time.sleep(self.random.uniform(0.4, 1.2))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def _victim(self, candidates: Callable[[], list[psutil.Process]]) -> psutil.Process:
        """A live process of the kind; runs are started until there is one, so that every kill kills."""
        if not candidates():
            self._release_all()  # a held run has a supervisor, and nothing else
        deadline = time.monotonic() + (REAL_SETTLE_S if self.real else SETTLE_S)
        while not (found := candidates()):
            if not self._supervisors():
                self._start()
            time.sleep(0.02)
            assert time.monotonic() < deadline, "nothing lives that could be killed"
        return self.random.choice(found)

    def _kill(self, candidates: Callable[[], list[psutil.Process]]) -> None:
        victim = self._victim(candidates)
        how = self.random.choice(("KILL", "TERM", "STOP+KILL"))
        with contextlib.suppress(psutil.Error):
            if how == "STOP+KILL":
                victim.suspend()
                time.sleep(0.2)
            victim.send_signal(signal.SIGTERM if how == "TERM" else signal.SIGKILL)

    def _kill_session(self) -> None:
        """Supervisor and workers of one run at once. Nobody resumes or cancels it: the rest must go by itself."""
        loader = self._victim(self._loaders)
        with contextlib.suppress(psutil.Error, KeyError, OSError):  # it may just have ended
            stages = Path(loader.environ()[STAGE_VARIABLE]).parent
            run = str(stages.parent)
            for process in [*_running("nnunet_mcp.runs.local.supervisor", run), *_workers(run)]:
                process.kill()
            self._look_for_orphans(list(stages.iterdir()))

    def _look_for_orphans(self, stages: list[Path]) -> None:
        deadline = time.monotonic() + ORPHANS_GONE_S
        while (left := processes_of(*stages)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.counts.broken += [f"orphans: {process.pid} of {stages[0].parent.parent.name}" for process in left]

    def _fill_disk(self) -> None:
        """A full disk for a moment, where there is a small one of our own."""
        if not self.disk:
            return
        filler = self.lab.folder / "results" / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as stream:
            while True:
                stream.write(b"x" * 1024**2)
        time.sleep(self.random.uniform(0.2, 1.0))
        filler.unlink()

    def _supervisors(self) -> list[psutil.Process]:
        return _running("nnunet_mcp.runs.local.supervisor", str(self.lab.folder))

    def _workers(self) -> list[psutil.Process]:
        return _workers(str(self.lab.folder))

    def _loaders(self) -> list[psutil.Process]:
        return [p for p in self.lab.processes() if p not in self._workers()]

    # What must be true

    def _runs(self) -> Iterator[tuple[RunDir, RunRecord | None]]:
        for run_id in self.state.run_ids():
            yield self.state.run(run_id), self.state.run(run_id).record()

    def _check(self) -> None:
        """Nothing lost, nothing torn, no status against the evidence of the process table."""
        found = {run.run_id for run, _ in self._runs()}
        for lost in sorted(self.known - found):
            self.counts.broken.append(f"lost: {lost}")
        self.known = found
        self.counts.runs = len(found)
        for path in self.lab.folder.rglob("*.json"):
            _check_json(path, self.counts)
        for path in (self.lab.folder / "results").rglob("checkpoint_*.pth"):
            _check_checkpoint(path, self.counts)
        for line in self._lines():
            self._check_status(line)
        for run, record in self._runs():
            self._check_turn(run, record)

    def _check_turn(self, run: RunDir, record: RunRecord | None) -> None:
        """No stage has begun before the run that it follows succeeded, or while somebody held it."""
        began = [state.started_at for _, _, state in self._states(run) if state.started_at is not None]
        if record is None or not began:
            return
        if record.after is not None and self._status_now(record.after) != "success":
            self.counts.broken.append(f"early: {run.run_id} has begun, and {record.after} has not succeeded")
        if run.queue().held and max(began) > run.queue_file.stat().st_mtime + OBEYED_WITHIN_S:
            self.counts.broken.append(f"early: {run.run_id} has begun a stage while it was held")

    def _lines(self) -> tuple[RunLine, ...]:
        """The status of the newest runs now. It is derived, so no server has to be asked."""
        return nnunet_runs(RunsRequest(limit=60), self.lab.settings).runs

    def _active(self) -> list[str]:
        """The active runs; one whose supervisor was killed before it wrote anything counts as active for a while."""
        return [line.run_id for line in self._lines() if line.status in ACTIVE]

    def _check_status(self, line: RunLine) -> None:
        status, run = line.status, self.state.run(line.run_id)
        if status not in VOCABULARY:
            self.counts.broken.append(f"misreported: {run.run_id} is {status!r}")
        if status in AT_REST and self._alive(run, status):
            now = self._status_now(run.run_id)  # it may have ended since the list was made, never begun
            if now in AT_REST and self._alive(run, now):
                self.counts.broken.append(f"misreported: {run.run_id} is {now} and alive")
        if status == "success" and not all(self._proved(run)):
            self.counts.broken.append(f"misreported: {run.run_id} is success without results")

    def _status_now(self, run_id: str) -> str:
        run = self.state.run(run_id)
        record = run.record()
        assert record is not None
        return verdict(run, record).status

    def _states(self, run: RunDir) -> Iterator[tuple[RunDir, str, StageState]]:
        record = run.record()
        for spec in record.stages if record is not None else ():
            if not spec.reused and (state := run.stage(spec.name).state()) is not None:
                yield run, spec.name, state

    def _alive(self, run: RunDir, status: str) -> bool:
        """Whether the run lives, by the process table alone.

        Once every stage has proved its success, the supervisor may still be writing the result down.
        """
        engine = run.engine()
        marks = [state.process for _, _, state in self._states(run) if state.process is not None]
        marks += [engine.supervisor] if engine is not None and status != "success" else []
        return any(liveness(mark) == "alive" for mark in marks)

    def _proved(self, run: RunDir) -> Iterator[bool]:
        record = run.record()
        for spec in record.stages if record is not None else ():
            outcome = run.stage(spec.name).outcome()
            yield spec.reused or (outcome is not None and outcome.ok)

    def _come_to_rest(self) -> None:
        """Nothing is stuck; after a cancel nothing of a run is left; what was trained can be resumed."""
        self._release_all()
        deadline = time.monotonic() + START_ALLOWANCE_S + SETTLE_S + (20 if self.real else 2) * len(self.known)
        while (self._supervisors() or self._active()) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.counts.broken += [f"stuck: {process.cmdline()[-1]}" for process in self._supervisors()]
        self.counts.broken += [f"stuck: {run_id} is still active" for run_id in self._active()]
        for run_id in sorted(self.known):
            answer = nnunet_cancel(CancelRequest(run_id=run_id), self.lab.settings)
            self.counts.ended[answer.status] += 1
        self.counts.broken += [f"orphans: {process.pid} {process.cmdline()}" for process in self.lab.processes()]
        self._check()
        for dataset in (*DATASETS, *([REAL_DATASET] if self.real else [])):
            self._resume_fold(dataset)

    def _resume_fold(self, dataset: int) -> None:
        request = _asked(dataset, "0")

        async def again() -> str:
            async with self.lab.client() as client:
                for extra in ({"continue_training": True}, {"overwrite": True}):
                    answer = _accepted(await client.call_tool("nnunet_training", {**request, **extra}))
                    if answer is not None:
                        break
                else:
                    return "refused"
                status = "queued"
                with anyio.fail_after(300 if dataset == REAL_DATASET else 60):
                    while status in ("queued", "running"):
                        status = (await call(client, "nnunet_progress", run_id=answer["run_id"], wait_s=5))["status"]
                return status

        if (status := anyio.run(again)) != "success":
            self.counts.broken.append(f"stuck: dataset {dataset} could not be finished: {status}")

    def _clean_up(self) -> None:
        for process in [*self._supervisors(), *self.lab.processes()]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self.disk:
            subprocess.run(["umount", "-l", str(self.lab.folder / "results")], check=False)


def _asked(dataset: int, fold: str) -> dict[str, object]:
    request = {"dataset_id": dataset, "configuration": "3d_fullres", "fold": fold, "device": "cpu"}
    return {**request, "trainer": "ShortTrainer"} if dataset == REAL_DATASET else request


def _accepted(result: object) -> Answer | None:
    from mcp.types import CallToolResult

    assert isinstance(result, CallToolResult)
    return None if result.is_error else structured(result)


def _running(module: str, folder: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if module in command and any(part.startswith(folder) for part in command):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _workers(folder: str) -> list[psutil.Process]:
    """The workers; a loader that one has forked has its command line, too."""
    found = _running("nnunet_mcp.worker", folder)
    pids = {process.pid for process in found}
    return [process for process in found if psutil.pid_exists(process.pid) and process.ppid() not in pids]


def _check_json(path: Path, counts: Counts) -> None:
    if path.name.startswith("."):
        return
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        counts.broken.append(f"torn: {path}")


def _check_checkpoint(path: Path, counts: Counts) -> None:
    try:
        if f"Dataset{REAL_DATASET:03d}" not in str(path):
            stand_in_worker.load(path)
        elif zipfile.ZipFile(path).testzip() is not None:
            counts.broken.append(f"torn: {path}")
    except FileNotFoundError:
        return
    except (ValueError, zipfile.BadZipFile):
        counts.broken.append(f"torn: {path}")


def _small_disk(folder: Path) -> bool:
    """Mount a small tmpfs, so that it can be filled; False where that is not allowed."""
    program = shutil.which("mount")
    if program is None or os.geteuid() != 0:
        return False
    command = [program, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
