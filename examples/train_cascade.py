"""A cascade: low-resolution models, then a full-resolution one that reads their predictions of every case.

The second call trains the low-resolution folds that are not there yet. So the first one may be left out; it is worth a
call of its own to see how good the low resolution is before the others are trained.
"""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    parameters = parse()
    show(nnunet_training(**parameters, configuration="3d_lowres", fold="0"))
    show(nnunet_training(**parameters, configuration="3d_cascade_fullres", fold="0"))
