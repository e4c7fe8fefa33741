"""People hear of their runs by mail and other ways: once each, whoever is closed, and never at a run's cost."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnunet_mcp.errors import Refused
from nnunet_mcp.files import write_model
from nnunet_mcp.liveness import mark_of
from nnunet_mcp.runs.layout import read_run
from nnunet_mcp.schemas.outcomes import ModelOutcome
from nnunet_mcp.schemas.records import (
    ClassMetrics,
    EngineRecord,
    Failure,
    Metrics,
    StageState,
)
from nnunet_mcp.settings import Settings
from nnunet_mcp.tools.following import notify
from nnunet_mcp.tools.following.follow import Follower
from nnunet_mcp.tools.following.news import WAITS_S, news
from nnunet_mcp.tools.following.notify import Notifier
from nnunet_mcp.tools.following.start import follow_again
from nnunet_mcp.tools.following.targets import target_checks
from nnunet_mcp.tools.watching.results import result_of
from nnunet_mcp.tools.watching.snapshot import snapshot
from tests.kit.lab import free_port, stand_in_python, until
from tests.kit.terminal import typed
from tests.kit.tiny import ask, make_dataset
from tests.tools.following.hearers import NOBODY, PASSWORD, mail_server, webhook
from tests.tools.following.played import RUN_ID, follower, followers, run_in, running

pytestmark = [
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated"),  # of apprise
]
DOWN = f"mailto://me:{PASSWORD}@lab.example:{{port}}?smtp=127.0.0.1&to=you@lab.example&mode=insecure"


@pytest.fixture
def played(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tiny dataset whose trainings are played; afterwards no follower is left."""
    monkeypatch.setenv("NNUNET_MCP_WORKER_PYTHON", str(stand_in_python(tmp_path)))
    monkeypatch.setenv("STAND_IN", "{}")
    make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    yield tmp_path
    for process in followers(tmp_path):
        process.kill()


def train(**arguments: Any) -> str:
    """Start a training on a server that is gone at once; returns its run's id."""
    asked = {"dataset_id": 1, "configuration": "2d", "fold": "0", "device": "cpu", **arguments}
    return str(ask(Settings(), "nnunet_training", **asked)["run_id"])


