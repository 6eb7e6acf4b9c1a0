"""Background processes as data: what should run (a Service), what does (a State), and who is who.

The client side writes what it wants into `run/want/NAME.json`; the supervisor makes it so and writes what it
sees into `run/state/NAME.json`. Either may die at any time and read on where it was.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lab import atomic
from lab.errors import LabError
from lab.settings import ROOT

POLL_SECONDS = 0.1
START_SECONDS = 30.0
OWNER = "LAB_SERVICE"
"""The environment variable by which a process is known as `HOME:NAME`, even when its pid was never written down."""


@dataclass(frozen=True)
class Service:
    """A process that should run: `argv` in the folder `cwd`, with `env` added, its output in `log`.

    A change of any field makes the supervisor start it anew. `grace` is the time in seconds that it has to end
    after SIGTERM before it is killed.
    """

    name: str
    argv: tuple[str, ...]
    log: str
    env: Mapping[str, str] = field(default_factory=dict)
    grace: float = 20.0
    cwd: str = str(ROOT)
    up: bool = True
    asked: float = 0.0  # when it was asked for, as a Unix time: asking again forgives earlier deaths

    @property
    def fingerprint(self) -> list[object]:
        return [list(self.argv), self.log, dict(self.env), self.cwd]


@dataclass
class State:
    """What the supervisor last saw of a service. `status`: starting, running, stopping, stopped or failed."""

    status: str
    pid: int = 0
    created: float = 0.0  # the process's creation time: a recycled pid has another
    fingerprint: list[object] = field(default_factory=list)
    deaths: list[float] = field(default_factory=list)  # Unix times of deaths nobody asked for
    last_exit: str = ""


class Registry:
    """The service files of one lab's home."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def want_path(self, name: str) -> Path:
        return self.run / "want" / f"{name}.json"

    def state_path(self, name: str) -> Path:
        return self.run / "state" / f"{name}.json"

    @property
    def lock_path(self) -> Path:
        return self.run / "supervisor.lock"

    def wanted(self) -> dict[str, Service]:
        """All services ever asked for, by name, those that should be down included."""
        found = {}
        for path in sorted((self.run / "want").glob("*.json")):
            value = atomic.read_json(path)
            if value is not None:
                found[path.stem] = Service(**{**value, "argv": tuple(value["argv"])})
        return found

    def state(self, name: str) -> State | None:
        value = atomic.read_json(self.state_path(name))
        return None if value is None else State(**value)

    def process(self, name: str) -> psutil.Process | None:
        """The live process of the service, known by pid and creation time."""
        state = self.state(name)
        return find_process(state.pid, state.created) if state else None

    def supervisor(self) -> psutil.Process | None:
        value = atomic.read_json(self.run / "supervisor.json") or {}
        return find_process(value.get("pid", 0), value.get("created", 0.0))

    def ensure_supervisor(self) -> None:
        """Start the supervisor of this home unless it runs. Two at once cannot be: the second finds the lock taken."""
        self.run.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock_path, timeout=0):
                pass
        except Timeout:
            return
        log = self.run.parent / "logs" / "supervisor.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as output:
            subprocess.Popen(
                [sys.executable, "-m", "lab.engines.supervisor", str(self.run)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start(self, service: Service) -> None:
        """Ask for `service` to run. Return when its process exists; it may not be ready yet."""
        atomic.write_json(
            self.want_path(service.name), dataclasses.asdict(dataclasses.replace(service, asked=time.time()))
        )

        def running() -> bool:
            state = self.state(service.name)
            return bool(
                state
                and state.status == "running"
                and state.fingerprint == service.fingerprint
                and find_process(state.pid, state.created)
            )

        self._await(running, f"{service.name} was not started", START_SECONDS, service.log)

    def stop(self, names: Iterable[str]) -> None:
        """Stop these side by side; return when none of them runs."""
        wanted = self.wanted()
        services = [wanted[name] for name in names if name in wanted]
        for service in services:
            if service.up:
                atomic.write_json(
                    self.want_path(service.name), dataclasses.asdict(dataclasses.replace(service, up=False))
                )

        def stopped() -> bool:
            states = [self.state(service.name) for service in services]
            return all(state is None or state.status in ("stopped", "failed") for state in states) and not any(
                self.process(service.name) for service in services
            )

        if services and not stopped():
            patience = max(service.grace for service in services) + 15.0
            self._await(stopped, "not all services ended: " + ", ".join(s.name for s in services), patience, "")

    def _await(self, done: Callable[[], bool], complaint: str, seconds: float, log: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self.ensure_supervisor()
            # The supervisor writes the state; polling a small file is simpler than a channel to it.
            until = min(deadline, time.monotonic() + 2.0)
            while time.monotonic() < until:
                if done():
                    return
                time.sleep(POLL_SECONDS)
            if time.monotonic() >= deadline:
                where = f"; its log: {log}" if log else ""
                raise LabError(f"{complaint} within {seconds:.0f} s{where}.", "make status")


def find_process(pid: int, created: float) -> psutil.Process | None:
    """The process with this pid and this creation time (seconds), unless it has ended."""
    if not pid:
        return None
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > 0.5 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def family(process: psutil.Process) -> list[psutil.Process]:
    """`process` and its descendants that are alive."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of `process` and its descendants."""
    total = 0
    for member in family(process):
        try:
            total += member.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended while we were looking
    return total


def is_session_leader(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except (ProcessLookupError, PermissionError):
        return False
