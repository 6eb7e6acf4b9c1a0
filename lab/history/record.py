"""The recorder: every command that the lab runs goes to `history.txt`, and what became of it to the run's journal.

`history.txt` is a bash history with times: a line `#epoch`, then the command, which may have several lines.
`history -r history.txt` reads it back; with HISTTIMEFORMAT set, bash keeps a command of several lines in one piece.

Bash takes any line that starts with `#` and a digit for a time, and drops empty lines and a carriage return at the end
of a line. A command with such a line is written on one line that means the same: an argument as `$'…\\n…'`, a
whole text as `eval $'…\\n…'`. So each `#digits` line of the file is a time, for bash and for any other reader.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError

MASK = "MASKED"
"""Stands in the history where a secret stood: a word that needs no quotes."""

_SECRET = r"[\w.-]*(?:password|passwd|passphrase|secret|token|api[-_]?key|credentials?)"
_VALUE = r"""(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s'"\\;&|<>()])+"""
_IN_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@'\"]*:)[^\s/'\"]+(?=@)", re.IGNORECASE)
_IN_HEADER = re.compile(r"((?:Proxy-)?Authorization:\s*(?:(?:Basic|Bearer|Token)\s+)?)[^\s'\"]+", re.IGNORECASE)
_ASSIGNED = re.compile(rf"(?<![\w.-])((?:--)?{_SECRET}=){_VALUE}", re.IGNORECASE)
_OPTION = re.compile(rf"--{_SECRET}", re.IGNORECASE)
_OPTION_AND_VALUE = re.compile(rf"(?<!\S)({_OPTION.pattern}[ \t]+)(?!-){_VALUE}", re.IGNORECASE)
_ASSIGNED_ARGUMENT = re.compile(rf"((?:^|(?<=[\s;,])){_SECRET}=|^{_OPTION.pattern}=).+", re.IGNORECASE | re.DOTALL)

_MISREAD = re.compile(r"(?:\A|\n)#[0-9]|\n\r?(?=\n|\Z)|\A\r?\n|\r(?=\n|\Z)")


@dataclass
class Entry:
    """One command under way. Who runs it sets `status`, its exit status; None says that it is not known."""

    command: str
    start: float
    background: bool = False
    status: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Recorder:
    """Appends to one history and one journal. Any number of processes and threads may do so at once."""

    history: Path
    journal: Path
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Which run of the lab the journal's lines belong to."""

    def record(self, argv_or_text: Sequence[str] | str, *, at: float | None = None, background: bool = False) -> None:
        """Append one command to the history, secrets masked. A blank one is left out, as bash does."""
        command = as_typed(argv_or_text, background)
        if command:
            _append(self.history, f"#{int(time.time() if at is None else at)}\n{command}\n")

    @contextmanager
    def running(self, argv_or_text: Sequence[str] | str, background: bool = False) -> Iterator[Entry]:
        """Put a command into the history now, and into the journal when the block ends, however it ends.

        For a command in the background the block spans its start, not its life.
        """
        entry = Entry(as_typed(argv_or_text, background), time.time(), background)
        self.record(argv_or_text, at=entry.start, background=background)
        started = time.monotonic()
        error = None
        try:
            yield entry
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            entry.seconds = round(time.monotonic() - started, 3)
            line = {
                "run": self.run,
                "command": entry.command,
                "start": round(entry.start, 3),
                "seconds": entry.seconds,
                "status": entry.status,
                "background": background,
                "cwd": str(Path.cwd()),
            }
            _append(self.journal, json.dumps(line | ({"error": error} if error else {})) + "\n")

    def start_anew(self) -> None:
        """Empty the history: the first step of a new lab. The journal goes on; its lines say which run they are of."""
        with _locked(self.history) as descriptor:
            os.ftruncate(descriptor, 0)


def as_typed(argv_or_text: Sequence[str] | str, background: bool = False) -> str:
    """The command as the history shows it: without secrets, and in a form that bash reads back as one command."""
    if not isinstance(argv_or_text, str):
        words = (_ansi_c(word) if _MISREAD.search(f"'{word}'") else shlex.quote(word) for word in _masked(argv_or_text))
        command = " ".join(words)
        return f"{command} &" if background and command else command
    command = mask(argv_or_text).strip("\r\n")
    if not command.strip():
        return ""
    if background and re.search(r"[#;\n]", command):  # one `&` at the end would miss a part of it, or be a comment
        command = f"{{ {command}\n}} &"
    elif background:
        command += " &"
    return f"eval {_ansi_c(command)}" if _MISREAD.search(command) else command


def mask(text: str) -> str:
    """`text`, a shell command, without the secrets that can be told by their form."""
    text = _IN_HEADER.sub(rf"\g<1>{MASK}", _IN_URL.sub(rf"\g<1>{MASK}", text))
    return _OPTION_AND_VALUE.sub(rf"\g<1>{MASK}", _ASSIGNED.sub(rf"\g<1>{MASK}", text))


def _masked(argv: Sequence[str]) -> Iterator[str]:
    secret_follows = False
    for word in argv:
        if secret_follows and not word.startswith("-"):
            yield MASK
        else:
            word = _IN_HEADER.sub(rf"\g<1>{MASK}", _IN_URL.sub(rf"\g<1>{MASK}", word))
            yield _ASSIGNED_ARGUMENT.sub(rf"\g<1>{MASK}", word)
        secret_follows = bool(_OPTION.fullmatch(word))


def _ansi_c(text: str) -> str:
    """`text` as one word on one line, in bash's `$'…'` quotes."""
    named = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "$'" + "".join(named.get(c) or (f"\\x{ord(c):02x}" if c < " " else c) for c in text) + "'"


def _append(path: Path, text: str) -> None:
    """Add whole lines to `path` with one write, so that no other writer, bash included, gets in between."""
    data = text.encode("utf-8", "surrogateescape")
    with _locked(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a line that was cut off stays a line of its own
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written < len(data):
            os.ftruncate(descriptor, size)
            raise _cannot_write(path, "the disk is full")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(path)
    except OSError as error:
        raise _cannot_write(path, error.strerror or str(error)) from error
    try:
        yield descriptor
    except OSError as error:
        raise _cannot_write(path, error.strerror or str(error)) from error
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # an editor or git may have put another file in its place while this one waited
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _cannot_write(path: Path, reason: str) -> LabError:
    return LabError(
        f"The command could not be recorded in {path}: {reason}.", f"ls -l {path.parent}; df -h {path.parent}"
    )
