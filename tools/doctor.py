"""`nnunet-mcp doctor`: check everything that a training needs, with the fix for each problem."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from pydantic import ValidationError

from ..ask import Failed, NotStarted, TookTooLong, ask
from ..calls import argument, call
from ..launch import python_command
from ..runs.by_hand import external_trainings
from ..runs.engines import verdict
from ..runs.layout import StateDir
from ..runs.machine.asking import NoAnswer, Question
from ..runs.machine.gpus import MACHINE
from ..schemas.gpus import CudaJob, TorchGpus
from ..schemas.records import ACTIVE
from ..schemas.system import Check, DoctorAnswer, DoctorRequest, Probe
from ..settings import Settings
from .following.targets import target_checks
from .machine_checks import machine_checks, state_check
from .start_up import environment, own_command, start_up_check
from .system import slots, versions

# The versions of constraints.txt; a test keeps both equal.
TESTED = {"nnunetv2": "2.8.1", "torch": "2.14.1", "torchvision": "0.29.1"}
PROBE = "nnunet_mcp.worker.asks.probe"
PROBE_S = 120.0
CUDA = "nnunet_mcp.worker.asks.cuda"
STEP_S = 120.0
STEP_JOB = CudaJob(step=True).model_dump_json()
STEP = Question("a small step on the GPUs", wait_s=STEP_S, end_s=STEP_S)
OTHER_BUILD = (
    "Install the PyTorch build for this card and driver (the table in docs/clients.md), free the GPU if it is in use, "
    "or leave it out of CUDA_VISIBLE_DEVICES."
)
OTHER_RELEASE = "If trainings fail, install nnunetv2=={nnunetv2}.".format(**TESTED)
MATCHED = "Install a matching pair, e.g. pip install torch=={torch} torchvision=={torchvision}.".format(**TESTED)


def examine(request: DoctorRequest, settings: Settings) -> DoctorAnswer:
    """Carry out all checks; nothing is changed."""
    checks = tuple(_checks(request, settings))
    problems = sum(check.level == "problem" for check in checks)
    warnings = sum(check.level == "warning" for check in checks)
    step = f"{problems} problem(s), {warnings} warning(s)." + (" Solve the problems first." if problems else "")
    return DoctorAnswer(checks=checks, problems=problems, warnings=warnings, next_step=step)


def _checks(request: DoctorRequest, settings: Settings) -> Iterator[Check]:
    yield from machine_checks(settings)
    yield state_check(settings)
    if request.quick:
        yield from version_checks(versions(settings))
    else:
        yield from _probed(settings)
    yield from target_checks(settings)
    yield from _slots(settings)
    yield _servers()
    yield from _leftovers(settings)
    if not request.quick:
        yield start_up_check([own_command()], environment(settings))


def version_checks(found: dict[str, Any]) -> Iterator[Check]:
    """Compare the installed versions with those that were tested."""
    if "python" in found:
        yield Check(name="python", level="ok", detail=str(found["python"]))
    for package, tested in TESTED.items():
        version = found.get(package)
        if version is None:
            continue
        detail = f"{version}, tested with {tested}"
        if str(version).split("+")[0] == tested:
            yield Check(name=package, level="ok", detail=str(version))
        else:
            fix = f"If trainings fail, install {package}=={tested}."
            yield Check(name=package, level="warning", detail=detail, fix=fix)


def _probed(settings: Settings) -> Iterator[Check]:
    """What a process like a training's finds. Loading PyTorch in this process would make every command slow."""
    found = _probe(settings.nnunet_python)
    if isinstance(found, Check):
        yield found
        return
    yield from version_checks(found.model_dump())
    for name, error in found.errors.items():
        fix = MATCHED if "torchvision" in error or name == "torchvision" else f"Install {name} again, then try again."
        yield Check(name=name, level="problem", detail=f"{name} cannot be loaded: {error}", fix=fix)
    if not found.errors:
        yield Check(name="trainers", level="ok", detail="nnU-Net finds its trainers")
    for difference in found.differences:
        yield Check(name="nnU-Net's inside", level="warning", detail=difference, fix=OTHER_RELEASE)
    gpus = [gpu.model for gpu in MACHINE.find(settings.nnunet_python).gpus]
    yield device_check(gpus, found.cuda, found.mps)
    if found.cuda:
        yield from step_checks(settings.nnunet_python)


def step_checks(python: str) -> Iterator[Check]:
    """A small real step on every GPU: counting GPUs does not show whether kernels and driver work."""
    name, fix = "step on the GPU", f"Run {python} -P -m {CUDA} '{STEP_JOB}' and solve what it says."
    try:
        answer = STEP.ask(python_command(python, CUDA, STEP_JOB))
        found = TorchGpus.model_validate_json((answer.out.strip().splitlines() or [""])[-1])
    except NoAnswer as error:
        yield Check(name=name, level="problem", detail=f"{error}: the driver may hang.", fix="dmesg says more (Xid).")
        return
    except ValidationError:
        last = (answer.err.strip().splitlines() or ["it says nothing"])[-1]
        yield Check(name=name, level="problem", detail=f"PyTorch cannot compute: {last[:200]}", fix=fix)
        return
    for number, device in enumerate(found.devices):
        name = f"step on GPU {number}"
        if device.problem:
            yield Check(name=name, level="problem", detail=f"{device.name}: {device.problem}", fix=OTHER_BUILD)
        else:
            yield Check(name=name, level="ok", detail=f"{device.name}, CUDA {found.cuda}")


