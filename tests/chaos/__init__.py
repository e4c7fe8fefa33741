"""Kill anything at any moment, then see whether what the tools say is still true."""
