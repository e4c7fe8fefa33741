"""Continue a training that was cancelled or interrupted, from its latest checkpoint."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    show(nnunet_training(**parse(), configuration="3d_fullres", fold="0", continue_training=True))