def _probe(python: str) -> Probe | Check:
    name, fix = "nnU-Net's Python", f"Run {python} -P -m {PROBE} and solve what it says."
    try:
        return ask(python, PROBE, Probe, timeout_s=PROBE_S)
    except TookTooLong:
        detail = f"Loading PyTorch and nnU-Net takes longer than {PROBE_S:.0f} s with {python}."
        return Check(name=name, level="warning", detail=detail, fix="Install them on a local disk.")
    except NotStarted as error:
        return Check(name=name, level="problem", detail=f"{python} cannot be started: {error}.", fix=fix)
    except Failed as error:
        detail = f"{python} cannot look at PyTorch and nnU-Net: {error.last_line[:200]}"
        return Check(name=name, level="problem", detail=detail, fix=fix)


def device_check(gpus: list[str], cuda: int, mps: bool) -> Check:
    """Which device a training would use by default."""
    if gpus and not cuda:
        fix = f"Install a PyTorch for CUDA that fits the driver (pytorch.org), or train with {argument(device='cpu')}."
        detail = f"nvidia-smi lists {', '.join(gpus)}, but this PyTorch can use no GPU."
        return Check(name="device", level="problem", detail=detail, fix=fix)
    if gpus:
        return Check(name="device", level="ok", detail=f"cuda: {', '.join(gpus)}")
    if mps:
        return Check(name="device", level="ok", detail="mps")
    fix = "Use a machine with a GPU for real trainings; small ones and tries work here."
    return Check(
        name="device", level="warning", detail="No GPU: trainings run on the CPU, and take very long.", fix=fix
    )


def _slots(settings: Settings) -> Iterator[Check]:
    """Who holds the slots, and whether a run that has ended still holds one."""
    state = StateDir.of(settings)
    for slot in slots(settings) if state.path.is_dir() else ():
        if slot.holder is None:
            continue
        name = f"{slot.kind} slot {slot.name}"
        held = re.match(r"run (\S+)", slot.holder)
        run = state.run(held[1]) if held else None
        record = run.record() if run else None
        if run is None or record is None or verdict(run, record).status in ACTIVE:
            yield Check(name=name, level="ok", detail=f"used by {slot.holder}")
            continue
        detail = f"Held by {slot.holder}, although that run has ended: one of its processes is still alive."
        fix = f"{call('nnunet_cancel', run_id=run.run_id, force=True)} ends what is left."
        yield Check(name=name, level="problem", detail=detail, fix=fix)


def _servers() -> Check:
    own = {process.pid for process in (psutil.Process(), *psutil.Process().parents())}
    found = [pid for pid, command in _commands() if pid not in own and _serves(command)]
    listed = ", ".join(f"pid {pid}" for pid in found)
    return Check(
        name="servers", level="ok", detail=f"{listed}; all servers share the runs" if found else "no other runs now"
    )


def _commands() -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        try:
            yield process.pid, process.cmdline()
        except (psutil.Error, OSError):
            continue


def _serves(command: list[str]) -> bool:
    """Whether a command line serves: `nnunet-mcp [serve …]` or `python -P -m nnunet_mcp [serve …]`."""
    for index, word in enumerate(command[:4]):
        if Path(word).name == "nnunet-mcp" or (word == "nnunet_mcp" and command[index - 1] == "-m"):
            rest = [part for part in command[index + 1 :] if not part.startswith("-")]
            return not rest or rest[0] == "serve"
    return False


def _leftovers(settings: Settings) -> Iterator[Check]:
    """Unfinished trainings that were started by hand, and imports that were cut off."""
    for found in external_trainings(settings.folder("results")):
        if found.status == "running":
            yield Check(name="by hand", level="ok", detail=f"nnUNetv2_train is training {found.path} now")
        elif found.status == "interrupted":
            again = argument(overwrite=True)
            fix = f"Finish it with nnUNetv2_train and --c, remove the folder, or train the fold again with {again}."
            detail = f"A training by hand in {found.path} was not finished."
            yield Check(name="by hand", level="warning", detail=detail, fix=fix)
    raw, results = settings.folder("raw"), settings.folder("results")
    for path in (*sorted(raw.glob(".importing-*")), *sorted(results.glob(".import-*"))):
        fix = "Remove the folder if no import is running."
        yield Check(name="import", level="warning", detail=f"{path} is left of an import.", fix=fix)
