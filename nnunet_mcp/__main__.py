"""`python -P -m nnunet_mcp` is the same as `nnunet-mcp`."""

import sys

if not sys.flags.safe_path:  # without -P the working folder comes before everything that is installed
    del sys.path[0]

from .server.cli import main

if __name__ == "__main__":
    main()
