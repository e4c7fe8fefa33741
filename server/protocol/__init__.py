"""MCP beyond the tools: transports, resources, prompts and tasks."""
