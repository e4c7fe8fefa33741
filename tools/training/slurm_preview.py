"""What a run's Slurm jobs would be: their scripts, and what sbatch says to them when it only tests."""

from dataclasses import dataclass

from ...calls import argument
from ...runs.layout import StateDir
from ...runs.slurm.commands import SlurmRefused, SlurmSilent, would_start
from ...runs.slurm.script import job_script
from ...runs.slurm.submit import todo
from ...schemas.records import RunRecord, StageSpec
from ...settings import Settings


@dataclass(frozen=True)
class Preview:
    """One script for each kind of stage: those of the other folds differ in the fold only."""

    scripts: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def preview_jobs(record: RunRecord, settings: Settings) -> Preview:
    """The scripts, and when they would start or why they would be refused. Nothing is submitted.

    Raises:
        Refused: the server's own lines for sbatch cannot be used.
    """
    run = StateDir(settings.state_dir).run(record.run_id)
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


def _one_of_each(record: RunRecord) -> list[StageSpec]:
    first: dict[tuple[str, str], StageSpec] = {}
    for spec in todo(record):
        first.setdefault((spec.kind, spec.configuration), spec)
    return list(first.values())
