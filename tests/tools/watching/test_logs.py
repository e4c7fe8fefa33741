"""A log of any size is shown in bounded parts, without what nobody should see."""

import time
from pathlib import Path

import pytest

from nnunet_mcp.errors import NotFound, Refused
from nnunet_mcp.runs.layout import StageDir, StateDir
from nnunet_mcp.runs.store import record_run
from nnunet_mcp.schemas.logs import LogsAnswer, LogsRequest
from nnunet_mcp.settings import Settings
from nnunet_mcp.texts import for_agents
from nnunet_mcp.tools.watching.log_file import BLOCK_BYTES, COUNTED_BYTES, LINE_BYTES, Log, tail, window
from nnunet_mcp.tools.watching.log_search import LINE_CHARACTERS, grep
from nnunet_mcp.tools.watching.logs import nnunet_logs
from tests.kit.tiny import ask, record_of, stage

RUN = "d001-2d-f0-tttt"


@pytest.fixture
def log(settings: Settings) -> Path:
    """The log of the second of two stages, with a hundred lines."""
    record = record_of(settings, stage("preprocess"), stage("train_fold_0", "preprocess"), run_id=RUN)
    run, _ = record_run(StateDir(settings.state_dir), record, [], repeat_window_s=0)
    path = StageDir(run.stage("train_fold_0").path).log_file
    path.write_text("".join(f"line {number}\n" for number in range(1, 101)), encoding="utf-8")
    return path


def read(settings: Settings, **arguments: object) -> LogsAnswer:
    return nnunet_logs(LogsRequest.model_validate({"run_id": RUN, **arguments}), settings)


def numbers(found: list[tuple[int, str]]) -> list[int]:
    assert all(text == f"line {number}" for number, text in found)
    return [number for number, _ in found]


def test_the_tail_is_the_last_lines_with_their_numbers(log: Path) -> None:
    assert numbers(tail(Log(log), 3)) == [98, 99, 100]
    assert numbers(tail(Log(log), 1000)) == list(range(1, 101))


def test_a_window_is_the_lines_from_a_number(log: Path) -> None:
    assert numbers(window(Log(log), 5, 3)) == [5, 6, 7]
    assert numbers(window(Log(log), 99, 50)) == [99, 100]
    assert window(Log(log), 101, 5) == []


def test_a_negative_start_counts_from_the_end(log: Path) -> None:
    assert numbers(window(Log(log), -1, 5)) == [100]
    assert numbers(window(Log(log), -10, 3)) == [91, 92, 93]
    assert numbers(window(Log(log), -500, 2)) == [1, 2]


def test_grep_is_the_last_lines_that_match(log: Path) -> None:
    assert numbers(grep(Log(log), r"line \d0$", 3).lines) == [70, 80, 90]
    assert numbers(grep(Log(log), "LINE 1", 1).lines) == [100]
    assert grep(Log(log), "nothing like it", 5).lines == []


