"""Transfer learning: start from the weights of another model (--pretrained_weights checkpoint_final.pth)."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    show(nnunet_training(**parse("pretrained_weights"), configuration="3d_fullres", fold="0"))
