"""A folder of its own for the demonstration's trainer: nnU-Net imports every file of nnUNet_extTrainer."""