@pytest.mark.parametrize(("pattern", "message"), [(None, "needs pattern"), ("(", "not a regular expression")])
def test_a_pattern_that_is_none_is_refused(settings: Settings, log: Path, pattern: str | None, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read(settings, mode="grep", pattern=pattern)


def test_an_unfinished_last_line_counts(log: Path) -> None:
    log.write_text("line 1\nline 2", encoding="utf-8")

    assert Log(log).total == 2
    assert numbers(tail(Log(log), 5)) == numbers(window(Log(log), 1, 5)) == [1, 2]


def test_a_summary_is_the_beginning_the_end_and_the_distinct_errors(settings: Settings, log: Path) -> None:
    text = log.read_text(encoding="utf-8").replace("line 50\n", "ValueError: no\n").replace("line 60\n", "Killed\n")
    log.write_text(text.replace("line 70\n", "ValueError: no\n"), encoding="utf-8")

    answer = read(settings, lines=10)

    assert answer.lines == (*(f"line {n}" for n in range(1, 6)), *(f"line {n}" for n in range(96, 101)))
    assert (answer.first_line, answer.last_line, answer.total_lines) == (1, 100, 100)
    assert [(error.line, error.text, error.times) for error in answer.errors] == [
        (50, "ValueError: no", 2),
        (60, "Killed", 1),
    ]


@pytest.mark.parametrize("lines", [1, 2, 5, 6, 7, 400])
def test_a_summary_has_at_most_as_many_lines_as_asked_for(settings: Settings, log: Path, lines: int) -> None:
    answer = read(settings, lines=lines)

    assert len(answer.lines) <= lines
    assert len(set(answer.lines)) == len(answer.lines)
    assert answer.lines[-1] == "line 100"


def test_what_nnunet_prints_in_every_healthy_run_is_no_error(settings: Settings, log: Path) -> None:
    log.write_text(
        "Unable to plot network architecture: Error no module named hiddenlayer\n"
        "RuntimeWarning: invalid value encountered in scalar divide\n"
        "If you didn't see any error messages then your dataset is most likely OK!\n",
        encoding="utf-8",
    )

    assert read(settings).errors == ()


@pytest.mark.parametrize("mode", ["tail", "window", "summary"])
def test_of_a_progress_bar_the_last_state_is_shown(settings: Settings, log: Path, mode: str) -> None:
    log.write_bytes(b"before\n\r  0%|   | 0/3\r 33%|#  | 1/3\r100%|###| 3/3\nafter\n")

    answer = read(settings, mode=mode)

    assert answer.lines == ("before", "100%|###| 3/3", "after")
    assert answer.total_lines == 3


def test_lines_with_windows_endings_and_odd_bytes_are_readable(settings: Settings, log: Path) -> None:
    log.write_bytes(b"one\r\ntw\xff\x00o\r\n")

    assert read(settings, mode="tail").lines == ("one", "tw��o")


def test_long_lines_are_cut(settings: Settings, log: Path) -> None:
    log.write_text("x" * 100_000 + "\n", encoding="utf-8")

    answer = read(settings, mode="tail")

    assert len(answer.lines[0]) == LINE_CHARACTERS and answer.lines[0].endswith("…")


def test_a_single_line_longer_than_what_is_read_is_still_shown(settings: Settings, log: Path) -> None:
    log.write_text("x" * (4 * BLOCK_BYTES) + "\n", encoding="utf-8")

    answer = read(settings, mode="tail")

    assert answer.total_lines == 1 and len(answer.lines) == 1


def test_the_home_folder_and_secrets_are_masked(settings: Settings, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    log.write_text(
        "file /home/somebody/data\nWANDB_API_KEY=abc123\napi-key: abc123\npassword = abc123\ntoken:abc123 rest\n"
        "HF_TOKEN=abc123 Error\n",
        encoding="utf-8",
    )

    answer = read(settings)

    assert answer.lines[0] == "file ~/data"
    assert "abc123" not in answer.model_dump_json()
    assert answer.lines[4].endswith("*** rest")


def test_an_empty_log_is_empty(settings: Settings, log: Path) -> None:
    log.write_bytes(b"")

    for mode in ("summary", "tail", "window"):
        answer = read(settings, mode=mode)
        assert (answer.lines, answer.first_line, answer.last_line, answer.total_lines) == ((), 0, 0, 0)
    assert read(settings, mode="grep", pattern="x").lines == ()


def test_a_huge_log_is_numbered_right(settings: Settings, log: Path) -> None:
    log.write_text("".join(f"line {number}\n" for number in range(1, 200_001)), encoding="utf-8")

    assert numbers(tail(Log(log), 2)) == [199_999, 200_000]
    answer = read(settings, mode="window", start=150_000, lines=2)
    assert answer.lines == ("line 150000", "line 150001")
    assert "start=150002" in for_agents(answer.next_step)
    assert len(answer.model_dump_json()) < 1000


def test_the_stage_that_has_a_log_is_shown_and_others_can_be_named(settings: Settings, log: Path) -> None:
    assert read(settings).stage == "train_fold_0"
    with pytest.raises(NotFound, match="preprocess has not started"):
        read(settings, stage="preprocess")
    with pytest.raises(NotFound, match=r"no stage 'predict'. Its stages: preprocess, train_fold_0"):
        read(settings, stage="predict")


def test_an_error_in_a_huge_log_has_its_true_line_number(settings: Settings, log: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(1, 100_001)) + "ValueError: no\nlast\n"
    log.write_text(text, encoding="utf-8")

    assert [(error.line, error.text) for error in read(settings).errors] == [(100_001, "ValueError: no")]


def test_a_pattern_that_would_take_years_is_refused_in_seconds(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("a" * 200 + "!\n", encoding="utf-8")
    begun = time.monotonic()

    with pytest.raises(Refused, match="simpler pattern"):
        grep(Log(path), r"^(a|aa)+$", 5)

    assert time.monotonic() - begun < 20


def in_time(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Give windows and searches this long."""
    for module in ("log_file", "log_search"):
        patch.setattr(f"nnunet_mcp.tools.watching.{module}.SEARCH_S", seconds)


@pytest.fixture
def enormous(log: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Too large to be counted: its lines are numbered from the end. A busy machine may take its time."""
    in_time(monkeypatch, 120)
    text = "".join(f"line {number:07d}\n" for number in range(COUNTED_BYTES // 12))
    log.write_text(text, encoding="utf-8")
    with log.open("a", encoding="utf-8") as stream:
        stream.write("ValueError: no\n" + "".join(f"end {number}\n" for number in range(1000, 0, -1)))
    return log


@pytest.mark.heavy
def test_a_log_too_large_to_be_counted_is_numbered_from_its_end(settings: Settings, enormous: Path) -> None:
    answer = read(settings, mode="tail", lines=3)
    assert (answer.lines, answer.first_line, answer.last_line) == (("end 3", "end 2", "end 1"), -3, -1)
    assert answer.total_lines is None and "-1 is the last" in answer.next_step

    answer = read(settings, mode="window", start=-500, lines=2)
    assert answer.lines == ("end 500", "end 499") and "start=-498" in for_agents(answer.next_step)
    answer = read(settings, mode="window", start=2, lines=1)
    assert answer.lines == ("line 0000001",) and "start=3" in for_agents(answer.next_step)
    answer = read(settings, mode="grep", pattern="end 7$|0000042", lines=40)
    assert (answer.lines, answer.first_line) == (("line 0000042", "end 7"), -(COUNTED_BYTES // 12 - 42 + 1001))
    answer = read(settings)
    assert [(error.line, error.text) for error in answer.errors] == [(-1001, "ValueError: no")]
    assert answer.lines[:5] == tuple(f"line {number:07d}" for number in range(5)) and answer.lines[-1] == "end 1"


def test_what_is_not_found_in_time_is_said(settings: Settings, enormous: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_time(monkeypatch, 0.2)

    answer = read(settings, mode="grep", pattern="^end 7$|0000042")
    assert answer.lines == ("end 7",) and "older lines may match" in answer.next_step
    with pytest.raises(Refused, match="too deep"):
        read(settings, mode="window", start=COUNTED_BYTES // 12)


def test_of_a_line_without_an_end_the_newest_part_is_kept(settings: Settings, log: Path) -> None:
    log.write_bytes(b"first\n" + b"x" * (3 * BLOCK_BYTES) + b"\rnewest" + b"\nlast")

    for mode in ("tail", "window"):
        assert read(settings, mode=mode).lines == ("first", "newest", "last")
    assert all(len(text) <= LINE_BYTES for _, text in Log(log).backwards())


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("sent Bearer abcdefgh1234 to it", "sent Bearer *** to it"),
        ('{"password": "two words", "user": "me"}', '{"password": "***", "user": "me"}'),
        ("{'api_key': 'abc'}", "{'api_key': '***'}"),
        ("HF_TOKEN=hf_abc rest", "HF_TOKEN=*** rest"),
    ],
)
def test_secrets_are_masked_however_they_are_written(settings: Settings, log: Path, line: str, shown: str) -> None:
    log.write_text(f"{line}\n", encoding="utf-8")

    assert read(settings, mode="tail").lines == (shown,)


@pytest.mark.parametrize(("home", "shown"), [("/", "/home/a/b /mnt/home/a"), ("/home/a", "~/b /mnt/home/a")])
def test_only_the_persons_own_folder_becomes_a_tilde(
    settings: Settings, log: Path, monkeypatch: pytest.MonkeyPatch, home: str, shown: str
) -> None:
    monkeypatch.setenv("HOME", home)
    log.write_text("/home/a/b /mnt/home/a\n", encoding="utf-8")

    assert read(settings, mode="tail").lines == (shown,)


def test_a_pattern_that_looks_like_a_list_is_a_pattern(settings: Settings, log: Path) -> None:
    found = ask(settings, "nnunet_logs", run_id=RUN, mode="grep", pattern="[0]")

    assert found["lines"][-1] == "line 100"
