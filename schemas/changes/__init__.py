"""What an experiment may change of nnU-Net, as words like "epochs=250": the table, and the values."""
