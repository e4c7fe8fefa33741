"""Runs on Slurm: each stage is one job, whose command sees the stage through as the supervisor does here."""
