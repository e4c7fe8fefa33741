"""Holds only the demonstration's trainer, because nnU-Net imports every file of nnUNet_extTrainer."""
