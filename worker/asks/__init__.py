"""Short questions that only nnU-Net's Python can answer, each in a process of its own."""
