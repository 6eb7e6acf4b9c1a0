"""The sandbox: where commands of a submission run, and what they can reach there.

`bubblewrap`: a view of the system that is read-only and has nothing of this person's in it, processes that see only
one another, and no network but a loopback of the grader's own. `process`, where bubblewrap is not allowed: a lab home
and ports of its own, limits and time, but this person's files and network; submitted code does not run there.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from lab.errors import LabError
from lab.settings import ROOT, read_env_file

BUBBLEWRAP, PROCESS = "bubblewrap", "process"
PRIVATE = "LAB_GRADING_NETWORK"
"""Is set in a grader that has a network of its own."""
MARK = "LAB_GRADING"
"""The environment variable by which processes of a sandbox are known where they share everybody's process ids."""

MOST_MEMORY = 6 * 2**30
MOST_PROCESSES = 600
LEAST_DISK = 500 * 2**20
WATCH_SECONDS = 0.5
CLOSE_SECONDS = 20.0
LONGEST_ANSWER = 2**20
MORE_SECONDS = 45.0
"""What a runner has on top of a command's own time limit, until it is taken for dead."""

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix")
CHECKOUT = ("lab", "scripts", ".venv", "Makefile", "requirements.lock")
"""What of the checkout is in a sandbox's view: what a step of the lab needs."""
RUNNER = ("__init__.py", "runner.py")
"""What of the grader is in it."""


class Died(Exception):
    """A sandbox that has ended, or was ended, before it answered; and why."""


@dataclass(frozen=True)
class Done:
    """A command that has run: `status` is its exit status (None: it goes on in the background)."""

    status: int | None
    seconds: float
    output: str
    late: bool = False

    @property
    def failed(self) -> bool:
        return self.late or self.status not in (0, None)


def tier() -> str:
    """Which sandbox there is on this machine."""
    return PROCESS if why_not() else BUBBLEWRAP


