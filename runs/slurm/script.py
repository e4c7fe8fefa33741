"""The job script of a stage. It contains everything that the job needs, whatever environment it starts in."""

import os
import re
import shlex
import sys
from collections.abc import Iterator

from ...errors import Refused
from ...launch import python_command, without_secrets
from ...schemas.records import RunRecord, StageSpec
from ...schemas.slurm import OPTIONS, with_gpus
from ...settings import Settings
from ..layout import RunDir
from .options import warn_s

JOB = "nnunet_mcp.runs.slurm.job"


def job_script(run: RunDir, record: RunRecord, spec: StageSpec, settings: Settings) -> str:
    """The text of the script.

    Raises:
        Refused: the server's NNUNET_MCP_SLURM_SBATCH cannot be read.
    """
    command = python_command(sys.executable, JOB, str(run.path), spec.name)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {line}" for line in _directives(record, spec, settings)),
        "",
        "trap '' USR1  # a warning that comes before the job can hear it must not kill it",
        *settings.slurm_setup.splitlines(),
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(_environment(settings).items())),
        f"exec {shlex.join(command)}",
    ]
    return "\n".join(lines) + "\n"


def _directives(record: RunRecord, spec: StageSpec, settings: Settings) -> Iterator[str]:
    yield f"--job-name={record.run_id}:{spec.name}"
    yield "--output=job.log"
    yield "--open-mode=append"
    yield "--export=NONE"
    yield "--nodes=1"
    yield "--ntasks=1"
    yield "--requeue"
    yield "--kill-on-invalid-dep=yes"
    yield f"--signal=B:USR1@{warn_s(record.slurm)}"
    for name, value in _options(record, spec).items():
        yield f"{OPTIONS[name].flag}={value}"
    yield from _lines_of_the_server(settings)


def _options(record: RunRecord, spec: StageSpec) -> dict[str, str]:
    """sbatch's options for this stage."""
    options = {name: value for name, value in record.slurm.items() if OPTIONS[name].flag}
    if spec.traits.slot == "device" and record.device == "cuda":
        return with_gpus(options, record.num_gpus)  # the server's options cannot know how many GPUs a run uses
    without = {name: value for name, value in options.items() if name not in ("gres", "gpus", "constraint")}
    if spec.traits.slot != "device" and "cpu_partition" in record.slurm:
        without["partition"] = record.slurm["cpu_partition"]
    return without


def _lines_of_the_server(settings: Settings) -> list[str]:
    try:
        words = shlex.split(settings.slurm_sbatch)
    except ValueError as error:
        raise Refused(f"NNUNET_MCP_SLURM_SBATCH of the server cannot be read: {error}") from None
    if wrong := [word for word in words if not re.match(r"--[a-z]", word) or "\n" in word]:
        raise Refused(f"NNUNET_MCP_SLURM_SBATCH of the server has {wrong[0]!r}; write --option=value --option2=value.")
    if named := [word for word in words if re.match(r"--(gres|gpus[a-z-]*)(=|$)", word)]:
        raise Refused(
            f"NNUNET_MCP_SLURM_SBATCH of the server has {named[0]!r}, which would take the place of the GPUs that a "
            "run asks for. Write it into NNUNET_MCP_SLURM_OPTIONS: gres=… or gpus=…"
        )
    return [word if re.fullmatch(r"[\w.,:/=@+%-]+", word) else _quoted(word) for word in words]


def _quoted(word: str) -> str:
    name, _, value = word.partition("=")
    return f"{name}={shlex.quote(value)}"


def _environment(settings: Settings) -> dict[str, str]:
    """nnU-Net's variables and ours, as this server has them, with absolute folders."""
    # Secrets are left out: others may read the file.
    ours = {n: v for n, v in without_secrets(os.environ).items() if n.startswith(("nnUNet_", "NNUNET_MCP_"))}
    return {**ours, **settings.environment}
