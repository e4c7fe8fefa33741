"""`python -m nnunet_mcp` is the same as `nnunet-mcp`."""

from .server.cli import main

if __name__ == "__main__":
    main()
