"""How our own Python processes are started: which environment they get, and how the working folder is kept out.

Clients start servers in whatever folder is open, which may hold a stranger's files. There `python -m` would import
modules from that folder before the installed ones.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# A working folder in which nobody puts files: matplotlib, for one, reads its settings from the working folder.
NOWHERE = "/"
# Variables that only the server needs.
SERVER_ONLY = (
    *("NNUNET_MCP_HTTP_TOKEN", "NNUNET_MCP_HTTP_HOSTS", "NNUNET_MCP_SLURM_SETUP", "NNUNET_MCP_SLURM_SBATCH"),
    *("NNUNET_MCP_NOTIFY", "NNUNET_MCP_TRACK"),
)
SECRET_NAME = re.compile(
    r"TOKEN(?!IZ)|SECRET|PASSWO?R?D|PASSPHRASE|CREDENTIAL|BEARER|OAUTH|AUTHORI[SZ]ATION|WEBHOOK|CONNECTION_?STRING|_PWD$"
    r"|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|SSH)_?KEY|(?<!BY)(?<!COM)PASS$|CREDS(_|$)"
    r"|(^|_)(KEYS?|PASS|AUTH|PAT|JWT|COOKIES?|CRED|DSN)(_|$)",
    re.IGNORECASE,
)
SECRET_VALUE = re.compile(
    r"://[^\s/@]+@"  # an address with a password
    r"|-----BEGIN "
    r"|(^|;)\s*(password|pwd|accountkey|sharedaccesskey)\s*=\s*[^\s;]"  # words of a connection to a database
    r"|^(gh[a-z]_|github_pat_|glpat-|sk-|xox[a-z]-|hf_|AKIA)(?=\D*\d)[\w-]{16,}$",  # tokens that say whose they are
    re.IGNORECASE,
)


def python_command(python: str, module: str, *arguments: str) -> list[str]:
    """The command line of `python -m module`; -P leaves the working folder out of the places of modules."""
    return [python, "-P", "-m", module, *arguments]


def inherited(hand_on: str = "") -> dict[str, str]:
    """This process's environment for a process that it starts, without secrets except those named in `hand_on`."""
    kept = without_secrets(os.environ, hand_on)
    kept["PYTHONSAFEPATH"] = "1"  # so that Python processes started by it also run as with -P
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(_absolute_entries(kept["PYTHONPATH"]))
    return {name: value for name, value in kept.items() if name != "PYTHONPATH" or value}


def without_secrets(variables: Mapping[str, str], hand_on: str = "") -> dict[str, str]:
    """The environment without the server's own variables, and without passwords, keys and tokens not named in
    `hand_on`."""
    wanted = {name.strip() for name in hand_on.split(",")}
    return {
        name: value
        for name, value in variables.items()
        if name.upper() not in SERVER_ONLY and (name in wanted or not _is_secret(name, value))
    }


def _is_secret(name: str, value: str) -> bool:
    return bool(SECRET_NAME.search(name) or SECRET_VALUE.search(value))


def leave_out_working_folder() -> None:
    """Remove empty and relative entries of PYTHONPATH from this process's import path."""
    path = os.environ.get("PYTHONPATH")
    for entry in path.split(os.pathsep) if path else ():
        place = str(Path(entry).absolute())
        if not Path(entry).is_absolute() and place in sys.path:
            sys.path.remove(place)


def _absolute_entries(path: str) -> Iterator[str]:
    """The absolute entries. An empty or relative entry of PYTHONPATH means the working folder or one in it."""
    return (entry for entry in path.split(os.pathsep) if Path(entry).is_absolute())
