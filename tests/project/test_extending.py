"""The recipes of docs/extending.md, carried out in a copy of the source: what they leave out would break there.

Each test ends with the files that were touched, so that no recipe comes to need more of them unnoticed.
"""

import struct
from pathlib import Path

import pytest

from nnunet_mcp.files import append_line
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.records import Epoch
from nnunet_mcp.settings import Settings
from tests.kit.lab import stand_in_python
from tests.kit.tiny import make_dataset, record_of
from tests.project.scratch import Scratch

pytestmark = pytest.mark.heavy


@pytest.fixture
def copy(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / "copy")


SCHEMA = '''"""An id for a new dataset."""

from pydantic import Field

from .base import Record, Request


class FreeIdRequest(Request):
    """Ask for a free id."""

    at_least: int = Field(default=1, ge=1, le=999, description="The lowest id to give.")


class FreeId(Record):
    """An id that no dataset has."""

    dataset_id: int
    next_step: str
'''
FUNCTION = '''"""nnunet_free_id: an id for a new dataset."""

from ...calls import call
from ...nnunet.datasets import dataset_folders
from ...schemas.free_id import FreeId, FreeIdRequest
from ...settings import Settings


def nnunet_free_id(request: FreeIdRequest, settings: Settings) -> FreeId:
    """The lowest id that no dataset has."""
    free = next(n for n in range(request.at_least, 1000) if not dataset_folders(settings.folders, n))
    return FreeId(dataset_id=free, next_step=f"Import with {call('nnunet_prepare_dataset', dataset_id=free)}.")
'''
DECLARATION = """
    Tool(
        "nnunet_free_id",
        "Free dataset id",
        "reads",
        FreeIdRequest,
        FreeId,
        "The lowest id that no dataset has.",
        "data.free_id:nnunet_free_id",
        Command("free-id", "say which dataset id is free"),
    ),"""
CALL_THE_TOOL = """
from mcp import Client
from nnunet_mcp.server.app import create_server

async def main():
    async with Client(create_server(settings)) as client:
        schemas = {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("nnunet_free_id", {"at_least": 7})
        return schemas["nnunet_free_id"]["properties"]["at_least"], answer.structured_content

asked, answer = anyio.run(main)
tell(asked=asked, answer=answer)
"""


def test_a_tool_is_what_it_asks_and_answers_its_function_and_its_declaration(copy: Scratch, settings: Settings) -> None:
    declared, import_of_tool = "tools/data/__init__.py", "from ..tool import Command, Steps, Tool\n"
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    copy.write("schemas/free_id.py", SCHEMA)
    copy.write("tools/data/free_id.py", FUNCTION)
    copy.before(declared, import_of_tool, "from ...schemas.free_id import FreeId, FreeIdRequest\n")
    copy.after(declared, "\nTOOLS = (", DECLARATION)

    found = copy.found(CALL_THE_TOOL)
    assert found["asked"]["description"] == "The lowest id to give."
    assert found["answer"] == {"dataset_id": 8, "next_step": "Import with nnunet_prepare_dataset(dataset_id=8)."}
    shown = copy.run("-m", "nnunet_mcp", "free-id", "--at-least", "7")
    assert shown.split("\n")[:2] == ["dataset_id  8", "Import with nnunet-mcp prepare --dataset-id 8."]
    assert "| `nnunet_free_id` | The lowest id that no dataset has. |" in copy.renewed("README.md")
    line = "| `nnunet-mcp free-id` | say which dataset id is free | `--at-least`, `--json` |"
    assert line in copy.renewed("docs/terminal.md")
    assert copy.touched == {"schemas/free_id.py", "tools/data/free_id.py", declared}


