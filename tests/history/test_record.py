"""The recorder: what it writes, bash reads back, whoever writes at the same time."""

from __future__ import annotations

import json
import multiprocessing
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.errors import LabError
from lab.history.record import Recorder, as_typed, mask

# Everything but NUL, which no argument can hold, and lone surrogates, which hypothesis would print badly.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
LINES = st.lists(st.sampled_from(["", "#", "#1", "#170000", " #2", "a", "'", '"', "\r", "\\", "\t", "$x", "é"]))


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "history.txt", tmp_path / "home" / "journal.jsonl", run="run-1")


def read_by_bash(history: Path) -> list[tuple[int, str]]:
    """The commands of a history file, with their times, as bash itself reads them."""
    script = 'set -o history; HISTTIMEFORMAT="<%s> "; history -c; history -r "$1"; history'
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", script, "bash", str(history)], capture_output=True, check=True
    )
    assert done.stderr == b""
    parts = re.split(r"^ *\d+  <(\d+)> ", done.stdout.decode("utf-8", "surrogateescape"), flags=re.MULTILINE)[1:]
    return [(int(at), command[:-1]) for at, command in zip(parts[::2], parts[1::2], strict=True)]


def run_by_bash(command: str) -> bytes:
    """What `command` prints when bash reads it as typed."""
    text = command.encode("utf-8", "surrogateescape")
    return subprocess.run(["bash", "--norc", "-s"], input=text + b"\n", capture_output=True, check=True).stdout


def test_writes_the_time_and_then_the_command(recorder: Recorder) -> None:
    recorder.record(["kafka-topics", "--create", "--topic", "my events"], at=1700000000.9)
    recorder.record("cat log | wc -l", at=1700000001)
    assert recorder.history.read_text() == (
        "#1700000000\nkafka-topics --create --topic 'my events'\n#1700000001\ncat log | wc -l\n"
    )


def test_takes_the_time_of_now_when_none_is_given(recorder: Recorder) -> None:
    before = int(time.time())
    recorder.record(["true"])
    ((at, command),) = read_by_bash(recorder.history)
    assert before <= at <= time.time()
    assert command == "true"


def test_keeps_a_command_of_several_lines_whole(recorder: Recorder) -> None:
    sql = "SELECT count(*)\nFROM purchases\nWHERE type = 'sabre'"
    recorder.record(["presto", "--execute", sql], at=1)
    recorder.record("for i in 1 2\ndo echo $i\ndone", at=2)
    commands = read_by_bash(recorder.history)
    assert commands[0][1].startswith("presto --execute 'SELECT count(*)\nFROM purchases\n")
    assert commands[1] == (2, "for i in 1 2\ndo echo $i\ndone")


def test_leaves_out_a_blank_command_as_bash_does(recorder: Recorder) -> None:
    for blank in ("", " \n ", []):
        recorder.record(blank)
    assert not recorder.history.exists()


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        (["gunicorn", "game"], "gunicorn game &"),
        ("gunicorn game", "gunicorn game &"),
        ("sleep 1; ab -n 10", "{ sleep 1; ab -n 10\n} &"),
        ("gunicorn # the API", "{ gunicorn # the API\n} &"),
    ],
)
def test_marks_a_command_in_the_background(typed: list[str] | str, recorded: str) -> None:
    assert as_typed(typed, background=True) == recorded


@pytest.mark.parametrize(
    "text",
    ["#1 is a comment", "cat <<END\n#1700000000\nEND", "echo 'a\n\nb'", "echo 'a\r\nb'", "echo '\n#1\n'"],
)
def test_a_line_that_bash_would_misread_is_put_into_quotes_and_means_the_same(recorder: Recorder, text: str) -> None:
    recorder.record(text, at=1)
    recorder.record("true", at=2)
    (_, command), after = read_by_bash(recorder.history)
    assert after == (2, "true")
    assert "\n" not in command
    assert run_by_bash(command) == run_by_bash(text)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT | LINES.map("\n".join), min_size=1, max_size=4))
@example(["#1", "\n#1", "\n", "\r", "'\n#12'"])
def test_bash_reads_back_every_argument(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder, "history.txt"), Path(folder, "journal"))
        recorder.record(["printf", r"%s\0", *words], at=1700000000)
        recorder.record(["true"], at=1700000001)
        (at, command), after = read_by_bash(recorder.history)
    assert at == 1700000000
    assert after == (1700000001, "true")
    assert run_by_bash(command) == b"".join(mask(word).encode() + b"\0" for word in words)


