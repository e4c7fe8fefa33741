"""Runs that were started: where they stand, what they said, what they achieved."""
