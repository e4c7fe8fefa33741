"""Durable runs: their files, their true status, their processes. No torch, no nnU-Net, no MCP here."""
