"""A 2D model on the CPU."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    show(nnunet_training(**{**parse(), "device": "cpu"}, configuration="2d", fold="0"))
