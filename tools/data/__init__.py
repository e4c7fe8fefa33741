"""Datasets: found, looked at, judged and imported."""
