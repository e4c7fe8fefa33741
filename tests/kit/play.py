"""A run that is played by stand-ins, seen as its files and processes prove it."""

from dataclasses import dataclass

from nnunet_mcp.runs.engines import verdict
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.runs.result import compose_result
from nnunet_mcp.schemas.records import ACTIVE, RunRecord, Status
from nnunet_mcp.schemas.results import Result
from tests.kit.lab import until


@dataclass
class PlayedRun:
    """One run."""

    run: RunDir
    record: RunRecord

    @property
    def status(self) -> Status:
        return verdict(self.run, self.record).status

    def begun(self, name: str = "") -> bool:
        """Whether a stage runs, by its own word; the first one where none is named."""
        state = self.run.stage(name or self.record.stages[0].name).state()
        return state is not None and state.status == "running"

    def ends(self, *, timeout_s: float = 60) -> Status:
        """The status, once the run is at rest."""
        assert until(lambda: self.status not in ACTIVE, timeout_s=timeout_s), verdict(self.run, self.record)
        return self.status

    def finish(self, *, timeout_s: float = 20) -> Result:
        """The result, once the run is at rest."""
        self.ends(timeout_s=timeout_s)
        return compose_result(self.run, self.record, verdict(self.run, self.record))
