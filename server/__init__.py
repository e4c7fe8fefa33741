"""The MCP surface: the tools' registration, transports and the command line. No nnU-Net, no process logic."""
