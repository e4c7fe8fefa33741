"""Runs on Slurm: each stage is one Slurm job, which does for the stage what the supervisor does on this machine."""
