"""nnunet_plot: gather what a picture shows, and let a process of its own draw it, for a chat or into a file."""

from pathlib import Path
from typing import Any, Literal

from ...ask import Failed, NotStarted, TookTooLong, ask_for_bytes
from ...calls import argument
from ...errors import Refused, Unavailable
from ...files import write_bytes, write_new
from ...schemas.plots import (
    LARGE_BYTES,
    LARGE_DPI,
    LEAST_MM,
    USUAL_DPI,
    CasePicture,
    CasesPicture,
    CurvesPicture,
    Figure,
    FigureRequest,
    FoldsPicture,
    Paper,
    Picture,
    PictureJob,
    Plot,
    PlotRequest,
)
from ...settings import Settings
from ...texts import clean
from .plot_cases import dataset, folds, overlay
from .plot_curves import curves

DRAWER = "nnunet_mcp.worker.asks.pictures"
DRAW_S = 120
EXCERPT = 400
TITLE_CHARACTERS = 160
# Further slices of one case in a large picture: enough for the structures of an abdomen.
MORE_SLICES = 8
GATHERED = {"curves": curves, "folds": folds, "overlay": overlay, "dataset": dataset}


def nnunet_plot(request: PlotRequest, settings: Settings) -> Plot:
    """Draw curves, folds, a case or a dataset.

    Raises:
        NotFound: the run, the case or its files do not exist, or there is nothing to show yet.
        Refused: the files make no picture.
        Unavailable: drawing failed or took too long.
    """
    picture, text = _gathered(request, settings)
    paper = Paper(dpi=LARGE_DPI, most_bytes=LARGE_BYTES) if request.large else Paper()
    return Plot(text=text, png=render(picture, settings, paper))


def figure(request: FigureRequest, settings: Settings) -> Figure:
    """Draw a picture into a file, also as SVG or for a printer.

    Raises:
        Refused: there is a file already, or no folder for it, or its name has another ending.
        NotFound, Refused, Unavailable: as `nnunet_plot`.
    """
    file = Path(request.output or f"{request.run_id or f'dataset{request.dataset_id}'}-{request.kind}.png")
    if file.suffix.lower() not in (".png", ".svg"):
        raise Refused(f"{argument(output=str(file))}: the name of the file must end in .png or .svg.")
    if not file.parent.is_dir():
        raise Refused(f"There is no folder {file.parent}. Make it, or name a file in another one.")
    if file.exists() and not request.overwrite:
        raise Refused(f"{file} is there already. Name another file, or replace it with {argument(overwrite=True)}.")
    picture, text = _gathered(request, settings)
    picture = picture.model_copy(update={"width_mm": max(LEAST_MM, request.width_mm)})
    drawn = render(picture, settings, _paper(request, file))
    (write_bytes if request.overwrite else write_new)(file, drawn)
    return Figure(text=text, output=str(file))


def _paper(request: FigureRequest, file: Path) -> Paper:
    """As large as it gets where the file is for a printer."""
    dpi = request.dpi or (LARGE_DPI if request.large else USUAL_DPI)
    kind: Literal["png", "svg"] = "svg" if file.suffix.lower() == ".svg" else "png"
    return Paper(format=kind, width_mm=request.width_mm, dpi=dpi, most_bytes=None)


def _gathered(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    picture, text = GATHERED[request.kind](request, settings)
    if isinstance(picture, CasesPicture):
        more = {"more_slices": MORE_SLICES} if request.large else {}
        picture = picture.model_copy(update={"filled": request.filled, **more})
    return picture, text


def render(picture: Picture, settings: Settings, paper: Paper | None = None) -> bytes:
    """The picture as a file, drawn by the Python that also trains.

    Raises:
        Refused: it shows nothing; in the drawer's words.
        Unavailable: the drawer failed.
    """
    job, one_thread = PictureJob(picture=_readable(picture), paper=paper or Paper()), {"OMP_NUM_THREADS": "1"}
    try:
        return ask_for_bytes(settings.nnunet_python, DRAWER, job, timeout_s=DRAW_S, variables=one_thread)
    except TookTooLong:
        raise Unavailable(
            f"Drawing took longer than {DRAW_S} s and was stopped. Try again when the machine is idle."
        ) from None
    except NotStarted as error:
        raise Unavailable(f"Drawing could not be started: {error}.") from None
    except Failed as error:
        raise Unavailable(f"Drawing failed (exit code {error.code}): {error.words[-EXCERPT:]}") from None


def _readable(picture: Picture) -> Picture:
    """The picture with shortened names: the drawing takes longer with each letter of a name."""
    changed: dict[str, Any] = {"title": clean(picture.title, TITLE_CHARACTERS)}
    match picture:
        case CurvesPicture(curves=curves):
            changed["curves"] = tuple(one.model_copy(update={"label": clean(one.label)}) for one in curves)
        case FoldsPicture(labels=labels):
            changed["labels"] = tuple(clean(name) for name in labels)
        case CasesPicture(cases=cases, names=names):
            changed["cases"] = tuple(_readable_case(one) for one in cases)
            changed["names"] = {value: clean(name) for value, name in names.items()}
    return picture.model_copy(update=changed)


def _readable_case(case: CasePicture) -> CasePicture:
    scores = tuple(one.model_copy(update={"label": clean(one.label)}) for one in case.scores)
    return case.model_copy(update={"name": clean(case.name), "scores": scores})
