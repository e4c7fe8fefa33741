"""What each kind of stage does, a module each, and what only they need."""
