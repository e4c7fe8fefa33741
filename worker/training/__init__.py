"""Our hooks on nnU-Net's trainer: reported epochs, complete checkpoints, a clean stop."""
