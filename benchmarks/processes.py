"""Processes that a measurement needs: jobs that end by themselves, and what goes on meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.engines.stack import command_environment, last_lines
from lab.errors import LabError
from lab.settings import ROOT, Settings

MOST_SECONDS = 600
ENDING_SECONDS = 20


def submit(settings: Settings, *argv: str) -> tuple[float, str]:
    """Run a Spark job to its end: the seconds that it took, and what it printed. Raises LabError when it fails."""
    log = settings.logs / "benchmark.log"
    environment = {**os.environ, **command_environment(settings)}
    begun = time.monotonic()
    with log.open("a") as errors:
        done = subprocess.run(
            ["spark-submit", *argv],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=MOST_SECONDS,
        )
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed; its log: {log}\n{done.stdout[-1000:]}{last_lines(log)}", "make bench")
    return seconds, done.stdout


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
