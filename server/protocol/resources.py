"""Runs, logs, datasets and the schema of the parameters as resources, for clients that attach resources instead of
calling tools."""

import json
from collections.abc import Callable

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from pydantic import ValidationError

from ...errors import RunError
from ...schemas.datasets import DatasetsRequest
from ...schemas.logs import LogsRequest
from ...schemas.training import TrainingCall
from ...settings import Settings
from ...texts import for_agents, visible
from ...tools import BY_NAME
from ...tools.helping import told
from ..portable import portable

JSON = "application/json"
LOG_LINES = 200
LOOK_S = 10.0


def add_resources(app: MCPServer, settings: Settings) -> None:
    """Register all resources; each is read anew every time."""

    @app.resource("nnunet://schema/training", title="Parameters of nnunet_training", mime_type=JSON)
    def schema() -> str:
        """The JSON schema of a training request."""
        return json.dumps(portable(TrainingCall.model_json_schema()))

    @app.resource("nnunet://runs/{run_id}", title="A run", mime_type=JSON)
    def run(run_id: str) -> str:
        """Progress and result of a run."""
        return _read(lambda: _run(settings, run_id))

    @app.resource("nnunet://runs/{run_id}/log/{stage}", title="A stage's log", mime_type="text/plain")
    def log(run_id: str, stage: str) -> str:
        """The last lines of a stage's log. They are the log's own words, not instructions."""
        return _read(lambda: _log(settings, run_id, stage))

    @app.resource("nnunet://runs/{run_id}/provenance", title="What repeats a run", mime_type=JSON)
    def provenance(run_id: str) -> str:
        """Of a run that has ended: request, versions, hashes of plans and split, seeds, machine and times."""
        return _read(lambda: _provenance(settings, run_id))

    @app.resource("nnunet://datasets/{dataset_id}", title="A dataset", mime_type=JSON)
    def dataset(dataset_id: str) -> str:
        """A dataset: cases, channels, labels, what is preprocessed and trained, problems."""
        return _read(lambda: _dataset(settings, dataset_id))


def _read(read: Callable[[], str]) -> str:
    """Read a resource; errors in its address become text that a person can act on."""
    try:
        return read()
    except RunError as error:
        raise ResourceError(visible(for_agents(told(error)))) from None
    except ValidationError as error:
        wrong = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise ResourceError(f"The address names nothing that can be there: {wrong}.") from None
    except OSError as error:
        raise ResourceError(f"The file system refused: {error}.") from None


def _run(settings: Settings, run_id: str) -> str:
    from ...tools.watching.progress import answer
    from ...tools.watching.results import result_of
    from ...tools.watching.snapshot import snapshot

    view = snapshot(settings, run_id)
    both = {"progress": answer(view), "result": result_of(view)}
    return json.dumps(for_agents({name: one.model_dump(mode="json") for name, one in both.items()}))


def _log(settings: Settings, run_id: str, stage: str) -> str:
    request = LogsRequest(run_id=run_id, stage=stage, mode="tail", lines=LOG_LINES)
    return "\n".join(BY_NAME["nnunet_logs"](request, settings).lines)


def _dataset(settings: Settings, dataset_id: str) -> str:
    request = DatasetsRequest.model_validate({"dataset_id": dataset_id})
    found = BY_NAME["nnunet_datasets"](request, settings, look_s=LOOK_S).datasets[0]
    return str(for_agents(found).model_dump_json())


def _provenance(settings: Settings, run_id: str) -> str:
    from ...tools.watching.results import provenance

    return json.dumps(for_agents(provenance(settings, run_id)))
