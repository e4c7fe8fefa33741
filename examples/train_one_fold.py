"""Basic training on a single GPU: one fold of the cross-validation."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    show(nnunet_training(**parse(), configuration="3d_fullres", fold="0"))
