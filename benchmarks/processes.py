"""Processes that a measurement needs: jobs that end by themselves, and what goes on meanwhile."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.engines.stack import command_environment, last_lines
from lab.errors import LabError
from lab.settings import ROOT, Settings

MOST_SECONDS = 600
ENDING_SECONDS = 20


@dataclass(frozen=True)
class Run:
    """A job that has ended: the seconds that it took, what it printed, and after how many it printed each line."""

    seconds: float
    said: str
    at: tuple[float, ...]


def submit(settings: Settings, *argv: str) -> Run:
    """Run a Spark job to its end. Raises LabError when it fails."""
    log = settings.logs / "benchmark.log"
    environment = {**os.environ, **command_environment(settings)}
    begun = time.monotonic()
    with log.open("a") as errors:
        process = subprocess.Popen(
            ["spark-submit", *argv], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        overdue = threading.Timer(MOST_SECONDS, process.kill)
        overdue.start()
        try:
            assert process.stdout is not None
            lines = [(line, time.monotonic() - begun) for line in process.stdout]
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            overdue.cancel()
    run = Run(time.monotonic() - begun, "".join(line for line, _ in lines), tuple(at for _, at in lines))
    if status != 0:
        raise LabError(f"{argv[-1]} failed; its log: {log}\n{run.said[-1000:]}{last_lines(log)}", "make bench")
    return run


@contextmanager
def running(settings: Settings, argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that goes on meanwhile; afterwards it is asked to end, and killed when it does not."""
    environment = {**os.environ, **command_environment(settings)}
    with log.open("a") as output:
        process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
