"""Reading a history: every form that people hand in becomes the same commands."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.history import read as reading
from lab.history.read import Typed, commands, read
from lab.history.record import Recorder, as_typed

TWO = ["docker-compose up -d", "ab -n 10 http://localhost:5000/"]


def texts(text: str) -> list[str]:
    return [one.text for one in commands(text)]


@pytest.mark.parametrize(
    "text",
    [
        "docker-compose up -d\nab -n 10 http://localhost:5000/\n",
        "docker-compose up -d\r\nab -n 10 http://localhost:5000/\r\n",
        "\ufeffdocker-compose up -d\n\n\nab -n 10 http://localhost:5000/",
        "#1795562417\ndocker-compose up -d\n#1795562418\nab -n 10 http://localhost:5000/\n",
        "    1  docker-compose up -d\n    2  ab -n 10 http://localhost:5000/\n",
        "  998* docker-compose up -d\n  999  ab -n 10 http://localhost:5000/\n",
        "    1  2021-12-01 10:00:00 docker-compose up -d\n    2  2021-12-01 10:00:09 ab -n 10 http://localhost:5000/\n",
        "    1  [2021-12-01 10:00:00] docker-compose up -d\n    2  [2021-12-01 10:00:09] ab -n 10 http://localhost:5000/",
        "    1  01/12/21 10:00:00 docker-compose up -d\n    2  01/12/21 10:00:09 ab -n 10 http://localhost:5000/\n",
        "    1  Wed Dec  1 10:00:00 UTC 2021 docker-compose up -d\n    2  ab -n 10 http://localhost:5000/\n",
        "    1  Dec 01 10:00:00 docker-compose up -d\n    2  Dec 01 10:00:09 ab -n 10 http://localhost:5000/\n",
        "mac:w205 me$ docker-compose up -d\nlab$ ab -n 10 http://localhost:5000/\n",
        "$ docker-compose up -d\n$ ab -n 10 http://localhost:5000/\n",
        "jupyter@w205:~/project-3$ docker-compose up -d\n(base) me@host:~$ ab -n 10 http://localhost:5000/\n",
        "me@mac project-3 % docker-compose up -d\n[me@host w205]$ ab -n 10 http://localhost:5000/\n",
        "    1  Wed Dec  1 10:00:00 2021 docker-compose up -d\n    2  12/01/21 10:00:00 AM ab -n 10 http://localhost:5000/\n",
        "root@4f2a:/w205# docker-compose up -d\nPS C:\\Users\\me> ab -n 10 http://localhost:5000/\n",
    ],
)
def test_each_form_holds_the_same_commands(text: str) -> None:
    assert texts(text) == TWO


def test_a_command_knows_its_line_and_its_time() -> None:
    assert commands("ls\n#1795562417\nmake\n\npwd\n") == [
        Typed("ls", 1),
        Typed("make", 3, 1795562417),
        Typed("pwd", 5, 1795562417),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "presto --execute 'SELECT 1,\n  2\nFROM t'",
        'presto --execute "SELECT 1\nFROM t"',
        "cat <<EOF > x\none\n'two\nEOF",
        "ab -n 10 \\\n  http://localhost:5000/",
        "for i in 1 2\ndo\n  ab -n 1 http://localhost:5000/\ndone",
        "kafkacat -C |\n  head",
    ],
)
def test_a_command_of_several_lines_stays_whole(text: str) -> None:
    assert texts(f"ls\n{text}\npwd") == ["ls", text, "pwd"]
    assert texts(f"    1  ls\n    2  {text}\n    3  pwd") == ["ls", text, "pwd"]
    assert texts(f"#1795562417\nls\n#1795562418\n{text}\n#1795562419\npwd") == ["ls", text, "pwd"]


@pytest.mark.parametrize(
    "line", ["don't look", 'echo "never closed', "it's 5 o'clock, isn't it", "cat <<EOF", "for x in"]
)
def test_what_is_never_closed_swallows_nothing(line: str) -> None:
    assert texts(f"{line}\nls\npwd\n") == [line, "ls", "pwd"]


def test_an_open_quote_ends_where_the_next_command_begins() -> None:
    lines = ["echo 'never closed", "make step-1", "git commit -m 'x'"]
    assert texts("\n".join(lines)) == lines
    assert texts("".join(f"$ {line}\n" for line in lines)) == lines
    assert texts("| a | b |\n\nmake step-1\n") == ["| a | b |", "make step-1"]


def test_the_overlap_of_two_dumps_is_there_once() -> None:
    one = "    1  ls\n    2  make step-1\n    3  make step-2\n"
    other = "    1  ls\n    2  make step-1\n    3  make step-2\n    4  make step-3\n"
    assert texts(one + other) == ["ls", "make step-1", "make step-2", "make step-3"]


def test_a_dump_that_begins_with_the_last_line_of_another_holds_it_once() -> None:
    assert texts("    1  ls\n    2  ab x\nTerminal 2\n    2  ab x\n    3  pwd\n") == ["ls", "ab x", "Terminal 2", "pwd"]


def test_what_powershell_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("make step-1\r\nls\r\n", "utf-16")
    assert [one.text for one in read(tmp_path / "history")] == ["make step-1", "ls"]


def test_dumps_of_two_terminals_are_both_there() -> None:
    assert texts("    1  ls\n    2  make step-1\n    1  ls\n    2  make step-2\n") == [
        "ls",
        "make step-1",
        "make step-2",
    ]


def test_one_dump_may_hold_a_command_many_times() -> None:
    assert texts("#1795562417\nab x\n#1795562417\nab x\n") == ["ab x", "ab x"]
    assert texts("    1  ab x\n    2  ab x\n") == ["ab x", "ab x"]


def test_lines_of_a_searched_history_have_numbers_with_gaps() -> None:
    assert texts("  501  ab x\n  507  ab y\n  620  ab z\n") == ["ab x", "ab y", "ab z"]


def test_a_number_alone_is_text() -> None:
    assert texts("ls\n12 monkeys\npwd\nmake\n") == ["ls", "12 monkeys", "pwd", "make"]


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1), max_size=5
    )
)
def test_what_the_recorder_wrote_is_read_back(argvs: list[list[str]]) -> None:
    typed = [as_typed(argv) for argv in argvs]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(Path(folder, "history"), Path(folder, "journal"))
        for argv in argvs:
            recorder.record(argv)
        if recorder.history.exists():
            assert [one.text for one in read(recorder.history)] == [text for text in typed if text]


@given(st.binary(max_size=2000))
def test_any_bytes_are_read(data: bytes) -> None:
    found = commands(data.decode("utf-8", "replace"))
    assert all(one.text.strip() and one.line >= 1 for one in found)


@pytest.mark.timeout(120)  # it would be hours if each line were read with all that follow
def test_a_hundred_thousand_lines_are_read() -> None:
    lines = [
        "docker-compose exec mids ab -n 10 http://localhost:5000/",
        "it isn't closed",
        "echo 'never",
        "for x in",
        "",
    ]
    assert commands("\n".join(lines * 20_000))[-1].line > 99_900


def test_a_file_that_is_no_history_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="cannot be read: No such file"):
        read(tmp_path / "none")
    monkeypatch.setattr(reading, "MOST_BYTES", 10)
    (tmp_path / "large").write_text("x" * 11)
    with pytest.raises(LabError, match="larger than"):
        read(tmp_path / "large")
