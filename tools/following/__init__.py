"""Tell others of a run while it goes on, in processes beside it: notifications and trackers."""
