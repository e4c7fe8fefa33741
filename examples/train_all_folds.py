"""All five folds with data verification: five models and their cross-validation."""

from common import parse, show

from nnunet_mcp import nnunet_training

if __name__ == "__main__":
    show(nnunet_training(**parse(), configuration="3d_fullres", fold="all", verify_dataset_integrity=True))