def test_a_run_is_told_by_mail_and_webhook_when_it_ends_and_when_it_fails(
    played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mail_server() as mail, webhook() as web:
        (played / "addresses").write_text(f"{mail.address}\n{web.address}\n", encoding="utf-8")
        monkeypatch.chdir(played)
        monkeypatch.setenv("NNUNET_MCP_NOTIFY", "addresses")
        done = train()
        assert until(lambda: bool(mail.got and web.got))
        monkeypatch.setenv("STAND_IN", json.dumps({"train_fold_0": "fails"}))
        with monkeypatch.context() as killed:  # a server that dies before it has started the followers
            killed.setattr("nnunet_mcp.tools.following.start._follow", lambda *run: None)
            failed = train(overwrite=True)
        follow_again(Settings())
        assert until(lambda: len(mail.got) == len(web.got) == 2)
        assert until(lambda: followers(played) == [])

    for heard in (mail, web):
        assert [message.title for message in heard.got] == [
            "Dataset001_Tiny 2d fold 0 has finished",
            "Dataset001_Tiny 2d fold 0 has failed",
        ]
        ended, broken = (message.text for message in heard.got)
        assert "Dice 0.8000" in ended and done in ended
        assert "the label 7 is not declared" in broken and failed in broken
        assert str(played) not in ended + broken and "case_001" not in broken
    assert holding(played) == [played / "addresses"]


def holding(folder: Path) -> list[Path]:
    """The files that have the password."""
    return [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


@pytest.mark.heavy
def test_a_mail_server_that_is_down_costs_a_run_nothing_and_hears_of_it_later(
    played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    note = "Not everything was told to others: mailto: not delivered (no answer, or a wrong address or password)"
    with webhook() as web:
        monkeypatch.setenv("NNUNET_MCP_NOTIFY", f"{DOWN.format(port=port)} {web.address}")
        run_id = train()
        assert until(lambda: note in ask(Settings(), "nnunet_results", run_id=run_id)["notes"])
        result = ask(Settings(), "nnunet_results", run_id=run_id)
        with mail_server(port) as mail:
            assert until(lambda: bool(mail.got)) and until(lambda: followers(played) == [])

    assert (result["status"], result["complete"], result["notes"].count(note)) == ("success", True, 1)
    for heard in (mail, web):  # who took it does not get it again with the others
        assert [message.title for message in heard.got] == ["Dataset001_Tiny 2d fold 0 has finished"]
    assert note not in ask(Settings(), "nnunet_results", run_id=run_id)["notes"]
    assert holding(played) == []


PATHS = "the label file /home/ann/raw/case_001.nii.gz has values {7}; case_001 and scan_77.nii.gz are wrong"


def failed(cause: str) -> StageState:
    return StageState(status="error", failure=Failure(cause=cause, evidence="", remedy=""))


@pytest.mark.parametrize(
    ("state", "more", "event", "said"),
    [
        pytest.param(running(), {"epochs": (0.5, 0.4)}, None, "", id="goes on"),
        pytest.param(running(), {"epochs": (0.5, 300.0)}, "diverging", "train_loss is 300 in epoch 2", id="diverges"),
        pytest.param(
            running(),
            {"epochs": (0.5, 0.4), "heartbeat": -900},
            "stalled",
            "No sign of life for 9",
            id="stalls",
        ),
        pytest.param(StageState(status="queued", waits_for="waits for a slot"), {}, None, "", id="waits a moment"),
        pytest.param(
            StageState(status="queued", waits_for="waits for a slot"),
            {"created_at": -WAITS_S - 360, "heartbeat": -WAITS_S - 360},
            "waiting",
            "For 2.1 h: waits for a slot",
            id="waits for hours",
        ),
        pytest.param(
            StageState(status="queued", waits_for="was requeued"),
            {"created_at": -4 * WAITS_S, "heartbeat": -60},
            None,
            "",
            id="waits again after hours of work",
        ),
        pytest.param(
            StageState(status="error", failure=Failure(cause=PATHS, evidence=PATHS, remedy=PATHS, resume=True)),
            {},
            "failed",
            "the label file (a file) has values {7}; (a case) and (a file) are wrong\nIt can go on from where it was.",
            id="fails with names in the cause",
        ),
        pytest.param(
            failed("label files are missing: ['Doe_Jane_1961', 'Mueller_Max']"),
            {},
            "failed",
            "label files are missing: (names)\nRun",
            id="fails for cases that no folder has",
        ),
        pytest.param(
            failed("'/data/Jane Doe/x.nii.gz', /data/Jane Doe/x.nii.gz and case_002_0000.nii.gz differ from case_002"),
            {},
            "failed",
            "(a file), (a file) and (a case) differ from (a case)\nRun",
            id="fails with blanks in a path, and a case without a label",
        ),
        pytest.param(StageState(status="cancelled"), {}, "ended", "cancelled on request", id="is cancelled"),
    ],
)
def test_what_is_told_of_a_run(
    settings: Settings, state: StageState, more: dict[str, Any], event: str | None, said: str
) -> None:
    raw = make_dataset(settings.folder("raw"), "Dataset001_Tiny")
    (raw / "labelsTr" / "case_002.nii.gz").unlink()
    ago: dict[str, Any] = {name: time.time() + more[name] for name in ("heartbeat", "created_at") if name in more}
    run = run_in(settings, state, **(more | ago))
    if state.status in ("error", "cancelled"):
        write_model(run.engine_file, EngineRecord(supervisor=mark_of(os.getpid()).model_copy(update={"boot_id": "-"})))

    found = news(snapshot(settings, RUN_ID))

    assert (found.event if found else None) == event
    assert found is None or (said in found.text and found.text.endswith(f"Run {RUN_ID}"))


def test_a_result_is_told_with_its_classes_and_without_its_cases(settings: Settings) -> None:
    run = run_in(settings, StageState(status="success"))
    outcome = ModelOutcome(
        ok=True,
        metrics=Metrics(dice=0.45, iou=0.4, validation_loss=0.0),
        per_class=(ClassMetrics(label="liver", dice=0.9, iou=0.8), ClassMetrics(label="tumour", dice=0.0, iou=0.0)),
        epochs_trained=1000,
        train_hours=12.34,
    )
    write_model(run.stage("train_fold_0").outcome_file, outcome)

    found = news(snapshot(settings, RUN_ID))

    assert found is not None and found.text.splitlines() == [
        "Dice 0.4500",
        "liver 0.9000",
        "tumour 0.0000",
        "1000 epochs in 12.3 h",
        "Something speaks against it: see the notes of its result.",
        f"Run {RUN_ID}",
    ]


def test_an_event_is_told_once_however_often_its_teller_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(settings, running(), epochs=(0.5, 300.0))
    with webhook() as web:
        monkeypatch.setenv("NNUNET_MCP_NOTIFY", web.address)
        pair = [follower(run, "notify") for _ in range(2)]
        assert until(lambda: bool(web.got) and any(one.poll() == 0 for one in pair))  # one left it to the other
        for one in pair:
            one.kill()
            one.wait()
        again = Notifier(run, Settings())
        for _ in range(3):
            again.tell(snapshot(settings, RUN_ID))
        assert [message.title for message in web.got] == ["Dataset001_Tiny 2d fold 0 diverges"]

        write_model(run.stage("train_fold_0").state_file, StageState(status="success"))
        follow_again(Settings())
        assert until(lambda: len(web.got) == 2 and not run.told_lock("notify").exists())
        follow_again(Settings())  # nothing is left to be followed

    assert web.got[1].title == "Dataset001_Tiny 2d fold 0 has finished" and not run.told_lock("notify").exists()


def test_who_has_a_message_does_not_get_it_again_when_another_recipient_of_the_address_refuses_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(settings, StageState(status="success"))
    monkeypatch.setattr("nnunet_mcp.tools.following.notify.TRIES", 3)
    monkeypatch.setattr(Follower, "_pause", lambda follower: 0.01)
    run.told_dir.mkdir()
    with mail_server() as mail:
        address = mail.address.replace("to=you", f"to={NOBODY},you")
        monkeypatch.setenv("NNUNET_MCP_NOTIFY", address)
        Follower(*read_run(str(run.path)), Settings(), "notify").follow()

    assert [message.title for message in mail.got] == ["Dataset001_Tiny 2d fold 0 has finished"]
    untold = run.untold("notify")
    assert untold is not None and untold.why.endswith("given up after 3 tries") and PASSWORD not in untold.why
    lasting = f"Not everything was told to others: {untold.why}"
    assert lasting in ask(Settings(), "nnunet_results", run_id=RUN_ID)["notes"]
    assert lasting not in result_of(snapshot(settings, RUN_ID)).notes  # of which files and reports are made


def test_a_test_message_is_sent_from_the_terminal_and_the_doctor_shows_no_address(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unset = typed("notify")
    with webhook() as web:
        kept = tmp_path / "addresses"
        kept.write_text(f"# ours\n{web.address}\nxyz://{PASSWORD}@nowhere\n", encoding="utf-8")
        monkeypatch.setenv("NNUNET_MCP_NOTIFY", str(kept))
        monkeypatch.setenv("NNUNET_MCP_TRACK", f"comet:{PASSWORD}")
        sent = typed("notify")
    told = typed("doctor", "--quick")

    assert (unset.returncode, "NNUNET_MCP_NOTIFY" in unset.stderr) == (2, True)
    assert [message.title for message in web.got] == ["nnunet-mcp"]
    assert sent.returncode == 1 and sent.stdout.splitlines() == ["json: sent", "xyz: no address that apprise knows"]
    assert "warning  notifications: Others can read the file" in told.stdout
    assert "warning  tracker: NNUNET_MCP_TRACK names one that is none" in told.stdout
    assert PASSWORD not in sent.stdout + sent.stderr + told.stdout + told.stderr


@pytest.mark.parametrize("given", ["~nobody-of-this-name/addresses", "nowhere", "empty"])
def test_addresses_that_cannot_be_read_or_are_none_are_told_before_a_run_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    (tmp_path / "empty").write_text("# none yet\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNUNET_MCP_NOTIFY", given)

    assert [check.level for check in target_checks(Settings())] == ["warning"]
    with pytest.raises(Refused, match="NNUNET_MCP_NOTIFY"):
        list(notify.test_message(Settings()))


@pytest.mark.heavy
def test_a_server_without_apprise_says_so_and_starts_runs_all_the_same(
    played: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (played / "without" / "apprise").mkdir(parents=True)
    (played / "without" / "apprise" / "__init__.py").write_text("raise ImportError", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(played / "without"))
    monkeypatch.setenv("NNUNET_MCP_NOTIFY", "ntfy://topic")
    monkeypatch.setattr("nnunet_mcp.tools.following.targets.find_spec", lambda name: None)

    note = "Not everything was told to others: apprise is not installed beside the server, so nothing is told."

    problems = ask(Settings(), "nnunet_system")["problems"]
    run_id = train()

    assert any("apprise is not installed" in text and "pip install apprise" in text for text in problems)
    assert until(lambda: note in ask(Settings(), "nnunet_results", run_id=run_id)["notes"])
    assert until(lambda: ask(Settings(), "nnunet_results", run_id=run_id)["status"] == "success")
