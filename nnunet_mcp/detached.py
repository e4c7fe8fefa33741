"""Start a command that belongs to nobody: python -P -m nnunet_mcp.detached COMMAND ...

This process forks and ends, so a client that kills the server's process group, session or process tree does not reach
the command, and it leaves no zombie.
"""

import os
import sys

if __name__ == "__main__" and not os.fork():
    os.execv(sys.argv[1], sys.argv[1:])
