"""What can go wrong with a request before anything starts.

RunError
├── NotFound        a dataset, run, stage or file that does not exist
├── Refused         a request that would lose, double or break something
└── Unavailable     the machine cannot do it now (no GPU, no space, no nnU-Net)

Every message says what to do instead.
"""


class RunError(Exception):
    """Base of the errors whose text is meant for the person or agent who asked."""


class NotFound(RunError):
    """Something named in the request does not exist."""


class Refused(RunError):
    """The request would lose, double or break something."""


class Unavailable(RunError):
    """The machine cannot do it now."""
