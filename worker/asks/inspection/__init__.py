"""Looks into every image and label of a dataset, in a process of its own, without torch."""
