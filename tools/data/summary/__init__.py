"""What a look into a dataset comes to, in few words: figures, what stands out, and what a short answer leaves out."""
