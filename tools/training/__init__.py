"""Trainings: planned, checked, estimated and started."""
