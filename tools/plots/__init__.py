"""Pictures: what they show is gathered here, and drawn in a process of its own."""
