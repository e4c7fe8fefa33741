"""Runs on this machine: a supervisor for each run, slots for the GPUs and the CPU."""
