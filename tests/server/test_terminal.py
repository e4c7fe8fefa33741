"""The subcommands are the tools: the same requests, functions and sentences, and exit codes for scripts."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pydantic import Field

from nnunet_mcp.calls import Call, argument, call
from nnunet_mcp.files import write_model
from nnunet_mcp.runs.layout import RunDir
from nnunet_mcp.schemas.base import Record, Request
from nnunet_mcp.schemas.datasets import PrepareRequest
from nnunet_mcp.schemas.models import ReportRequest
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import CancelRecord, CaseMetrics, ClassMetrics, Metrics, Status
from nnunet_mcp.schemas.run_list import RunsRequest
from nnunet_mcp.server.terminal.codes import MEANING, Code
from nnunet_mcp.server.terminal.commands import COMMANDS, request_of
from nnunet_mcp.server.terminal.flags import Parser, add_flags, given
from nnunet_mcp.server.terminal.show import show
from nnunet_mcp.server.terminal.spelling import flag, spelled, spelled_for
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools import TOOLS
from tests.kit.terminal import as_json, on_a_terminal, terminal, typed
from tests.kit.tiny import ask, make_dataset
from tests.server.test_answers import run_at

ESCAPE = "\x1b"


def finished(settings: Settings) -> RunDir:
    """A run with a result."""
    run = run_at(settings, "success")
    metrics = Metrics(dice=0.8712, iou=0.7788, validation_loss=-0.61)
    classes = (
        ClassMetrics(label="Anterior", dice=0.88, iou=0.79),
        ClassMetrics(label="Posterior", dice=0.86, iou=0.76),
    )
    cases = (CaseMetrics(case="hippocampus_042", dice=0.7),)
    outcome = ModelOutcome(ok=True, metrics=metrics, per_class=classes, cases=cases, model_path="/models/fold_0")
    write_model(run.stage("train_fold_0").outcome_file, outcome)
    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_field_of_a_request_has_its_flag_and_its_description_in_the_help(name: str) -> None:
    done = typed(name, "--help")

    assert done.returncode == 0
    told = " ".join(done.stdout.split())
    model = request_of(name)
    for field, info in model.model_fields.items():
        assert flag(field) in told
        assert info.description and " ".join(spelled_for(model, info.description).split()) in told
    assert all(text in told for text in MEANING.values())


def test_a_field_that_is_added_to_a_request_is_a_flag_by_itself() -> None:
    class Later(RunsRequest):
        patience_s: float = Field(default=3.0, description="Seconds.")
        no_colour: bool = Field(default=False, description="Plain.")

    parser = Parser(prog="later")
    add_flags(parser, Later, words=())
    arguments, rest = parser.parse_known_args(["--patience-s", "4.5", "--no-colour", "--dataset-id", "Dataset007_Tiny"])
    request = Later.model_validate(given(arguments, rest, Later, words=()))

    assert (request.patience_s, request.no_colour, request.dataset_id, request.limit) == (4.5, True, 7, 20)
    assert parser.parse_args(["--colour"]).no_colour is False
    assert "Seconds. Default: 3.0." in parser.format_help()


def test_every_tool_but_the_page_has_a_command_and_every_request_an_asker() -> None:
    assert {tool.name for _, tool in COMMANDS.values()} == {tool.name for tool in TOOLS if not tool.page}
    asked = {request_of(name) for name in COMMANDS} | {tool.request for tool in TOOLS}
    assert {base for request in asked for base in request.__mro__} >= set(Request.__subclasses__())


@pytest.mark.heavy
def test_json_is_exactly_the_tools_structured_answer(settings: Settings) -> None:
    run = finished(settings)
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")

    assert as_json("results", run.run_id) == ask(settings, "nnunet_results", run_id=run.run_id)
    assert as_json("runs") == ask(settings, "nnunet_runs")
    assert as_json("datasets", "7") == ask(settings, "nnunet_datasets", dataset_id=7)
    progress = ask(settings, "nnunet_progress", run_id=run.run_id)
    assert as_json("progress", run.run_id).keys() == progress.keys()


def test_the_card_of_a_result_has_nnunets_numbers_per_class_and_the_worst_cases(settings: Settings) -> None:
    told = terminal("results", finished(settings).run_id).stdout

    for text in ("Dice", "0.8712", "0.7788", "-0.6100", "Anterior", "0.8600", "hippocampus_042", "/models/fold_0"):
        assert text in told


@pytest.mark.heavy
def test_one_dataset_is_shown_with_what_is_in_its_images(settings: Settings) -> None:
    folder = make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    (folder / "labelsTr" / "case_002.nii.gz").write_bytes(b"broken")

    text = terminal("datasets", "7").stdout

    assert "looked at" in text and "5 of 5 cases" in text and "8 × 7 × 6" in text
    assert "007: files that cannot be read whole: case_002" in text
    assert "same image under several names" in text, "warnings are shown too"


@pytest.mark.parametrize(
    ("status", "code"),
    [("success", Code.DONE), ("error", Code.FAILED), ("cancelled", Code.STOPPED), ("interrupted", Code.STOPPED)],
)
def test_the_exit_code_says_how_the_run_ended(settings: Settings, status: Status, code: Code) -> None:
    run = run_at(settings, status)
    if status == "cancelled":
        write_model(run.cancel_file, CancelRecord(requested_at=0.0, grace_s=0.0))

    assert [typed(word, run.run_id).returncode for word in ("progress", "results")] == [code, code]
    watched = terminal("progress", run.run_id, "--watch", "--json")
    assert (watched.returncode, json.loads(watched.stdout)["status"]) == (code, status)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["progress", "d001-2d-f0-none"], Code.NOT_FOUND, "There is no run 'd001-2d-f0-none'. There are no runs yet."),
        (["datasets", "99"], Code.NOT_FOUND, "nnunet-mcp prepare imports one."),
        (["cancel", "d001-2d-f0-none", "--force"], Code.NOT_FOUND, "nnunet-mcp runs lists them."),
        (["train", "99"], Code.NOT_FOUND, "099"),
        (["train"], Code.REFUSED, "--dataset-id: Field required"),
        (["train", "5000"], Code.REFUSED, "--dataset-id: Input should be less than or equal to 999 (got '5000')"),
        (["train", "7", "--fold", "x"], Code.REFUSED, "--fold: it is the number of a fold"),
        (["train", "7", "--configuraton", "2d"], Code.REFUSED, "unknown option; did you mean '--configuration'?"),
        (["train", "7", "--trainer", "-x"], Code.REFUSED, "argument --trainer: expected one argument"),
        (["train", "7", "--trainer=-x"], Code.REFUSED, "--trainer: String should match pattern"),
        (["train", "7", "8"], Code.REFUSED, "'8' is one word too many"),
        (["train", "7", "--dataset-id", "8"], Code.REFUSED, "--dataset-id is given twice"),
        (["--read-only", "train", "7"], Code.REFUSED, "--read-only and train exclude each other"),
        (
            ["train", "7", "--continue-training", "--overwrite"],
            Code.REFUSED,
            "--continue-training and overwrite exclude each other",
        ),
        (["progress", "--", "-x"], Code.REFUSED, "--run-id: String should match pattern"),
        (["runs", "--limit", "-1"], Code.REFUSED, "--limit: Input should be greater than or equal to 1 (got '-1')"),
        (["trian", "7"], Code.REFUSED, "There is no command 'trian'; did you mean 'train'?"),
        (["train", "7", "--device", "cuda"], Code.UNAVAILABLE, "Use --device cpu."),
    ],
)
def test_what_is_wrong_is_said_on_standard_error_with_its_code(
    settings: Settings, words: list[str], code: Code, sentence: str
) -> None:
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")

    done = typed(*words)

    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_refused_process_ends_with_the_code_and_prints_no_traceback(settings: Settings) -> None:
    done = terminal("train", "5000", "--json")

    assert (done.returncode, done.stdout) == (Code.REFUSED, "")
    assert "less than or equal to 999" in done.stderr and "Traceback" not in done.stderr


def test_settings_that_are_no_settings_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNUNET_MCP_GPUS", "many")

    done = typed("runs")

    assert done.returncode == Code.REFUSED and "NNUNET_MCP_GPUS: " in done.stderr


@pytest.mark.parametrize("words", [(), ("serve", "--http"), ("forget",), ("client", "cursor"), ("runs",)])
def test_a_wrong_setting_is_one_sentence_for_every_command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("NNUNET_MCP_GPUS", "abc")

    done = typed(*words)

    assert (done.returncode, done.stdout) == (Code.REFUSED, "")
    assert len(done.stderr.splitlines()) == 1 and "NNUNET_MCP_GPUS: Input should be a valid integer" in done.stderr


def test_what_nobody_expected_is_one_sentence_too(settings: Settings) -> None:
    script = (
        "import sys\n"
        "from nnunet_mcp.server import cli\n"
        "from nnunet_mcp.tools.watching import runs\n"
        "def broken(*_): raise ValueError('x')\n"
        "runs.nnunet_runs = broken\n"
        "sys.argv = ['nnunet-mcp', 'runs']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (Code.BUG, "")
    assert done.stderr == "This is a bug in nnunet-mcp: ValueError: x\n"


def test_the_words_of_prepare_may_have_options_between_them(settings: Settings, tmp_path: Path) -> None:
    source = make_dataset(settings.folder("raw"), "Dataset011_Source", style="msd")

    done = terminal("prepare", str(source), "--json", "12", "Copy")

    assert done.returncode == Code.DONE, done.stderr
    assert json.loads(done.stdout)["dataset_name"] == "Dataset012_Copy"
    assert list(PrepareRequest.model_fields)[:3] == list(COMMANDS["prepare"][0].words)
    assert terminal("prepare", str(source), "12", "Again").returncode == Code.REFUSED


def test_without_a_terminal_there_is_a_line_per_run_and_no_colour(settings: Settings) -> None:
    run = finished(settings)

    lines = terminal("runs").stdout.splitlines()

    assert len(lines) == 2 and lines[1].startswith(run.run_id)
    assert ESCAPE not in "".join(lines)


def test_on_a_terminal_there_are_colours(settings: Settings) -> None:
    finished(settings)

    code, written = on_a_terminal("runs")

    assert code == Code.DONE and ESCAPE in written


def test_a_log_cannot_steer_the_terminal(settings: Settings) -> None:
    run = finished(settings)
    run.stage("train_fold_0").log_file.write_text("[bold]epoch[/bold] \x1b]0;owned\x07 ends\n", encoding="utf-8")

    for written in (terminal("logs", run.run_id).stdout, on_a_terminal("logs", run.run_id)[1]):
        assert written.splitlines() == ["[bold]epoch[/bold] �]0;owned� ends"]


def test_a_reader_that_goes_away_is_no_error(settings: Settings) -> None:
    run = finished(settings)
    run.stage("train_fold_0").log_file.write_text("a line of the log\n" * 400, encoding="utf-8")
    command = (
        f"{sys.executable} -m nnunet_mcp logs {run.run_id} --lines 400 --mode tail | true; echo ${{PIPESTATUS[0]}}"
    )

    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == (f"{Code.NOBODY_READS}\n", "")


@pytest.mark.parametrize(
    ("one", "agents", "people"),
    [
        (
            call("nnunet_progress", run_id="x", wait_s=25),
            "nnunet_progress(run_id='x', wait_s=25)",
            "progress x --watch",
        ),
        (call("nnunet_runs"), "nnunet_runs", "runs"),
        (
            call("nnunet_prepare_dataset", source=None, dataset_id=None, name=None),
            "nnunet_prepare_dataset(source, dataset_id, name)",
            "prepare SOURCE ID NAME",
        ),
        (
            call("nnunet_training", dataset_id=4, like="d004-x", continue_training=True),
            "nnunet_training(dataset_id=4, like='d004-x', continue_training=true)",
            "train 4 --like d004-x --continue-training",
        ),
        (
            call("nnunet_logs", run_id="x", pattern="a b|c"),
            "nnunet_logs(run_id='x', pattern='a b|c')",
            "logs x --pattern 'a b|c'",
        ),
        (call("nnunet_logs", run_id="x", pattern="-x"), "nnunet_logs(run_id='x', pattern='-x')", "logs x --pattern=-x"),
        (
            call("nnunet_predict", model="a/b", images=None),
            "nnunet_predict(model='a/b', images)",
            "predict --model a/b --images IMAGES",
        ),
        (call("nnunet_compare", run_ids=["a", "b"]), 'nnunet_compare(run_ids=["a", "b"])', "compare --run-ids a b"),
        (call("nnunet_system"), "nnunet_system", "doctor"),
    ],
)
def test_a_call_is_said_as_agents_make_it_and_as_people_type_it(one: Call, agents: str, people: str) -> None:
    text = f"Then {one}."

    assert for_agents(text) == f"Then {agents}."
    assert spelled(text) == f"Then nnunet-mcp {people}."


def test_arguments_alone_are_flags_and_what_is_no_call_stays() -> None:
    assert spelled(f"{argument(num_gpus=1)}, or {argument(ensembling=False)}.") == "--num-gpus 1, or --no-ensembling."
    assert spelled(str(argument(no_preprocessing=False))) == "--preprocessing"
    assert spelled(str(call("nnunet_dashboard"))) == "nnunet_dashboard (in a chat)"
    assert spelled('⟦{no call}⟧ and ⟦{"tool": 1}⟧ stay') == '⟦{no call}⟧ and ⟦{"tool": 1}⟧ stay'


def test_a_picture_is_written_into_the_file_that_is_named(settings: Settings, tmp_path: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    file = tmp_path / "labels.png"

    done = typed("plot", "--kind", "dataset", "--dataset-id", "7", "--output", str(file))

    assert done.returncode == Code.DONE, done.stderr
    before = file.read_bytes()
    assert str(file) in done.stdout and file.read_bytes().startswith(b"\x89PNG")

    for output, why in (
        (file, "replace it with --overwrite"),
        (tmp_path / "a.gif", "must end in .png or .svg"),
        (tmp_path / "no" / "a.png", "There is no folder"),
    ):
        refused = typed("plot", "--kind", "dataset", "--dataset-id", "7", "--output", str(output))
        assert refused.returncode == Code.REFUSED and why in refused.stderr
    assert file.read_bytes() == before


@pytest.mark.heavy
def test_a_figure_for_a_paper_has_its_size_and_holds_no_path(settings: Settings, tmp_path: Path) -> None:
    make_dataset(settings.folder("raw"), "Dataset007_Tiny")
    png, svg = tmp_path / "labels.png", tmp_path / "labels.svg"

    def draw(file: Path, *words: str) -> str:
        done = typed(
            "plot", "--kind", "dataset", "--dataset-id", "7", "--width-mm", "85", "--output", str(file), *words
        )
        return done.stderr if done.returncode else done.stdout

    assert str(png) in draw(png, "--dpi", "300") and str(svg) in draw(svg)
    before = png.read_bytes()
    image, text = Image.open(io.BytesIO(before)), svg.read_text("utf-8")
    assert image.width == pytest.approx(85 / 25.4 * 300, abs=2) and image.info["dpi"][0] == pytest.approx(300, abs=1)
    assert 'width="240.9' in text and "Dataset007_Tiny" in text
    assert not re.search(r"dc:date|dc:creator|/tmp|/work", text)
    assert str(png) in draw(png, "--dpi", "72", "--overwrite") and len(png.read_bytes()) < len(before)


def test_an_answer_without_a_view_of_its_own_is_shown_by_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    class Row(Record):
        name: str
        dice: float

    class Later(Record):
        run_id: str
        rows: tuple[Row, ...]
        notes: tuple[str, ...] = ("a note",)
        next_step: str = f"Then {call('nnunet_runs')}."

    show(Later(run_id="d001", rows=(Row(name="a", dice=0.5), Row(name="b", dice=0.25))))

    told = capsys.readouterr().out
    assert "run_id  d001" in told and "0.2500" in told and "note: a note" in told and "Then nnunet-mcp runs." in told


def test_serving_loads_nothing_of_the_terminals_looks() -> None:
    script = (
        "import sys\n"
        "from nnunet_mcp.server import app, cli\n"
        "cli._parser(None)\n"
        "print(sorted({'rich', 'torch', 'nnunet_mcp.server.terminal.show'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param(["one", "two", "--format", "html"], id="first"),
        pytest.param(["--format", "html", "one", "two"], id="last"),
        pytest.param(["--run-ids", "one", "two", "--format", "html"], id="by their flag"),
    ],
)
def test_a_list_may_be_given_as_words(typed: list[str]) -> None:
    parser = Parser(prog="report")
    add_flags(parser, ReportRequest, ("run_ids",))
    arguments, rest = parser.parse_known_args(typed)

    assert given(arguments, rest, ReportRequest, ("run_ids",)) == {"run_ids": ["one", "two"], "format": "html"}
