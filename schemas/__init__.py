"""The contract: what goes in and out of every tool, and what a run leaves on disk. No I/O here."""
