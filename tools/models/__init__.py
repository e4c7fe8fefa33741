"""Trained models: predicted with, compared, combined, exported and imported."""
