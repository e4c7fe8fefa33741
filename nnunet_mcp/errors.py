"""What can go wrong with a request before anything starts.

RunError
├── NotFound        a dataset, run, stage or file that does not exist
├── Refused         a request that would lose, double or break something
└── Unavailable     the machine cannot do it now (no GPU, no space, no nnU-Net)

Every message says what to do instead.
"""

from typing import Any

from .calls import in_mcp, render


class RunError(Exception):
    """Base of the errors whose text is meant for the person or agent who asked.

    `text` holds calls as data, so that chat and terminal can each show them in their way; `str` shows them as agents
    see them. `about` is a key of `tools/helping.py` with facts, from which that module adds what to call: the rooms
    below `tools/` name no tool.
    """

    def __init__(self, text: str, *, about: str = "", **facts: Any) -> None:
        super().__init__(text)
        self.text, self.about, self.facts = text, about, facts

    def __str__(self) -> str:
        return render(self.text, in_mcp)


class NotFound(RunError):
    """Something named in the request does not exist."""


class Refused(RunError):
    """The request would lose, double or break something."""


class Unavailable(RunError):
    """The machine cannot do it now."""
