"""Requests to the API: each acknowledged by Kafka, against the usual API, and against a route that does nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from benchmarks.processes import running
from benchmarks.result import Row, row
from lab.drills.arena import Arena
from lab.errors import LabError
from lab.neighbour import free_ports
from lab.settings import LOOPBACK

CLIENTS = 16
OURS, COURSE, IDLE = "ours", "the usual API", "a route that does nothing"


@contextmanager
def server(arena: Arena, name: str, argv: list[str], port: int) -> Iterator[str]:
    """A server that answers at the address, for as long as it is needed."""
    address = f"http://{LOOPBACK}:{port}"
    with running(arena.settings, argv, arena.settings.logs / f"{name}.log"):
        arena.until(lambda: answers(address), f"{name} answers", 30)
        yield address


def answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/purchase_a_sword/sabre", timeout=5).ok
    except requests.RequestException:
        return False


def ab(address: str, count: int) -> float:
    """Requests a second, as `ab` reports them. Raises LabError unless each was answered 2xx."""
    argv = ["ab", "-q", "-l", "-c", str(CLIENTS), "-n", str(count), f"{address}/purchase_a_sword/sabre"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout
    failed = re.search(r"Non-2xx|Failed requests:\s+[1-9]", said)
    found = re.search(r"Requests per second:\s+([\d.]+)", said)
    if failed or not found:
        raise LabError(f"ab was not answered as it should be:\n{said}", "make bench")
    return float(found[1])


def measure(arena: Arena, count: int, rounds: int) -> tuple[list[Row], dict[str, list[float]]]:
    """The rows, and the requests a second of each run."""
    course_port, idle_port = free_ports(2)
    course = [sys.executable, "-m", "benchmarks.rivals.course_api", str(course_port)]
    idle = ["gunicorn", "--config", "python:lab.pipeline.gunicorn_conf", "--bind", f"{LOOPBACK}:{idle_port}"]
    idle += ["--access-logfile", str(arena.settings.logs / "idle-journal.log"), "benchmarks.rivals.idle_api:app"]
    taken: dict[str, list[float]] = {OURS: [], COURSE: [], IDLE: []}
    with server(arena, "course-api", course, course_port) as one, server(arena, "idle-api", idle, idle_port) as other:
        servers = {OURS: arena.settings.api, COURSE: one, IDLE: other}
        for address in servers.values():
            ab(address, count // 4)  # warm
        for number in range(rounds):
            for name, address in servers.items():
                taken[name].append(ab(address, count))
            arena.say(f"round {number + 1}: " + ", ".join(f"{name} {rates[-1]:.0f}/s" for name, rates in taken.items()))
    name = f"API requests, ab -c {CLIENTS}"
    return [
        row(f"{name}, against the usual API", taken[OURS], taken[COURSE], "1/s", 2.5, 5, more_is_better=True),
        row(
            f"{name}, against a route that does nothing",
            taken[OURS],
            taken[IDLE],
            "1/s",
            0.25,
            0.5,
            more_is_better=True,
        ),
    ], taken
