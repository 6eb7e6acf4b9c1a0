"""The shell, typed into through a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.history import shell
from lab.settings import ROOT, Settings

SECONDS = 30.0


class Typist:
    """`make shell` of one lab, on a terminal of its own."""

    def __init__(self, settings: Settings, home: Path) -> None:
        program = "from lab.history import shell; from lab.settings import Settings; import sys; "
        program += "sys.exit(shell.run(Settings.from_env()))"
        environment = {**os.environ, **settings.to_env(), "HOME": str(home), "HISTFILE": str(home / ".bash_history")}
        environment |= {"PYTHONPATH": str(ROOT), "TERM": "dumb", "HISTCONTROL": "ignoreboth", "HISTFILESIZE": "1"}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-c", program], environment)
        self.screen = ""

    def see(self, text: str) -> str:
        """Wait until the screen shows `text` since the last look; returns what it showed."""
        deadline = time.monotonic() + SECONDS
        while text not in self.screen:
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} within {SECONDS} s on the screen:\n{self.screen}"
            try:
                self.screen += os.read(self.terminal, 65536).decode()
            except OSError:  # the other end is closed
                assert text in self.screen, f"the shell ended without {text!r}:\n{self.screen}"
        seen, _, self.screen = self.screen.partition(text)
        return seen

    def type(self, line: str) -> None:
        os.write(self.terminal, line.encode() + b"\n")

    def type_and_see(self, line: str) -> str:
        self.type(line)
        return self.see("lab$ ")

    def leave(self, line: str = "exit") -> int:
        self.type(line)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"LAB_HOME": str(tmp_path / "a lab")})


@pytest.fixture
def typist(settings: Settings, tmp_path: Path) -> Typist:
    settings.history.parent.mkdir()
    (tmp_path / ".bash_history").write_text("the person's own\n")
    (tmp_path / ".bashrc").write_text("echo a greeting of their own\n")
    typist = Typist(settings, tmp_path)
    greeting = typist.see("lab$ ")
    assert f"recorded in {settings.history}." in greeting
    assert "of their own" not in greeting
    return typist


def commands(history: Path) -> list[str]:
    """The commands of a history, each after its time."""
    lines = history.read_text().splitlines()
    assert all(line.startswith("#") and line[1:].isdigit() for line in lines[::2])
    return lines[1::2]


def test_records_what_is_typed_with_times_and_leaves_make_out(
    typist: Typist, settings: Settings, tmp_path: Path
) -> None:
    settings.history.write_text("#1700000000\nkafka-topics --list\n")
    assert "hello" in typist.type_and_see("echo hel''lo")
    assert commands(settings.history) == ["kafka-topics --list", "echo hel''lo"], "written before the next is typed"
    typist.type_and_see("make -s help >/dev/null")
    typist.type_and_see("curl -s http://me:secret@127.0.0.1:9/")
    typist.type_and_see("true --password abc")
    typist.type_and_see("echo http://127.0.0.1:5000/purchase_a_sword/sabre # as a@b")
    typist.type_and_see("echo hel''lo")
    assert typist.leave("exit 3") == 3
    assert commands(settings.history) == [
        "kafka-topics --list",
        "echo hel''lo",
        "echo http://127.0.0.1:5000/purchase_a_sword/sabre # as a@b",
        "echo hel''lo",
        "exit 3",
    ]
    assert (tmp_path / ".bash_history").read_text() == "the person's own\n"


def test_has_the_commands_and_the_settings_of_the_lab(typist: Typist, settings: Settings) -> None:
    assert f"{ROOT}/scripts/kafka-topics" in typist.type_and_see("type kafka-topics")
    assert f"{ROOT}/.venv/bin/python" in typist.type_and_see("type python")
    assert f"home is {settings.home}." in typist.type_and_see('echo "home is $LAB_HOME."')
    assert f"here is {ROOT}." in typist.type_and_see('echo "here is $PWD."')
    assert typist.leave() == 0


def test_an_interrupt_ends_the_command_and_not_the_shell(typist: Typist) -> None:
    # printed by the command itself: bash has given it the terminal by then, and so the interrupt
    typist.type("sh -c 'echo on; exec sleep 60'")
    typist.see("on\r\n")
    os.write(typist.terminal, b"\x03")
    typist.see("lab$ ")
    assert "still 130" in typist.type_and_see("echo still $?")
    assert typist.leave() == 0


def test_keeps_a_command_of_several_lines_in_one_piece(typist: Typist, settings: Settings) -> None:
    typist.type("for i in 1 2")
    typist.type("do echo $i")
    typist.type_and_see("done")
    assert typist.leave() == 0
    assert "\nfor i in 1 2\ndo echo $i\ndone\n#" in settings.history.read_text()


def test_says_that_it_needs_a_terminal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(LabError, match="make shell needs a terminal to type in, and there is none here"):
            shell.run(settings)
