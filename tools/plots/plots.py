"""nnunet_plot: gather what a picture shows, and let a process of its own draw it."""

from typing import Any

from ...ask import Failed, NotStarted, TookTooLong, ask_for_bytes
from ...errors import Unavailable
from ...schemas.plots import CasesPicture, CurvesPicture, FoldsPicture, Picture, PictureJob, Plot, PlotRequest
from ...settings import Settings
from ...texts import clean
from .plot_cases import dataset, folds, overlay
from .plot_curves import curves

DRAWER = "nnunet_mcp.worker.asks.pictures"
DRAW_S = 120
EXCERPT = 400
TITLE_CHARACTERS = 160
GATHERED = {"curves": curves, "folds": folds, "overlay": overlay, "dataset": dataset}


def nnunet_plot(request: PlotRequest, settings: Settings) -> Plot:
    """Draw curves, folds, a case or a dataset.

    Raises:
        NotFound: the run, the case or its files do not exist, or there is nothing to show yet.
        Refused: the files make no picture.
        Unavailable: drawing failed or took too long.
    """
    picture, text = GATHERED[request.kind](request, settings)
    return Plot(text=text, png=render(picture, settings))


def render(picture: Picture, settings: Settings) -> bytes:
    """The picture as PNG, drawn by the Python that also trains.

    Raises:
        Refused: it shows nothing; in the drawer's words.
        Unavailable: the drawer failed.
    """
    job, one_thread = PictureJob(picture=_readable(picture)), {"OMP_NUM_THREADS": "1"}
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
            changed["cases"] = tuple(one.model_copy(update={"name": clean(one.name)}) for one in cases)
            changed["names"] = {value: clean(name) for value, name in names.items()}
    return picture.model_copy(update=changed)
