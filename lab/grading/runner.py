"""The runner: runs commands inside a sandbox, one after another, as it is told over a pipe.

    python -m lab.grading.runner FOLDER

Each line of standard input is a request in JSON, each line of standard output the answer to one. Commands come as
lists of words and are started as such: no shell sees them. What they print goes to a file in FOLDER, and the end of it
into the answer. What this says is for people to read: the examiner believes what the engines say, not the runner,
which shares its sandbox with the code that is examined.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOLD_BYTES = 8_000
"""How much of a command's output is told: its end."""
MOST_FILE_BYTES = 2 * 2**30
MOST_PROCESSES = 4_096
GRACE_SECONDS = 30.0


def limit() -> None:
    """What this process, and each that it starts, may take. Memory is watched from outside."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for what, most in ((resource.RLIMIT_FSIZE, MOST_FILE_BYTES), (resource.RLIMIT_NPROC, MOST_PROCESSES)):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


class Runner:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.background: dict[int, subprocess.Popen[bytes]] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if "end" in asked:
            self.end(asked["end"])
            return {"status": None, "output": self.told(asked["end"])}
        number, argv = asked["number"], asked["argv"]
        try:
            process = self.start(number, argv)
        except OSError as error:
            return {"status": 127, "output": f"{argv[0]}: {error.strerror}"}
        if asked["background"]:
            self.background[number] = process
            return {"status": None, "output": ""}
        late = False
        try:
            process.wait(asked["seconds"])
        except subprocess.TimeoutExpired:
            late = True
        end_group(process, 5.0 if late else 0.0)
        return {"status": process.returncode, "late": late, "output": self.told(number)}

    def start(self, number: int, argv: list[str]) -> subprocess.Popen[bytes]:
        with self.log(number).open("wb") as output:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def log(self, number: int) -> Path:
        return self.folder / f"{number}.log"

    def told(self, number: int) -> str:
        with self.log(number).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - TOLD_BYTES))
            return log.read(TOLD_BYTES).decode("utf-8", "replace")

    def end(self, number: int) -> None:
        process = self.background.pop(number, None)
        if process is not None:
            end_group(process, GRACE_SECONDS)


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process and its group: asked to, where it has `grace` seconds, and then by force."""
    if grace and process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(group, number)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    limit()
    runner = Runner(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who typed it meant the grader, which then closes the pipe
    try:
        for line in sys.stdin:
            begun = time.monotonic()
            answer = runner.answer(json.loads(line))
            print(json.dumps({**answer, "seconds": round(time.monotonic() - begun, 2)}), flush=True)
    finally:
        for number in list(runner.background):
            runner.end(number)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
