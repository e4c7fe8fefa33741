"""The pictures of a report, as data URIs: curves, the Dice of all cases, the worst and the median case."""

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ...calls import call
from ...errors import RunError
from ...schemas.plots import CasesPicture, Picture, PlotRequest
from ...settings import Settings
from ..plots.plots import GATHERED, render
from .names import Names
from .subjects import Subject
from .tables import chosen_cases

AT_ONCE = 2
LATE = "There is no picture: the machine was too busy to draw it in time."


@dataclass(frozen=True)
class Figure:
    """A picture with the words under it; without a picture they say why."""

    caption: str
    source: str = ""


Plan = tuple[str, PlotRequest]


def curves(subjects: Sequence[Subject]) -> Plan:
    """The learning curves of all runs over each other."""
    first, *others = [subject.record.run_id for subject in subjects]
    caption = "Losses, nnU-Net's pseudo Dice (an estimate on patches) and learning rate over the epochs."
    return caption, PlotRequest(kind="curves", run_id=first, with_run_ids=tuple(others))


def of_cases(subject: Subject, names: Names) -> Iterator[Plan]:
    """The Dice of each case, and single cases with truth and prediction."""
    run_id = subject.record.run_id
    yield "Dice of each case, per class and fold.", PlotRequest(kind="folds", run_id=run_id)
    for case, which in chosen_cases(subject).items():
        dice = subject.scores.of_case(case)
        caption = f"{names.of_case(case).capitalize()}, {which} of {len(subject.scores.cases)}: Dice {dice:.3f}."
        yield caption, PlotRequest(kind="overlay", run_id=run_id, case=case[:200])


def draw(plan: Plan, names: Names, settings: Settings) -> Figure:
    """Draw one; where that cannot be done, words take its place. The reason itself names files and cases."""
    caption, request = plan
    try:
        picture, _ = GATHERED[request.kind](request, settings)
        drawn = base64.b64encode(render(_without_names(picture, caption, names), settings)).decode()
    except (RunError, OSError):
        why = call("nnunet_plot", kind=request.kind, run_id=request.run_id)
        return Figure(f"{caption} There is no picture: it could not be drawn. {names.own(why)} says why.")
    return Figure(caption, f"data:image/png;base64,{drawn}")


def _without_names(picture: Picture, caption: str, names: Names) -> Picture:
    """Titled by its caption where the title would name a case, which may be a number as any other."""
    if not isinstance(picture, CasesPicture):
        return picture.model_copy(update={"title": names.own(picture.title)})
    cases = tuple(one.model_copy(update={"name": names.of_case(one.name)}) for one in picture.cases)
    return picture.model_copy(update={"title": caption.removesuffix("."), "cases": cases})


def every(
    plans: Sequence[Plan], names: Names, settings: Settings, tell: Callable[[int, int], None], patience_s: float
) -> list[Figure]:
    """All of them in order; what has not begun after `patience_s` is left out, in words. Each is drawn by a process of
    its own, most of whose time goes into its start."""
    drawn: list[Figure] = []
    end, drawers = time.monotonic() + patience_s, ThreadPoolExecutor(AT_ONCE)

    def in_time(plan: Plan) -> Figure:
        late = time.monotonic() >= end
        return Figure(f"{plan[0]} {LATE}") if late else draw(plan, names, settings)

    try:
        for figure in drawers.map(in_time, plans):
            drawn.append(figure)
            tell(len(drawn), len(plans))
    finally:
        drawers.shutdown(cancel_futures=True)
    return drawn