FIELD = """    patience: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Stop after so many epochs without a better validation loss. Omitted: never."
    )
"""
READ_IN_THE_WORKER = '''

def patience_of(job: Job) -> int | None:
    """How many epochs may bring nothing."""
    return job.typed(TrainingJob).request.patience
'''
TRAIN_WITH_IT = """
from mcp import Client
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.server.app import create_server
from nnunet_mcp.worker.stage import Job
from nnunet_mcp.worker.training.patience import patience_of

async def main():
    async with Client(create_server(settings)) as client:
        tools = {tool.name: tool.input_schema["properties"] for tool in (await client.list_tools()).tools}
        asked = {"dataset_id": 1, "configuration": "2d", "fold": 0, "patience": 20}
        started = (await client.call_tool("nnunet_training", asked)).structured_content
        run_id = started["run_id"]
        while (await client.call_tool("nnunet_results", {"run_id": run_id})).structured_content["status"] == "running":
            await anyio.sleep(0.1)
        return [tools[name]["patience"]["type"] for name in ("nnunet_training", "nnunet_preflight")], run_id

types, run_id = anyio.run(main)
job = Job.of(str(StateDir.of(settings).run(run_id).path), "train_fold_0")
tell(types=types, in_the_worker=patience_of(job))
"""


def test_a_parameter_of_a_training_is_a_field_and_what_the_worker_does_with_it(
    copy: Scratch, settings: Settings, tmp_path: Path
) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    copy.before("schemas/training.py", "    overwrite: bool = Field(\n", FIELD)
    imports = '"""When to stop."""\n\nfrom ...schemas.jobs import TrainingJob\nfrom ..stage import Job\n'
    copy.write("worker/training/patience.py", imports + READ_IN_THE_WORKER)

    worker = {"STAND_IN": "{}", "NNUNET_MCP_WORKER_PYTHON": str(stand_in_python(tmp_path))}
    found = copy.found(TRAIN_WITH_IT, **worker)
    assert found == {"types": ["integer", "integer"], "in_the_worker": 20}
    assert "--patience PATIENCE" in copy.run("-m", "nnunet_mcp", "train", "--help")
    line = "| `patience` | `None` | Stop after so many epochs without a better validation loss. Omitted: never. |"
    assert line in copy.renewed("docs/training.md")
    assert copy.touched == {"schemas/training.py", "worker/training/patience.py"}


SIGNATURE = """    Signature(
        "licence",
        r"LicenceError: no seat for (?P<program>\\w+)",
        "{program} had no licence",
        "Ask the administrator for a seat.",
        resume=True,
    ),
"""
DIAGNOSE = """
from nnunet_mcp.runs.failures.diagnosis import diagnose

log = Path("stage.log")
log.write_text("Epoch 4\\nLicenceError: no seat for reader\\nbackground workers are no longer alive\\n")
found = diagnose(log, code=1)
tell(cause=found.cause, evidence=found.evidence, remedy=found.remedy, resume=found.resume)
"""


def test_a_failure_signature_is_one_entry(copy: Scratch, settings: Settings) -> None:
    file = "runs/failures/signatures.py"
    copy.after(file, "OF_THE_REST = (\n", SIGNATURE)

    assert copy.found(DIAGNOSE) == {
        "cause": "reader had no licence",
        "evidence": "LicenceError: no seat for reader",
        "remedy": "Ask the administrator for a seat.",
        "resume": True,
    }
    line = "| licence | *program* had no licence | Ask the administrator for a seat. Then resume the run. |"
    assert line in copy.renewed("docs/troubleshooting.md")
    assert copy.touched == {file}


