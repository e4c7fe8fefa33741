"""Draws the pictures of nnunet_plot, in a process of its own: its memory and its faults stay out of the server."""
