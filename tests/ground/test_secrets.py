"""A server's secrets stay with it, in the processes that it starts and in what it writes."""

import json
import os
import stat
import time
from pathlib import Path

import psutil
import pytest

from nnunet_mcp.files import to_append
from nnunet_mcp.launch import SERVER_ONLY, inherited, without_secrets
from nnunet_mcp.runs.layout import StateDir
from nnunet_mcp.runs.processes import STAGE_VARIABLE
from nnunet_mcp.runs.slurm.script import job_script
from nnunet_mcp.settings import Settings, variable
from nnunet_mcp.texts import masked
from tests.chaos import stand_in_worker
from tests.kit.lab import Lab, until
from tests.kit.phantom import write_phantom
from tests.kit.tiny import record_of
from tests.tools.following.played import followers

VALUE = "the-secret-of-the-test"
SECRETS = (
    *SERVER_ONLY,
    "nnunet_mcp_http_token",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "OPENAI_API_KEY",
    "WANDB_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GITHUB_PAT",
    "DB_PASSWORD",
    "MYSQL_PWD",
    "PGPASSWORD",
    "client_secret",
    "SLURM_JWT",
    "SSH_AUTH_SOCK",
    "nnUNet_secret_token",
    "NNUNET_MCP_MY_KEY",
    "SSHPASS",
    "DBPASS",
    "ACCESSKEY",
    "PRIVATEKEY",
    "CREDS",
    "GIT_CREDS",
    "BEARER",
    "AUTHORIZATION",
    "COOKIES",
    "GH_OAUTH",
    "SLACK_WEBHOOK_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
    "SENTRY_DSN",
)
WRITTEN_BY_THE_PLAYED_WORKER = ("device.txt", "outcome.json", "progress.json", "epochs.jsonl")
NEEDED = (
    "PATH",
    "HOME",
    "PWD",
    "OLDPWD",
    "TOKENIZERS_PARALLELISM",
    "XAUTHORITY",
    "CUDA_HOME",
    "nnUNet_raw",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "XDG_RUNTIME_DIR",
    "KEYBOARD",
    "PASSENGER_APP_ENV",
    "BYPASS",
    "COMPASS",
    "GIT_AUTHOR_NAME",
    "SACRED_RUN",
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_not_inherited(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, VALUE)
    assert VALUE not in str(inherited())
    assert VALUE not in str(inherited("WANDB_ENTITY, HOME"))


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_training_needs_is_inherited(name: str) -> None:
    assert without_secrets({name: "value"}) == {name: "value"}


def test_our_own_settings_are_no_secrets() -> None:
    names = {variable(name, field) for name, field in Settings.model_fields.items()}
    assert set(without_secrets(dict.fromkeys(names, "x"))) == names - set(SERVER_ONLY)


def test_a_secret_can_be_handed_on_by_its_name_and_the_servers_own_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    given = dict.fromkeys(SECRETS, VALUE)
    kept = without_secrets(given, "WANDB_API_KEY , HF_TOKEN,NNUNET_MCP_HTTP_TOKEN")
    assert set(kept) == {"WANDB_API_KEY", "HF_TOKEN"}


@pytest.mark.parametrize("value", ["postgres://me:pw@host/db", "http://token@proxy:3128", "https://a:b@[::1]/"])
def test_an_address_with_a_password_is_a_secret(value: str) -> None:
    assert without_secrets({"DATABASE_URL": value}) == {}
    assert without_secrets({"DATABASE_URL": "https://host/@scope"}) != {}


@pytest.mark.parametrize(
    "value",
    [
        "ghp_0123456789abcdefABCDEF0123456789abcd",
        "sk-proj-0123456789abcdefABCDEF",
        "hf_0123456789abcdefABCDEF",
        "xoxb-0123456789-abcdefABCDEF",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
        "Server=db;User Id=me;Password=pw;",
        "AccountName=x;AccountKey=abc==;",
    ],
)
def test_a_value_that_shows_what_it_is_is_a_secret_under_any_name(value: str) -> None:
    assert without_secrets({"MINE": value}) == {}
    assert without_secrets({"MINE": value}, "MINE") == {"MINE": value}


@pytest.mark.parametrize(
    "value", ["sk-learn-environment", "hf_cache", "/opt/sk-0123456789abcdef0123/bin", "expandable_segments:True"]
)
def test_a_value_that_only_begins_like_one_is_inherited(value: str) -> None:
    assert without_secrets({"MINE": value}) == {"MINE": value}


@pytest.mark.heavy
def test_no_process_of_a_run_has_a_secret_but_the_one_that_it_is_to_have(tmp_path: Path) -> None:
    extra = {
        "NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__,
        "STAND_IN_LEAVE": str(tmp_path / "leave"),
        "NNUNET_MCP_HAND_ON": "WANDB_API_KEY",
        **dict.fromkeys(set(SECRETS) - {"WANDB_API_KEY"}, VALUE),
        "WANDB_API_KEY": "for-the-training",
    }
    lab = Lab(tmp_path / "work", extra)
    write_phantom(lab.folder / "raw" / "Dataset071_Played", cases=5, shape=(4, 4, 4))
    run_id = lab.call("nnunet_training", dataset_id=71, configuration="2d", fold="0", device="cpu")["run_id"]
    try:
        told = "nnunet_mcp.tools.following"
        assert until(
            lambda: {"nnunet_mcp.runs.local.supervisor", "nnunet_mcp.worker", told} <= set(environments(run_id))
        )
        for module, environment in environments(run_id).items():
            own = {"NNUNET_MCP_NOTIFY"} if module == told else set[str]()
            assert {name for name, value in environment.items() if VALUE in value} == own, module
            assert environment.get("WANDB_API_KEY") == "for-the-training", (module, environment)
    finally:
        (tmp_path / "leave").touch()
        lab.finish(run_id)
        for process in followers(lab.folder):  # the secret is no address, so it would try for an hour
            process.kill()
    assert [path for path in lab.folder.rglob("*") if path.is_file() and VALUE.encode() in path.read_bytes()] == []


def environments(run_id: str) -> dict[str, dict[str, str]]:
    """What the run's processes were started with, by their module."""
    found = {}
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if any(run_id in word for word in command) and "-m" in command:
                found[command[command.index("-m") + 1]] = process.environ()
            elif run_id in process.environ().get(STAGE_VARIABLE, ""):
                found[f"child {process.pid}"] = process.environ()
        except (psutil.Error, OSError):
            continue
    return found


def test_a_job_script_has_none_either(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        if "SLURM" not in name:
            monkeypatch.setenv(name, VALUE)
    monkeypatch.setenv("NNUNET_MCP_HAND_ON", "nnUNet_secret_token")
    monkeypatch.setenv("nnUNet_compile", "f")
    record = record_of(settings)
    text = job_script(StateDir(settings.state_dir).run(record.run_id), record, record.stages[0], Settings())
    assert VALUE not in text and "export nnUNet_compile=f" in text


@pytest.mark.parametrize(
    "text",
    [
        "https://user:pa55@host/x",
        "pip install git+https://ghp_pa55@github.com/a/b",
        "postgres://me:pa55@db:5432/x?y=z",
        "redis://:pa55@localhost",
        "HTTP://U:P@pa55@host",
        "s3://pa55:x@bucket and https://other:pa55@host",
        "api_key=pa55 token: pa55",
    ],
)
def test_what_is_secret_in_a_line_of_a_log_is_masked(text: str) -> None:
    assert "pa55" not in masked(text) and "***" in masked(text)
    assert masked("https://github.com/@scope/x and me@example.org") == "https://github.com/@scope/x and me@example.org"


def test_a_line_of_letters_is_masked_at_once() -> None:
    began = time.monotonic()
    for text in ("a." * 2000, "token" * 1000, "a://" * 1000):
        masked(text)
    assert time.monotonic() - began < 1


@pytest.mark.heavy
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_else_writes_into_the_state_folder_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    extra = {"NNUNET_MCP_WORKER_PYTHON": stand_in_worker.__file__, "STAND_IN_PACE_S": "0.01"}
    write_phantom(tmp_path / "work" / "source", cases=5, shape=(4, 4, 4))
    before = os.umask(umask)
    try:
        lab = Lab(tmp_path / "work" / "new", extra)
        lab.call("nnunet_prepare_dataset", source=str(tmp_path / "work" / "source"), dataset_id=71, name="Played")
        lab.call("nnunet_datasets", dataset_id=71)
        lab.train(dataset_id=71, configuration="2d", fold="0", device="cpu")
    finally:
        os.umask(before)
    state = lab.settings.state_dir
    found = [*state.rglob("*"), state, *(path for path in state.parents if path.is_relative_to(lab.folder))]
    found = [path for path in found if path.name not in WRITTEN_BY_THE_PLAYED_WORKER]
    assert {path.name for path in found} >= {"log.txt", "supervisor.log", "heartbeat", "run.json", "state.json"}
    assert [path for path in found if path.stat().st_mode & stat.S_IWOTH] == []
    own = [path for path in found if path.is_file() and path.suffix != ".lock"]  # a group may share locks
    assert [path for path in own if path.stat().st_mode & stat.S_IWGRP] == []


def test_a_log_that_others_could_write_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("first\n", encoding="utf-8")
    path.chmod(0o666)
    with to_append(path) as stream:
        stream.write(json.dumps("second").encode())
    assert path.read_text(encoding="utf-8") == 'first\n"second"' and path.stat().st_mode & 0o777 == 0o644
