"""Draw a picture, answered as the bytes of a PNG; refused where what it should show makes none."""

import sys

from ....ask import answer
from ....schemas.plots import CasesPicture, CurvesPicture, FoldsPicture, PictureJob
from . import cases, curves, folds


def draw(picture: CurvesPicture | FoldsPicture | CasesPicture) -> bytes:
    """The picture as PNG."""
    if isinstance(picture, CurvesPicture):
        return curves.draw(picture)
    if isinstance(picture, FoldsPicture):
        return folds.draw(picture)
    return cases.draw(picture)


if __name__ == "__main__":
    sys.exit(answer(PictureJob, lambda job, say: draw(job.picture)))
