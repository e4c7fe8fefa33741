"""The engine of a cluster: each stage of a run is a Slurm job."""

import contextlib
import time
from collections.abc import Iterable, Iterator

from ...calls import argument
from ...errors import Refused, Unavailable
from ...schemas.records import JobsRecord, QueueAction, RunRecord, StageSpec
from ...schemas.system import Check
from ...schemas.training import Device
from ...settings import Settings
from ..engine import Engine, Preview
from ..layout import RunDir, StateDir
from ..stage_process import Grant
from ..status import Evidence
from .commands import SlurmError, SlurmRefused, SlurmSilent, call, move, scancel, would_start
from .evidence import gather_jobs
from .options import options_of
from .script import job_script
from .submit import go_on_submitting, jobs_of, owners_desk, submit, todo

LATER = "Ask again later."
# Slurm's word for each action, for people.
SAID: dict[QueueAction, str] = {"front": "put in front", "hold": "hold", "release": "release"}


class SlurmEngine(Engine):
    """The cluster on whose login node the server runs."""

    name = "slurm"
    keeps_models = True
    in_front = "Its jobs go before all others of the same user that wait; Slurm decides between users."

    def checks(self, settings: Settings) -> Iterator[Check]:
        """Whether the cluster answers, and whether the server's own options are valid."""
        name, fix = "Slurm", "Start the server where sbatch works, on a login node, or set NNUNET_MCP_ENGINE=local."
        try:
            options_of(settings)
            partitions = call("sinfo", "--noheader", "--format=%R").split()
        except Refused as error:
            yield Check(name=name, level="problem", detail=str(error), fix="Correct it in the server's environment.")
        except SlurmError as error:
            yield Check(name=name, level="problem", detail=f"Slurm cannot be asked: {error}.", fix=fix)
        else:
            yield Check(name=name, level="ok", detail=f"answers; partitions {', '.join(dict.fromkeys(partitions))}")

    def options(self, asked: Iterable[str], settings: Settings) -> dict[str, str]:
        """The options of the run's jobs."""
        return options_of(settings, asked)

    def device(self, asked: Device | None, settings: Settings, *, num_gpus: int | None = None) -> tuple[Device, str]:
        """A GPU by default; Slurm finds it."""
        if asked == "mps":
            raise Unavailable(
                f"Clusters have no Apple GPUs. Use {argument(device='cuda')} or {argument(device='cpu')}."
            )
        return asked or "cuda", "asked for" if asked else "Slurm finds the GPU"

    def cpu_has_bf16(self) -> bool | None:
        """Unknown: the nodes may have other processors than this machine."""
        return None

    def problems(self, device: Device | None) -> list[str]:
        """None that can be known here: what a node lacks shows only on the node."""
        return []

    def notes(self, device: Device | None, options: dict[str, str], settings: Settings) -> list[str]:
        """Which options are missing that sites set low by default: with one core the GPU waits for its data."""
        own = settings.slurm_sbatch
        lacking = [
            name
            for name, flags in (("cpus", ("--cpus-per", "-c")), ("memory", ("--mem",)))
            if name not in options and not any(word.startswith(flags) for word in own.split())
        ]
        if device != "cuda" or not lacking:
            return []
        return [
            f"Neither this request nor the server names {' and '.join(lacking)} of a job, and many sites give "
            "little: with one core the GPU waits for its data. E.g. "
            f"{argument(slurm=['cpus=12', 'memory=64G'])} for each GPU."
        ]

    def lanes(self, record: RunRecord, trainings: int, settings: Settings) -> int:
        """All trainings, or as many as the option `parallel` allows."""
        return max(1, min(trainings, int(record.slurm.get("parallel", trainings))))

    def preview(self, record: RunRecord, settings: Settings) -> Preview:
        """The scripts, one for each kind of stage, and what sbatch says when it tests them."""
        run = StateDir.of(settings).run(record.run_id)
        scripts = {spec.name: job_script(run, record, spec, settings) for spec in _one_of_each(record)}
        said, problems = [], []
        for name, script in scripts.items():
            try:
                said.append(f"{name}: {would_start(script)}")
            except SlurmRefused as error:
                problems.append(
                    f"Slurm would refuse {name}: {error}. Correct {argument(slurm=None)} or the server's options."
                )
            except SlurmSilent as error:
                problems.append(f"Slurm does not answer: {error}.")
                break
        return Preview(tuple(scripts.values()), tuple(said), tuple(problems))

    def hold_device(self, record: RunRecord, settings: Settings) -> Grant | str:
        """Not possible: the GPU is on another machine."""
        return "this machine is not the cluster's node that would train"

    def gpu_memory_gb(self, record: RunRecord, settings: Settings) -> float | None:
        """Unknown: Slurm has not chosen the GPU yet."""
        return None

    def start(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Submit a job for each stage. If Slurm does not answer now, the next call that reads the run goes on."""
        try:
            submit(run, record, settings)
        except Refused:
            run.remove()
            raise
        except SlurmRefused as error:
            run.remove()
            raise Refused(f"Slurm refuses the run's jobs: {error}. Nothing was started.", about="jobs") from None

    def go_on_starting(self, run: RunDir, record: RunRecord, settings: Settings) -> None:
        """Submit the jobs that were not submitted because the process was killed in between."""
        go_on_submitting(run, record, settings)

    def evidence(self, run: RunDir, record: RunRecord) -> Evidence:
        """The run's files, and what Slurm says about its jobs."""
        return gather_jobs(run, record)

    def move(self, run: RunDir, record: RunRecord, action: QueueAction, settings: Settings) -> None:
        """Slurm's own word for it, about the run's jobs that wait."""
        try:
            desk = owners_desk(run)
            jobs = jobs_of(run, record, desk.listing(newer_than=time.time())).values()
            if not (run.afresh().jobs() or JobsRecord()).complete:
                raise Unavailable(f"The jobs of {run.run_id} are not submitted yet, so none can be moved. {LATER}")
            if not (waiting := [job.id for job in jobs if job.waits]):
                raise Unavailable(f"No job of {run.run_id} waits at this moment. {LATER}")
            move(waiting, action)
            desk.listing(newer_than=time.time())  # the answer shows what has become of it
        except SlurmRefused as error:
            operators = " The site keeps that for its operators (enable_user_top)." if "denied" in str(error) else ""
            raise Refused(f"Slurm refuses to {SAID[action]} the jobs of {run.run_id}: {error}.{operators}") from None
        except SlurmSilent as error:
            raise Unavailable(f"Slurm does not answer: {error}. {LATER}") from None

    def cancel(self, run: RunDir, record: RunRecord, *, gracefully: bool) -> None:
        """End the jobs; gracefully: only those that wait, because running ones obey cancel.json.

        If Slurm does not answer, a job that starts later finds cancel.json and ends at once.
        """
        with contextlib.suppress(SlurmError):
            jobs = jobs_of(run, record, owners_desk(run).listing(newer_than=time.time()))
            scancel([job.id for job in jobs.values() if not job.ended], only_pending=gracefully)

    def end(self, run: RunDir, record: RunRecord) -> None:
        """End all jobs."""
        self.cancel(run, record, gracefully=False)

    def sweep(self, run: RunDir, record: RunRecord) -> None:
        """End jobs that are left over."""
        self.cancel(run, record, gracefully=False)


def _one_of_each(record: RunRecord) -> list[StageSpec]:
    """One stage of each kind: the scripts of other folds differ only in the fold."""
    first: dict[tuple[str, str], StageSpec] = {}
    for spec in todo(record):
        first.setdefault((spec.kind, spec.configuration), spec)
    return list(first.values())
