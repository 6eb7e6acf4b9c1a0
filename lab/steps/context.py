"""What a step works with: this lab's settings, its recorder, and the one way to run a command in front of a learner."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lab import atomic, console
from lab.engines.services import Registry, Service
from lab.engines.stack import command_environment, last_lines
from lab.errors import LabError
from lab.history.record import Entry, Recorder
from lab.settings import ROOT, Settings, shown_path

MARK = ".lab-home"
"""The file by which a lab's home is known: only a folder that has it is ever removed."""


@dataclass(frozen=True)
class Evidence:
    """Something that was measured after a step, and whether it is as it should be; `hint` is what to type if not."""

    what: str
    found: str
    ok: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Lab:
    """One lab, as its steps see it."""

    settings: Settings
    recorder: Recorder

    @classmethod
    def at(cls, settings: Settings) -> Lab:
        return cls(settings, Recorder(settings.history, settings.home / "journal.jsonl"))

    @property
    def registry(self) -> Registry:
        return Registry(self.settings.run)

    def environment(self) -> dict[str, str]:
        return {**os.environ, **command_environment(self.settings)}

    def log(self, name: str) -> Path:
        return self.settings.logs / f"{name}.log"

    def run(
        self, argv: Sequence[str], seconds: float, log: Path | None = None, quiet: bool = False, recorded: bool = True
    ) -> str:
        """Print a command, record it, run it, show its output as it comes, and return its standard output.

        What it says on standard error goes to `log` where one is given. A command that is part of one in the history
        is not `recorded` itself. Raises LabError when it fails, or does not end within `seconds`.
        """
        if not quiet:
            console.command(argv)
        environment = self.environment()
        if shutil.which(argv[0], path=environment["PATH"]) is None:
            raise LabError(f"The command {argv[0]} is not there.", "make setup")
        log = log or self.log("commands")
        log.parent.mkdir(parents=True, exist_ok=True)
        entry_of: AbstractContextManager[Entry] = (
            self.recorder.running(argv) if recorded else nullcontext(Entry(argv[0], time.time()))
        )
        with entry_of as entry, log.open("ab") as errors:
            process = subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            overdue = threading.Timer(seconds, process.kill)
            overdue.start()
            shown: list[str] = []
            try:
                assert process.stdout is not None
                for raw in process.stdout:
                    shown.append(raw.decode(errors="replace"))
                    if not quiet:
                        console.output(shown[-1])
                entry.status = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
            finally:
                late = not overdue.is_alive()
                overdue.cancel()
        if late:
            raise LabError(f"{argv[0]} did not end within {seconds:.0f} s; its log: {log}")
        if entry.status != 0:
            raise LabError(
                f"{argv[0]} failed (exit status {entry.status}); its log: {log}\n{''.join(shown[-8:])}{last_lines(log)}"
            )
        return "".join(shown)

    def keep(self, name: str, text: str) -> None:
        """Keep what a command printed, for the report to show it."""
        atomic.write_text(self.settings.home / "printed" / f"{name}.txt", text)

    def start(self, name: str, argv: Sequence[str], grace: float) -> Path:
        """Start a command in the background, under the supervisor; its output goes to the returned log.

        Nothing happens when the same command, of the same code, runs already.
        """
        log = self.log(name)
        service = Service(name, tuple(argv), str(log), {**command_environment(self.settings), **code_version()}, grace)
        state = self.registry.state(name)
        console.command(argv, background=True)
        if state and state.fingerprint == service.fingerprint and self.registry.process(name):
            console.say(f"It runs already (pid {state.pid}).")
            return log
        with self.recorder.running(argv, background=True) as entry:
            self.registry.start(service)
            entry.status = 0
        console.say(f"Its log: {shown_path(log)}")
        return log

    def require(self, name: str, step: int) -> None:
        """Raise LabError, naming the missing step, unless the service runs."""
        if self.registry.process(name) is None:
            raise LabError(f"{name} is not running: step {step} comes first.", f"make step-{step}")

    def require_engines(self) -> None:
        """Raise LabError unless each engine that this machine should run does."""
        from lab.engines.stack import local_engines

        for engine in local_engines(self.settings):
            self.require(engine.name, 1)


def claim_home(lab: Lab) -> None:
    """Make the lab's home, or know it again by its mark. Raises LabError where the folder is somebody else's."""
    home = lab.settings.home
    home.mkdir(parents=True, exist_ok=True)
    if (home / MARK).exists():
        return
    if any(home.iterdir()):
        raise LabError(f"{home} holds files and is not a lab's home: nothing was done.", "check LAB_HOME")
    atomic.write_text(home / MARK, "This folder is a lab's home: make clean removes it with all that is in it.\n")


@contextmanager
def one_at_a_time(lab: Lab) -> Iterator[None]:
    """Hold the lab's lock: two steps at once would work against one another."""
    claim_home(lab)
    lock = FileLock(lab.settings.home / "make.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LabError(
            f"Another make works in this lab ({shown_path(lab.settings.home)}).", "wait until it has ended, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def code_version() -> dict[str, str]:
    """A variable that changes with the pipeline's code, so that what runs is started anew after an edit."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted((ROOT / "lab" / "pipeline").glob("*.py")):
        digest.update(path.read_bytes())
    return {"LAB_CODE": digest.hexdigest()[:12]}
