"""Variants of nnU-Net's trainers and plans: those that nnU-Net has, those of the user, and those made for `changes`."""
