"""What runs inside a stage's process. The only room that imports torch and nnU-Net."""
