"""A cascade: first the low-resolution model, then the full-resolution one that reads its predictions."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    parameters = parse()
    show(nnunet_training(**parameters, configuration="3d_lowres", fold="0"))
    show(nnunet_training(**parameters, configuration="3d_cascade_fullres", fold="0"))
