"""`python -P -m nnunet_mcp.worker.asks.pictures`: a PictureJob as JSON on stdin, a PNG on stdout, reasons on stderr."""

import os
import sys

from ....schemas.plots import REFUSED, CasesPicture, CurvesPicture, FoldsPicture, PictureJob


def main() -> int:
    """Draw one picture; exit code REFUSED and one line on stderr when what it should show makes none."""
    # Image libraries print; only the picture may reach stdout.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    job = PictureJob.model_validate_json(sys.stdin.buffer.read())
    from .style import NothingToShow

    try:
        out.write(draw(job.picture))
    except NothingToShow as error:
        print(error, file=sys.stderr)
        return REFUSED
    out.close()
    return 0


def draw(picture: CurvesPicture | FoldsPicture | CasesPicture) -> bytes:
    """The picture as PNG."""
    from . import cases, curves, folds

    if isinstance(picture, CurvesPicture):
        return curves.draw(picture)
    if isinstance(picture, FoldsPicture):
        return folds.draw(picture)
    return cases.draw(picture)


if __name__ == "__main__":
    sys.exit(main())
