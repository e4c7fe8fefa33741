"""What nnU-Net keeps on disk and accepts: datasets, plans, splits, models, summaries. No torch, no runs."""
