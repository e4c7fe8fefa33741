"""The MCP server and the command line. Both only present the tools; they know neither nnU-Net nor processes."""