@settings(max_examples=60, deadline=None)
@given(TEXT | LINES.map("\n".join))
@example("#1\n#2")
@example("a\n\r")
def test_bash_reads_back_every_text_as_one_command(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder, "history.txt"), Path(folder, "journal"))
        recorder.record(text, at=1700000000)
        recorder.record(["true"], at=1700000001)
        *found, after = read_by_bash(recorder.history)
    assert after == (1700000001, "true")
    assert found == ([(1700000000, as_typed(text))] if as_typed(text) else [])


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        (["curl", "http://me:pa@ss@host/x"], "curl http://me:MASKED@host/x"),
        (["tool", "--password", "two words", "-v"], "tool --password MASKED -v"),
        (["tool", "--auth-token=abc"], "tool --auth-token=MASKED"),
        (["tool", "--password", "--verbose"], "tool --password --verbose"),
        (["env", "DB_PASSWORD=x y", "tool"], "env DB_PASSWORD=MASKED tool"),
        (["curl", "-H", "Authorization: Bearer abc"], "curl -H 'Authorization: Bearer MASKED'"),
        ("curl http://me:pass@host/x | wc", "curl http://me:MASKED@host/x | wc"),
        ("tool --password 'two words' -v", "tool --password MASKED -v"),
        ('tool --token="a b"; echo', "tool --token=MASKED; echo"),
        ("API_KEY=abc tool", "API_KEY=MASKED tool"),
        ("curl -H 'Authorization: Basic abc' x", "curl -H 'Authorization: Basic MASKED' x"),
    ],
)
def test_masks_secrets(typed: list[str] | str, recorded: str) -> None:
    assert as_typed(typed) == recorded


@pytest.mark.parametrize(
    "command",
    [
        'ab -n 10 -H "Host: user1.comcast.com" http://localhost:5000/purchase_a_sword/sabre',
        "curl -H 'Idempotency-Key: 12' http://localhost:5000/",
        "hdfs dfs -ls hdfs://127.0.0.1:8020/lab",
        "git clone git@host:course/lab",
    ],
)
def test_masks_nothing_else(command: str) -> None:
    assert as_typed(command) == command


def test_journal_tells_what_became_of_a_command(recorder: Recorder) -> None:
    with recorder.running(["ab", "--password", "x"]) as entry:
        entry.status = 3
    (line,) = [json.loads(line) for line in recorder.journal.read_text().splitlines()]
    assert line.pop("start") == pytest.approx(time.time(), abs=30)
    assert 0 <= line.pop("seconds") < 30
    assert line == {
        "run": "run-1",
        "command": "ab --password MASKED",
        "status": 3,
        "background": False,
        "cwd": str(Path.cwd()),
    }
    assert recorder.history.read_text().endswith("ab --password MASKED\n")


def test_a_command_is_in_the_history_while_it_runs(recorder: Recorder) -> None:
    with recorder.running(["sleep", "60"], background=True):
        assert recorder.history.read_text().endswith("\nsleep 60 &\n")
        assert not recorder.journal.exists()


def test_journal_has_a_command_that_was_interrupted(recorder: Recorder) -> None:
    with pytest.raises(KeyboardInterrupt), recorder.running("sleep 60"):
        raise KeyboardInterrupt
    line = json.loads(recorder.journal.read_text())
    assert line["status"] is None
    assert line["error"] == "KeyboardInterrupt"


def test_a_new_lab_starts_the_history_anew_and_keeps_the_journal(recorder: Recorder) -> None:
    with recorder.running("old") as entry:
        entry.status = 0
    recorder.start_anew()
    assert recorder.history.read_text() == ""
    recorder.record("new", at=1)
    assert recorder.history.read_text() == "#1\nnew\n"
    assert json.loads(recorder.journal.read_text())["command"] == "old"


def test_starting_anew_needs_no_history(recorder: Recorder) -> None:
    recorder.start_anew()
    assert recorder.history.read_text() == ""


def test_goes_on_after_a_line_that_was_cut_off(recorder: Recorder) -> None:
    recorder.history.write_text("#1\necho cut o")
    recorder.record("echo whole", at=2)
    assert read_by_bash(recorder.history) == [(1, "echo cut o"), (2, "echo whole")]


def write_many(recorder: Recorder, name: str) -> None:
    for n in range(50):
        recorder.record(f"echo {name} {n}\necho {name * 2000}", at=1700000000 + n)


def test_writers_at_the_same_time_never_tear_a_command(recorder: Recorder) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_many, args=(recorder, name)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    commands = [command for _, command in read_by_bash(recorder.history)]
    assert sorted(commands) == sorted(f"echo {name} {n}\necho {name * 2000}" for name in "abcd" for n in range(50))
    for name in "abcd":
        own = [command for command in commands if command.startswith(f"echo {name} ")]
        assert own == sorted(own, key=lambda command: int(command.split()[2])), "a writer's commands keep their order"


def test_says_which_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    recorder = Recorder(tmp_path / "taken" / "history.txt", tmp_path / "journal")
    with pytest.raises(LabError) as raised:
        recorder.record("true")
    assert f"could not be recorded in {tmp_path}/taken/history.txt: " in raised.value.what
    assert raised.value.try_next.startswith("ls -l ")
