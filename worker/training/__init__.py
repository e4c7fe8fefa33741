"""nnU-Net's trainer with our hooks: epochs told, checkpoints kept whole, a good stop."""
