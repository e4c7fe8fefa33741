"""This machine: its GPUs, cores, memory and disk, as far as this process may use them."""
