"""Why a stage died: what proves a cause, and what to do about it."""
