"""Draw a picture and answer with the bytes of its PNG; refuse if there is nothing to draw."""

import importlib
import sys

from ....ask import answer
from ....schemas.plots import Picture, PictureJob


def draw(picture: Picture) -> bytes:
    """The picture as PNG, by the module beside this one that is named after its kind."""
    drawn: bytes = importlib.import_module(f".{picture.kind}", __package__).draw(picture)
    return drawn


if __name__ == "__main__":
    sys.exit(answer(PictureJob, lambda job, say: draw(job.picture)))
