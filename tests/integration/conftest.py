"""A lab of the tests' own: its home in a temporary folder, its ports free ones; started once, and always ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from lab.engines.services import OWNER, Registry
from lab.neighbour import neighbour
from lab.pipeline import simulation, traffic
from lab.settings import ROOT, Settings

TABLE_OF = {"": "defaults", "purchase_a_sword": "purchases", "purchase_a_shield": "purchases"}


@dataclass
class RunningLab:
    """A lab, and the command line as a student would use it on it."""

    settings: Settings
    environment: dict[str, str]
    root: Path = ROOT

    def make(self, *arguments: str, fails: bool = False, seconds: float = 400) -> str:
        """Run `python -m lab …` in the checkout; all that it printed. It must succeed, or fail when `fails`."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        assert (done.returncode != 0) == fails, (
            f"lab {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
        )
        assert "Traceback" not in done.stdout
        return done.stdout

    def step(self, number: int, **options: bool) -> str:
        return self.make("step", str(number), **options)

    def script(self, *argv: str, stdin: str = "") -> str:
        """Run one of `scripts/`, as a student would in `make shell`."""
        command = [str(self.root / "scripts" / argv[0]), *argv[1:]]
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=120, cwd="/"
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def registry(self) -> Registry:
        return Registry(self.settings.run)

    def processes(self) -> list[psutil.Process]:
        """Every process of this lab that is alive."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(OWNER, "").startswith(f"{self.settings.home}:"):
                    found.append(process)
        return found


def new_lab(home: Path) -> RunningLab:
    environment = neighbour(home, os.environ)
    return RunningLab(Settings.from_env(environment), environment)


def planned_lines() -> list[traffic.Line]:
    """The traffic that the eight steps send."""
    return [*traffic.SAMPLE, *simulation.week(1), *traffic.mix(40, traffic.SAMPLE_SEED)]


def planned() -> Counter[str]:
    """How many rows each table must have in the end, by the plan of the traffic that the steps send."""
    rows: Counter[str] = Counter()
    for line in planned_lines():
        deed = line.path.split("/")[1]
        rows[TABLE_OF.get(deed, "guilds") if line.known else "rejected"] += line.requests
    return rows


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The shared lab; nothing runs in it yet. Its path has a space, as a student's may."""
    running = new_lab(tmp_path_factory.mktemp("labs") / "a lab")
    try:
        yield running
    finally:
        running.make("stop")
        left = running.processes()
        for process in left:
            process.kill()
        assert not left, f"still running after stop: {left}"