STEP = '''"""The review stage."""

from ...schemas.records import Outcome
from ..stage import Job


def carry_out(job: Job) -> Outcome:
    """Say something, and be done."""
    job.reporter.say("reviewing", total=3)
    return Outcome(ok=True, notes=("Reviewed.",))
'''
RUN_THE_STAGE = """
from nnunet_mcp.runs.engines import engine_of, verdict
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.progress import ProgressRequest
from nnunet_mcp.schemas.records import ACTIVE, StageSpec
from nnunet_mcp.schemas.results import ResultsRequest
from nnunet_mcp.schemas.run_list import RunsRequest
from nnunet_mcp.tools.watching.progress import nnunet_progress
from nnunet_mcp.tools.watching.results import nnunet_results
from nnunet_mcp.tools.watching.runs import nnunet_runs
from tests.kit.tiny import record_of

record = record_of(settings, StageSpec(name="review", kind="review", configuration="2d"))
run, _ = record_run(StateDir.of(settings), record, [], repeat_window_s=0)

def progress():
    return anyio.run(nnunet_progress, ProgressRequest(run_id=record.run_id), settings)

before = progress().percent
engine_of(record).start(run, record, settings)
wait_while(lambda: verdict(run, record).status in ACTIVE)
tell(
    percents=[before, progress().percent],
    status=progress().status,
    runs=[line.status for line in nnunet_runs(RunsRequest(), settings).runs],
    notes=nnunet_results(ResultsRequest(run_id=record.run_id), settings).notes,
)
"""


def test_a_kind_of_stage_is_a_line_in_the_table_and_its_worker_step(copy: Scratch, settings: Settings) -> None:
    copy.after("schemas/stage_kinds.py", "STAGE_KINDS = {\n", '    "review": StageKind(step="review", weight=0.5),\n')
    copy.write("worker/steps/review.py", STEP)

    assert copy.found(RUN_THE_STAGE) == {
        "percents": [0.0, 100.0],
        "status": "success",
        "runs": ["success"],
        "notes": ["Reviewed."],
    }
    assert copy.touched == {"schemas/stage_kinds.py", "worker/steps/review.py"}


ENGINE = '''"""An engine that starts its runs as this machine does, and has options and words of its own."""

from ..local.engine import LocalEngine


class BenchEngine(LocalEngine):
    """The bench."""

    name = "bench"

    def device(self, asked, settings, *, num_gpus=None):
        return "cpu", "the bench has no GPU"

    def notes(self, device, options, settings):
        return ["The bench is slow."]
'''
CHOICE = """def _bench() -> Engine:
    from .bench.engine import BenchEngine

    return BenchEngine()


"""
TRAIN_ON_IT = """
from nnunet_mcp.schemas.preflight import PreflightRequest
from nnunet_mcp.schemas.records import ACTIVE
from nnunet_mcp.schemas.results import ResultsRequest
from nnunet_mcp.schemas.run_list import CancelRequest
from nnunet_mcp.schemas.training import TrainingCall
from nnunet_mcp.tools.training.preflight import nnunet_preflight
from nnunet_mcp.tools.training.training import nnunet_training
from nnunet_mcp.tools.watching.results import nnunet_results
from nnunet_mcp.tools.watching.runs import nnunet_cancel

asked = {"dataset_id": 1, "configuration": "2d", "engine": "bench"}
ahead = nnunet_preflight(PreflightRequest.model_validate(asked), settings)
started = nnunet_training(TrainingCall.model_validate(asked), settings)

def result():
    return nnunet_results(ResultsRequest(run_id=started.run_id), settings)

wait_while(lambda: result().status in ACTIVE)
tell(
    why=[ahead.device_reason, started.device_reason],
    notes=["The bench is slow." in one.notes for one in (ahead, started)],
    status=result().status,
    cancelled=nnunet_cancel(CancelRequest(run_id=started.run_id), settings).status,
)
"""


def test_an_engine_is_its_folder_and_its_line_in_the_registry(
    copy: Scratch, settings: Settings, tmp_path: Path
) -> None:
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    copy.write("runs/bench/__init__.py", '"""The bench."""\n')
    copy.write("runs/bench/engine.py", ENGINE)
    copy.before("runs/engines.py", "ENGINES: Mapping[", CHOICE)
    copy.after("runs/engines.py", "Callable[[], Engine]] = {", '"bench": _bench, ')
    copy.replace("schemas/slurm.py", 'Literal["local", "slurm"]', 'Literal["local", "slurm", "bench"]')
    copy.before("pyproject.toml", '    "nnunet_mcp.runs.failures",\n', '    "nnunet_mcp.runs.bench",\n')
    copy.before("pyproject.toml", '"nnunet_mcp.runs.failures" = ', '"nnunet_mcp.runs.bench" = "runs/bench"\n')

    worker = {"STAND_IN": "{}", "NNUNET_MCP_WORKER_PYTHON": str(stand_in_python(tmp_path))}
    assert copy.found(TRAIN_ON_IT, **worker) == {
        "why": ["the bench has no GPU"] * 2,
        "notes": [True, True],
        "status": "success",
        "cancelled": "success",
    }
    folder = {"runs/bench/__init__.py", "runs/bench/engine.py"}
    assert copy.touched == {*folder, "runs/engines.py", "schemas/slurm.py", "pyproject.toml"}


