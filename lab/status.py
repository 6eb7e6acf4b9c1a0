"""What runs: a line for each service of this lab, and the end of its logs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab import console
from lab.engines import stack
from lab.engines.services import Registry, Service, family, resident_bytes
from lab.errors import LabError
from lab.settings import Settings, shown_path
from lab.steps.walk import SERVICES

LONGEST_LINE = 4000  # bytes, on the average, of the lines that `logs` looks for
HEADERS = ("service", "state", "pid", "port", "MB", "restarts", "up since", "log")


@dataclass(frozen=True)
class Line:
    """What is known of one service. `megabytes` is resident memory, its children's included."""

    name: str
    state: str  # running, starting, stopping, stopped, failed, not started, or elsewhere
    where: str = ""
    pid: int | None = None
    megabytes: float | None = None
    restarts: int | None = None
    since: str = ""
    log: str = ""

    def cells(self) -> tuple[object, ...]:
        memory = None if self.megabytes is None else round(self.megabytes)
        # As text: a pid is a name, not an amount to be grouped in thousands.
        pid = None if self.pid is None else str(self.pid)
        return (self.name, self.state, pid, self.where, memory, self.restarts, self.since, self.log)


def show(settings: Settings) -> int:
    """Print the table. 1 when a service has died too often to be started again, else 0."""
    registry = Registry(settings.run)
    lines = services(settings, registry)
    supervisor = supervisor_line(settings, registry)
    console.say(f"The lab at {shown_path(settings.home)}:\n")
    console.table([line.cells() for line in [*lines, supervisor]], HEADERS)
    console.say()
    console.say(summary([*lines, supervisor], registry))
    failed = [line for line in lines if line.state == "failed"]
    for line in failed:
        console.problem(
            f"{line.name} died again and again and is not started any more.\n  try: make logs NAME={line.name}"
        )
    return 1 if failed else 0


def services(settings: Settings, registry: Registry) -> list[Line]:
    """The engines, what the steps run beside them, and whatever else was ever asked for, in this order."""
    wanted = registry.wanted()
    lines = []
    for engine in stack.engines(settings):
        if engine.address in settings.external:
            lines.append(Line(engine.name, "elsewhere", where=getattr(settings, engine.address)))
        else:
            ports = [getattr(settings, port) for port in engine.ports]
            lines.append(_line(settings, registry, engine.name, wanted.get(engine.name), ports))
    known = {line.name for line in lines}
    lines += [
        _line(settings, registry, name, wanted.get(name), [settings.api_port] if name == "api" else [])
        for name in [*SERVICES, *sorted(wanted.keys() - known - {*SERVICES})]
    ]
    return lines


def _line(settings: Settings, registry: Registry, name: str, wanted: Service | None, ports: list[int]) -> Line:
    state = registry.state(name)
    log = Path(wanted.log) if wanted else settings.logs / f"{name}.log"
    shown_log = shown_path(log) if log.exists() else ""
    where = " ".join(str(port) for port in ports)
    if wanted is None or state is None:
        return Line(name, "starting" if wanted and wanted.up else "not started", where, log=shown_log)
    # An earlier `make step-…` forgave what came before it: only deaths since then are restarts.
    restarts = sum(death > wanted.asked for death in state.deaths)
    process = registry.process(name)
    if process is None:
        gone = "failed" if state.status == "failed" else "stopped"
        # Between a death and the next start; without a supervisor nobody will start it.
        if wanted.up and gone == "stopped" and registry.supervisor():
            gone = "starting"
        return Line(name, gone, where, restarts=restarts, log=shown_log)
    status = state.status
    if status == "running" and not set(ports) <= listening(process):
        status = "starting"
    return Line(name, status, where, process.pid, resident_bytes(process) / 1e6, restarts, since(process), shown_log)


def supervisor_line(settings: Settings, registry: Registry) -> Line:
    """The supervisor's own: without its children, which are the services."""
    log = settings.logs / "supervisor.log"
    shown_log = shown_path(log) if log.exists() else ""
    process = registry.supervisor()
    if process is None:
        return Line("supervisor", "stopped" if shown_log else "not started", log=shown_log)
    try:
        memory = process.memory_info().rss / 1e6
    except psutil.NoSuchProcess:
        return Line("supervisor", "stopped", log=shown_log)
    return Line("supervisor", "running", pid=process.pid, megabytes=memory, since=since(process), log=shown_log)


def summary(lines: Iterable[Line], registry: Registry) -> str:
    """The memory of all, and what to type where something is amiss."""
    lines = list(lines)
    total = sum(line.megabytes or 0 for line in lines)
    supervised = any(line.name == "supervisor" and line.state == "running" for line in lines)
    if not any(line.pid for line in lines):
        return "Nothing of this lab runs here. make starts it, make step-1 only the engines."
    sentence = f"Together {total:,.0f} MB of memory."
    if not supervised and any(service.up for service in registry.wanted().values()):
        sentence += " No supervisor runs: what dies stays dead. make step-1 starts one."
    return sentence


def listening(process: psutil.Process) -> set[int]:
    """The TCP ports on which `process` and its descendants listen."""
    found: set[int] = set()
    for member in family(process):
        try:
            found |= {c.laddr.port for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except (psutil.Error, OSError):
            continue  # it ended while we looked
    return found


def since(process: psutil.Process) -> str:
    """When the process was made, in local time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(process.create_time()))
    except psutil.NoSuchProcess:
        return ""


def logs(settings: Settings, name: str | None, lines: int) -> None:
    """Print the last `lines` lines of each log of this lab, or of the one called `name`, under its path.

    Raises LabError when there is no such log.
    """
    found = log_files(settings)
    if name is not None and name not in found:
        there = f"there are: {', '.join(found)}" if found else "there are none yet"
        raise LabError(
            f"There is no log called {name} in {shown_path(settings.logs)}; {there}.",
            "make logs" if found else "make step-1",
        )
    if not found:
        console.say(f"There are no logs in {shown_path(settings.logs)} yet. make step-1 starts the engines.")
    for path in [found[name]] if name is not None else found.values():
        console.title(shown_path(path))
        console.output(tail(path, lines) or "(empty)")


def log_files(settings: Settings) -> dict[str, Path]:
    """Each log by its name: the services' in the order of the data, then the others."""
    paths = {path.stem: path for path in sorted(settings.logs.glob("*.log"))}
    order = [*(engine.name for engine in stack.engines(settings)), *SERVICES]
    return {name: paths[name] for name in [*(n for n in order if n in paths), *(n for n in paths if n not in order)]}


def tail(path: Path, lines: int) -> str:
    """The last `lines` lines of a file that may be large, without what would move a terminal's cursor."""
    if lines < 1:
        return ""
    with path.open("rb") as file:
        start = max(0, file.seek(0, 2) - lines * LONGEST_LINE)
        file.seek(start)
        text = file.read().decode(errors="replace")
    found = text.splitlines()[-lines:]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in found)
