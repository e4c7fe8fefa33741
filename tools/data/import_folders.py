"""Import a folder without dataset.json: sort its files by patterns, look at them, write them as nnU-Net reads them."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from ...ask import Failed, NotStarted, TookTooLong, listen
from ...calls import argument
from ...errors import Refused, Unavailable
from ...runs.machine.disk import SPARE_BYTES, refuse_without_room
from ...schemas.datasets import ConversionJob, ConversionLine, PrepareRequest, SourceFile, Writing
from ...settings import Settings
from ...texts import clean, some
from .import_cases import Gathered, gather, read_source
from .import_plan import Facts, Plan, plan_of
from .looking import ONE_THREAD

CONVERTER = "nnunet_mcp.worker.asks.conversion"
PATIENCE_S = 24 * 3600.0
JPEG_GROWS = 12  # a PNG of a photograph has about so many times the size of its JPEG
CASE_NAMES = "case_names.json"
Tell = Callable[[int, int], None]


def write_folder(
    folder: Path, request: PrepareRequest, source: Path, settings: Settings, tell: Tell
) -> tuple[dict[str, object], Plan]:
    """Write the dataset into an empty folder; returns what its dataset.json holds, and what was decided.

    Raises:
        Refused: patterns or files do not fit; nothing is decided silently.
        Unavailable: there is not enough space, or the process that converts cannot be started.
    """
    listing, labels, _ = read_source(request, source, settings)
    gathered = gather(request, listing, labels, settings)
    files = [file for case in gathered.cases.values() for file in (*case.images.values(), *case.masks.values())]
    refuse_without_room({folder.parent: _size(files) + SPARE_BYTES})
    total = len(files) + sum(len(case.images) for case in gathered.cases.values()) + len(gathered.training)
    facts = facts_of(files, settings, lambda done, _: tell(done, total))
    plan = plan_of(request, gathered, facts)
    if plan.problems:
        raise Refused(_refusal(plan))
    for name in ("imagesTr", "labelsTr", *(["imagesTs"] if len(gathered.training) < len(gathered.cases) else [])):
        (folder / name).mkdir()
    overlaps = _write(plan.writings, folder, settings, lambda done: tell(len(files) + done, total))
    _judge_overlaps(overlaps, request, plan)
    return _describe(folder, gathered, plan), plan


def _size(files: Sequence[SourceFile]) -> int:
    sizes = [
        Path(path).stat().st_size * (JPEG_GROWS if path.lower().endswith((".jpg", ".jpeg")) else 1)
        for file in files
        for path in file.paths
    ]
    return sum(sizes)


def facts_of(
    files: Sequence[SourceFile], settings: Settings, tell: Tell, *, budget_s: float = PATIENCE_S, partial: bool = False
) -> Facts:
    """What the files hold; with `partial`, of as many as the time allows."""
    facts: Facts = {}
    job = ConversionJob(allowed=tuple(map(str, settings.allowed_roots)), looks=tuple(files))
    try:
        with closing(_lines(job, settings, budget_s)) as lines:
            for line in lines:
                if line.facts is not None:
                    facts[files[line.number].name] = line.facts
                    tell(len(facts), len(files))
    except TookTooLong:
        if not partial:
            raise Unavailable("Looking at the files took too long. Import fewer at a time.") from None
    return facts


def _lines(job: ConversionJob, settings: Settings, budget_s: float) -> Generator[ConversionLine]:
    begun: dict[str, None] = {}
    try:
        asked = listen(settings.nnunet_python, CONVERTER, ConversionLine, job, timeout_s=budget_s, variables=ONE_THREAD)
        with closing(asked):
            for line in filter(None, asked):
                if line.begun:
                    begun[line.begun] = None
                else:
                    yield line
    except NotStarted as error:
        raise Unavailable(f"nnU-Net's Python cannot be started: {error}") from None
    except Failed as error:
        raise Refused(f"The image library crashed at one of {some(list(begun)[-4:], 4)} ({error}).") from None


def _write(
    writings: Sequence[Writing], folder: Path, settings: Settings, tell: Callable[[int], None]
) -> dict[str, int]:
    """Write every file; returns the voxels where masks overlap, by the mask that was written."""
    allowed = tuple(map(str, settings.allowed_roots))
    job = ConversionJob(allowed=allowed, folder=str(folder), writings=tuple(writings))
    overlaps: dict[str, int] = {}
    done = 0
    with closing(_lines(job, settings, PATIENCE_S)) as lines:
        for line in lines:
            if line.error:
                raise Refused(f"{line.error}. Correct it, or leave the case out: {argument(leave_out=None)}.")
            done += 1
            tell(done)
            if line.overlap:
                overlaps[writings[line.number].targets[0]] = line.overlap
    if done < len(writings):
        raise Unavailable("The conversion ended before all files were written. Try again.")
    return overlaps


def _judge_overlaps(overlaps: dict[str, int], request: PrepareRequest, plan: Plan) -> None:
    if not overlaps:
        return
    said = f"masks overlap in {len(overlaps)} cases, {sum(overlaps.values())} voxels, most in {_most(overlaps)}"
    if not request.label_names:
        order = [name for name in plan.labels if name != "background"]
        raise Refused(f"{said}. Say which wins: {argument(label_names=order)}, in order; the later wins.")
    plan.changes.append(f"{said}; the later in label_names won")


def _most(overlaps: dict[str, int]) -> str:
    return clean(Path(max(overlaps, key=lambda name: overlaps[name])).name)


def _refusal(plan: Plan) -> str:
    said = "This folder cannot be imported so:\n- " + "\n- ".join(plan.problems)
    if plan.faulty and len(set(plan.faulty)) < plan.cases:
        said += f"\nCorrect the files, or leave these cases out: {argument(leave_out=sorted(set(plan.faulty)))}."
    return said


def _describe(folder: Path, gathered: Gathered, plan: Plan) -> dict[str, object]:
    content: dict[str, object] = {
        "channel_names": {str(number): name for number, name in enumerate(plan.channels)},
        "labels": plan.labels,
        "numTraining": len(gathered.training),
        "file_ending": plan.ending,
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    if renamed := {new: old for new, old in gathered.names.items() if new != old}:
        (folder / CASE_NAMES).write_text(json.dumps(renamed, indent=2, ensure_ascii=False), encoding="utf-8")
    return content