PICTURE = '''class SecondsPicture(Drawn):
    """How long each epoch took."""

    kind: Literal["seconds"] = "seconds"
    seconds: Numbers


'''
GATHER = '''def seconds(request: PlotRequest, settings: Settings) -> tuple[Picture, str]:
    """The seconds of each epoch of a run's first training."""
    run, record = run_of(request, settings)
    taken = tuple(epoch.seconds for epoch in run.stage(record.model_stages[0].name).epochs())
    return SecondsPicture(title=record.run_id, theme=request.theme, seconds=taken), f"{len(taken)} epochs."


'''
DRAW = '''"""Seconds per epoch, as bars."""

from matplotlib.figure import Figure

from ....schemas.plots import SecondsPicture
from .style import COLOURS, dress, new_figure


def draw(picture: SecondsPicture) -> Figure:
    """One bar for each epoch."""
    figure = new_figure(3.0, picture)
    axes = figure.subplots()
    axes.bar(range(1, len(picture.seconds) + 1), picture.seconds, color=COLOURS[0])
    dress(axes, picture.theme)
    return figure
'''
ASK_FOR_THE_PICTURE = """
import base64
from mcp import Client
from nnunet_mcp.server.app import create_server

async def main():
    async with Client(create_server(settings)) as client:
        return (await client.call_tool("nnunet_plot", {"kind": "seconds", "run_id": "d001-2d-f0-tttt"})).content

text, image = anyio.run(main)
Path("drawn.png").write_bytes(base64.b64decode(image.data))
tell(text=text.text, mime_type=image.mime_type)
"""


def test_a_picture_is_what_it_shows_how_that_is_gathered_and_its_drawing(copy: Scratch, settings: Settings) -> None:
    run, _ = record_run(StateDir.of(settings), record_of(settings), [], repeat_window_s=0)
    for epoch in range(3):
        unmeasured = dict.fromkeys(("train_loss", "val_loss", "learning_rate", "pseudo_dice", "ema_pseudo_dice"))
        line = Epoch.model_validate({**unmeasured, "epoch": epoch, "seconds": 10.0 + epoch})
        append_line(run.stage("train_fold_0").epochs_file, line)
    asked, gathers = "schemas/plots.py", "tools/plots/plots.py"
    copy.before(asked, "Picture = Annotated[", PICTURE)
    copy.replace(asked, "Annotated[CurvesPicture | ", "Annotated[SecondsPicture | CurvesPicture | ")
    copy.replace(asked, 'Literal["curves", "folds", "overlay", "dataset"]', 'Literal["seconds", "curves", "folds"]')
    copy.before(gathers, "GATHERED = {", GATHER)
    copy.replace(gathers, "    PlotRequest,\n", "    PlotRequest,\n    SecondsPicture,\n")
    copy.replace(gathers, "import dataset, folds, overlay", "import dataset, folds, overlay, run_of")
    copy.after(gathers, "GATHERED = {", '"seconds": seconds, ')
    copy.write("worker/asks/pictures/seconds.py", DRAW)

    assert copy.found(ASK_FOR_THE_PICTURE) == {"text": "3 epochs.", "mime_type": "image/png"}
    png = (copy.root / "drawn.png").read_bytes()
    assert png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == (800, 300)
    assert copy.touched == {asked, gathers, "worker/asks/pictures/seconds.py"}
