"""Draw a picture and answer with the bytes of its file; refuse if there is nothing to draw."""

import importlib
import sys

from ....ask import answer
from ....schemas.plots import PictureJob
from .writing import written


def draw(job: PictureJob) -> bytes:
    """The picture, by the module beside this one that is named after its kind."""
    figure = importlib.import_module(f".{job.picture.kind}", __package__).draw(job.picture)
    return written(figure, job.paper)


if __name__ == "__main__":
    sys.exit(answer(PictureJob, lambda job, say: draw(job)))
