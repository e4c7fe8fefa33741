"""Which run a `request_id` started: a client that lost the answer finds its run, on any server and for ever."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ..calls import argument
from ..errors import Refused
from ..files import make_folder, read_model, write_model
from .layout import RunDir, StateDir


class Started(BaseModel):
    """The run, and with which arguments it was asked for."""

    run_id: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class AskedAs:
    """A request under an id that its client chose."""

    request_id: str
    arguments: dict[str, Any]

    def run(self, state: StateDir) -> RunDir | None:
        """The run that it started; None if it started none, or one whose record was removed.

        Raises:
            Refused: the id has started a run with other arguments.
        """
        known = read_model(self._file(state), Started)
        if known is None or not state.run(known.run_id).run_file.exists():
            return None
        if known.arguments != self.arguments:
            raise Refused(
                f"{argument(request_id=self.request_id)} has started run {known.run_id} with other arguments. Use "
                "another id for another run, or none.",
                run_id=known.run_id,
            )
        return state.run(known.run_id)

    def started(self, state: StateDir, run_id: str) -> None:
        """Remember the run, before it exists: a run that nobody remembers could be started twice."""
        make_folder(state.requests_dir)
        write_model(self._file(state), Started(run_id=run_id, arguments=self.arguments))

    def _file(self, state: StateDir) -> Path:
        return state.requests_dir / f"{self.request_id}.json"
