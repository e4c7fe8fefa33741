"""Follow a run for one target.

python -P -m nnunet_mcp.tools.following <run directory> <notify, tensorboard or mlflow>
"""

import sys

from .follow import follow

if __name__ == "__main__":
    follow(sys.argv[1], sys.argv[2])