@functools.cache
def why_not() -> str:
    """Why bubblewrap cannot be used here; empty where it can, within itself too."""
    if not sys.platform.startswith("linux"):
        return "bubblewrap is for Linux only"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    inner = ["bwrap", "--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--dev", "/dev", "true"]
    outer = [] if os.environ.get(PRIVATE) else ["bwrap", *OWN_NETWORK, "--"]
    try:
        tried = subprocess.run([*outer, *inner], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start: {error}"
    return "" if tried.returncode == 0 else f"bubblewrap is not allowed here: {tried.stderr.strip()[:200]}"


OWN_NETWORK = ("--dev-bind", "/", "/", "--unshare-net", "--unshare-uts", "--hostname", "localhost", "--die-with-parent")
"""The whole system as it is, but for the network. `localhost` is a name that resolves anywhere; Presto asks for it."""


def with_own_network() -> None:
    """Go on in a network of this process's own, where bubblewrap can give one: its loopback has every port free.

    This process is replaced by one that begins anew with the same command line.
    """
    if os.environ.get(PRIVATE) or tier() == PROCESS:
        return
    environment = {**os.environ, PRIVATE: "yes"}
    # An interrupt that is typed reaches bubblewrap too, which would end, and take this process with it before it has
    # tidied up. What is ignored stays ignored; the grader listens again once it is in.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execvpe("bwrap", ["bwrap", *OWN_NETWORK, "--", sys.executable, "-m", "lab", *sys.argv[1:]], environment)


class Sandbox:
    """One sandbox with its runner. `folder` is the only one that it can write to and that lasts; `home` a lab's, in it.

    `pipeline` stands in place of `lab/pipeline`. `environment` is all that its processes have.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], pipeline: Path | None = None) -> None:
        self.folder, self.home, self.mark = folder, home_in(folder), uuid.uuid4().hex
        person = folder / "person"
        self.environment = {**environment, "LAB_HOME": str(self.home), "HOME": str(person), MARK: self.mark}
        self.tier = tier()
        if pipeline is not None and self.tier != BUBBLEWRAP:
            raise LabError("Submitted code runs in bubblewrap only, which is not to be had here.", "make grade")
        person.mkdir(parents=True, exist_ok=True)
        runner = [str(ROOT / ".venv" / "bin" / "python"), "-m", "lab.grading.runner", str(folder / "commands")]
        view = self._view(pipeline) if self.tier == BUBBLEWRAP else []
        self.log = folder / "sandbox.log"
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*view, *runner],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self.number = 0
        self.why_ended = ""
        self.answers: queue.Queue[bytes] = queue.Queue(maxsize=1000)
        self.closed = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is asked of it ---

    def run(self, argv: Sequence[str], seconds: float, background: bool = False) -> Done:
        """Run a command, or start it in the background. Raises Died."""
        self.number += 1
        asked = {"number": self.number, "argv": list(argv), "seconds": seconds, "background": background}
        return self._ask(asked, seconds)

    def end(self, number: int) -> Done:
        """End what runs in the background as the command of this number. Raises Died."""
        return self._ask({"end": number}, 40.0)

    def _ask(self, asked: Mapping[str, object], seconds: float) -> Done:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(asked).encode() + b"\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=seconds + MORE_SECONDS)
            if not answer:
                raise BrokenPipeError
            told = json.loads(answer)
            status, late = told["status"], bool(told.get("late"))
            return Done(None if status is None else int(status), float(told["seconds"]), str(told["output"]), late)
        except queue.Empty:
            self.kill("it did not answer")
        except BrokenPipeError:
            self.kill(f"it has ended {self._last_words()}".strip())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            self.kill("what it answered made no sense")
        raise Died(self.why_ended)

    def _last_words(self) -> str:
        """What it said last, where it did not come to its end by itself."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - 500))
            return log.read(500).decode("utf-8", "replace").strip().rpartition("\n")[2]

    def _read(self) -> None:
        """Pass on the runner's answers; an empty one says that it has ended."""
        assert self.process.stdout is not None
        with contextlib.suppress(queue.Full, OSError, ValueError):
            while line := self.process.stdout.readline(LONGEST_ANSWER):
                self.answers.put_nowait(line)
        with contextlib.suppress(queue.Full):
            self.answers.put_nowait(b"")

    # --- what it may take ---

    def _watch(self) -> None:
        while not self.closed.wait(WATCH_SECONDS):
            inside = self.processes()
            memory = sum(map(_resident, inside))
            if len(inside) > MOST_PROCESSES:
                self.kill(f"it had more than {MOST_PROCESSES} processes")
            elif memory > MOST_MEMORY:
                self.kill(f"it took more than {MOST_MEMORY >> 30} GiB of memory")
            elif shutil.disk_usage(self.folder).free < LEAST_DISK:
                self.kill("the disk was almost full")

    def processes(self) -> list[psutil.Process]:
        """All that run in it."""
        found = []
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children(recursive=True)
        if self.tier == PROCESS:
            known = {process.pid for process in found}
            found += [process for process in _marked(self.mark) if process.pid not in known]
        return found

    def kill(self, why: str) -> None:
        """End it at once."""
        self.why_ended = self.why_ended or why
        inside = self.processes() if self.tier == PROCESS else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # with bubblewrap's first process all others in it end
        for process in inside:
            with contextlib.suppress(psutil.Error):
                process.kill()

    def close(self) -> None:
        """End all that runs in it; returns when nothing does."""
        assert self.process.stdin is not None
        self.closed.set()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        inside = self.processes()
        if self.tier == PROCESS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)  # it ends what it has started
            inside = self.processes()
        self.kill("it was closed")
        self.process.wait()
        deadline = time.monotonic() + CLOSE_SECONDS
        while left := [process for process in [*inside, *self.processes()] if _lives(process)]:
            if time.monotonic() > deadline:
                raise LabError(f"Still running after its sandbox was closed: {left[:5]}.", "ps")
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)  # between two looks

    # --- bubblewrap's view ---

    def _view(self, pipeline: Path | None) -> list[str]:
        view = ["bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-cgroup-try"]
        view += ["--unshare-uts", "--hostname", "localhost", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        # a grader that runs as root would leave root's capabilities in there, and with them what is mounted read-only
        # can be mounted anew
        view += ["--cap-drop", "ALL"]
        for path in map(Path, SYSTEM):
            if path.is_symlink():
                view += ["--symlink", str(path.readlink()), str(path)]
            elif path.exists():
                view += ["--ro-bind", str(path), str(path)]
        for path in map(Path, ("/etc", "/opt")):
            view += _masked(path)
        toolchain = ROOT / ".lab" / "toolchain.env"
        cache = Path(self.environment["LAB_CACHE"])
        homes = [Path(sys.base_prefix), Path(read_env_file(toolchain).get("JAVA_HOME", "/usr"))]
        for path in {one for home in homes for one in (home, home.resolve())}:
            if not str(path).startswith("/usr"):
                view += ["--ro-bind", str(path), str(path)]
        grading = ROOT / "lab" / "grading"
        view += [part for name in CHECKOUT for part in ("--ro-bind", str(ROOT / name), str(ROOT / name))]
        view += ["--tmpfs", str(grading)]
        view += [part for name in RUNNER for part in ("--ro-bind", str(grading / name), str(grading / name))]
        view += ["--ro-bind", str(toolchain), str(toolchain), "--ro-bind", str(cache), str(cache)]
        if pipeline is not None:
            view += ["--ro-bind", str(pipeline), str(ROOT / "lab" / "pipeline")]
        return [*view, "--bind", str(self.folder), str(self.folder), "--chdir", str(ROOT), "--"]


def _masked(folder: Path) -> list[str]:
    """What puts nothing in the place of all below `folder` that only its owner may read, who may be who grades."""
    view: list[str] = []
    for here, folders, files in os.walk(folder):
        for name in list(folders):
            path = Path(here, name)
            if not path.is_symlink() and not path.stat().st_mode & stat.S_IXOTH:
                view += ["--tmpfs", str(path)]
                folders.remove(name)
        for path in (Path(here, name) for name in files):
            if path.is_file() and not path.is_symlink() and not path.stat().st_mode & stat.S_IROTH:
                view += ["--ro-bind", "/dev/null", str(path)]
    return view


def home_in(folder: Path) -> Path:
    """The lab's home in a sandbox's folder."""
    return folder / "home"


def _lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and that nobody has asked after does not."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found
