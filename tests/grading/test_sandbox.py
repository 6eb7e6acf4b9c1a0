"""The sandbox: what runs in it sees little, changes nothing outside, takes what it may, and ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.grading import sandbox
from lab.grading.sandbox import BUBBLEWRAP, PROCESS, Died, Done, Sandbox
from lab.settings import ROOT, Settings

PYTHON = str(ROOT / ".venv" / "bin" / "python")
WHY_NOT = sandbox.why_not()
bubblewrap = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def environment() -> dict[str, str]:
    cache = Settings.from_env().cache
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LAB_CACHE": str(cache),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(params=[pytest.param(BUBBLEWRAP, marks=bubblewrap), PROCESS])
def tier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sandbox, "tier", lambda: request.param)
    return str(request.param)


@pytest.fixture
def box(tier: str, tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "box", environment()) as opened:
        yield opened


@pytest.fixture
def closed_box(tmp_path: Path) -> Iterator[Sandbox]:
    """One of bubblewrap's, wherever that is to be had."""
    with Sandbox(tmp_path / "box", environment()) as opened:
        yield opened


def python(box: Sandbox, code: str, *arguments: str, seconds: float = 20) -> Done:
    return box.run([PYTHON, "-c", code, *arguments], seconds)


def test_a_command_runs_and_what_it_says_is_told(box: Sandbox) -> None:
    done = box.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 10)
    assert (done.status, done.late, sorted(done.output.split())) == (3, False, ["err", "out"])


def test_words_are_handed_over_as_they_are(box: Sandbox) -> None:
    words = ["$(touch x)", "`id`", "a b", "*", "'", '"', "é", ";", "\\n"]
    done = python(box, "import sys, json; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(done.output) == words


def test_a_command_that_is_not_there_is_no_end(box: Sandbox) -> None:
    assert box.run(["no-such-command"], 5).status == 127
    assert box.run(["true"], 5).status == 0


def test_a_command_that_does_not_end_is_ended(box: Sandbox) -> None:
    begun = time.monotonic()
    done = python(box, "import time; print('begun', flush=True); time.sleep(600)", seconds=2)
    assert done.late
    assert "begun" in done.output
    assert time.monotonic() - begun < 20
    assert box.run(["true"], 5).status == 0


def test_of_what_is_said_the_end_is_told(box: Sandbox) -> None:
    done = python(box, "print('x' * 30_000_000); print('the end')")
    assert len(done.output) <= 8_000
    assert done.output.endswith("the end\n")


def test_what_runs_in_the_background_is_ended_when_it_is_asked_for(box: Sandbox) -> None:
    begun = box.run([PYTHON, "-c", "import time; print('up', flush=True); time.sleep(600)"], 5, background=True)
    assert begun.status is None
    number = box.number
    assert box.run(["true"], 5).status == 0
    assert box.end(number).seconds < 20


def test_nothing_goes_on_after_it_is_closed(tier: str, tmp_path: Path) -> None:
    mark = f"left-{os.getpid()}-{time.time_ns()}"
    daemon = (
        "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])\n"
        "    os._exit(0)\nos.wait()"
    )
    with Sandbox(tmp_path / "box", environment()) as box:
        assert python(box, daemon, mark).status == 0
        deadline = time.monotonic() + 10
        while not running(mark):
            assert time.monotonic() < deadline
    assert not running(mark)


def running(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in (process.info["cmdline"] or []):
            found.append(process)
    return found


def test_a_fork_bomb_is_ended(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_PROCESSES", 60)
    bomb = "import os, time\nfor _ in range(12):\n    os.fork()\n    time.sleep(0.2)\ntime.sleep(600)"
    with pytest.raises(Died, match="more than 60 processes"):
        python(box, bomb, seconds=60)
    box.close()


def test_what_takes_all_memory_is_ended(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_MEMORY", 2**28)
    with pytest.raises(Died, match="of memory"):
        python(box, "import time\nx = b'1' * 2**29\ntime.sleep(600)", seconds=60)


def test_a_full_disk_ends_it(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LEAST_DISK", 2**60)
    with pytest.raises(Died, match="the disk was almost full"):
        python(box, "import time; time.sleep(600)", seconds=60)


def test_a_file_has_its_limit(box: Sandbox) -> None:
    done = python(box, "import os; f = open(os.environ['HOME'] + '/big', 'wb'); f.truncate(2**40)")
    assert done.status != 0
    assert "File too large" in done.output or done.status == -25  # SIGXFSZ


def test_who_ends_the_runner_ends_the_replay_and_nothing_else(box: Sandbox) -> None:
    with pytest.raises(Died):
        python(box, "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)", seconds=5)


@pytest.mark.parametrize(
    "said", ["nonsense", "[]", "{}", '{"status": "x", "seconds": 1, "output": ""}', "x" * 3_000_000]
)
def test_a_forged_answer_is_no_traceback(closed_box: Sandbox, said: str) -> None:
    forge = (
        "import os, sys, time\n"
        "with open(f'/proc/{os.getppid()}/fd/1', 'w') as out:\n    out.write(sys.argv[1][:1] * int(sys.argv[2]) if "
        "sys.argv[2] != '0' else sys.argv[1]); out.write('\\n'); out.flush()\ntime.sleep(2)"
    )
    arguments = (said[0], str(len(said))) if len(said) > 100_000 else (said, "0")
    with pytest.raises(Died):
        python(closed_box, forge, *arguments, seconds=10)


def test_submitted_code_does_not_run_without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "tier", lambda: PROCESS)
    with pytest.raises(Exception, match="Submitted code runs in bubblewrap only"):
        Sandbox(tmp_path / "box", environment(), tmp_path)


# --- what bubblewrap hides ---


@bubblewrap
def test_it_sees_its_own_processes_only(closed_box: Sandbox) -> None:
    done = python(closed_box, "import os; print(*[name for name in os.listdir('/proc') if name.isdigit()])")
    assert 0 < len(done.output.split()) < 10


@bubblewrap
def test_nothing_outside_its_folder_can_be_written(closed_box: Sandbox, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.write_text("as it was")
    tried = [
        ROOT / "lab" / "cli.py",
        ROOT / "new",
        canary,
        tmp_path / "new",
        Path("/etc/new"),
        Path("/usr/new"),
        Path.home() / "new",
    ]
    before = (ROOT / "lab" / "cli.py").read_bytes()
    code = "import sys\nfor path in sys.argv[1:]:\n    try: open(path, 'a').write('evil')\n    except OSError: pass"
    python(closed_box, code, *map(str, tried))
    assert (ROOT / "lab" / "cli.py").read_bytes() == before
    assert canary.read_text() == "as it was"
    assert not any(path.exists() for path in tried[1:2] + tried[3:])


@bubblewrap
def test_what_is_this_person_s_cannot_be_read(closed_box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the key")
    hidden = [secret, ROOT / "history.txt", ROOT / "report.md", ROOT / ".git" / "HEAD", Path("/etc/shadow")]
    code = "import sys\nfor path in sys.argv[1:]:\n    try: print(len(open(path).read()))\n    except OSError: print(0)"
    assert set(python(closed_box, code, *map(str, hidden)).output.split()) == {"0"}


@bubblewrap
def test_its_environment_is_what_it_was_given(closed_box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    done = python(closed_box, "import os; print(*os.environ)")
    known = {*environment(), "LAB_HOME", "HOME", sandbox.MARK, "PWD", "LC_CTYPE"}
    assert set(done.output.split()) <= known


@bubblewrap
def test_a_submitted_pipeline_stands_in_the_released_one_s_place(tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "own.py").write_text("said = 'mine'")
    with Sandbox(tmp_path / "box", environment(), tmp_path / "pipeline") as box:
        assert python(box, "from lab.pipeline.own import said; print(said)").output == "mine\n"
    assert not (ROOT / "lab" / "pipeline" / "own.py").exists()


@bubblewrap
def test_a_grader_s_network_reaches_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
        inside = ["bwrap", *sandbox.OWN_NETWORK, "--", sys.executable, "-c", code]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=30)
    assert "ConnectionRefusedError" in done.stderr


@bubblewrap
def test_it_ends_with_the_grader_that_was_killed(tmp_path: Path) -> None:
    mark = f"left-{os.getpid()}-{time.time_ns()}"
    code = (
        "import sys\nfrom pathlib import Path\nfrom lab.grading.sandbox import Sandbox\n"
        "from tests.grading.test_sandbox import PYTHON, environment\n"
        "box = Sandbox(Path(sys.argv[1]), environment())\n"
        "box.run([PYTHON, '-c', 'import time; time.sleep(600)', sys.argv[2]], 5, background=True)\n"
        "print('up', flush=True)\nimport time; time.sleep(600)"
    )
    grader = subprocess.Popen([PYTHON, "-c", code, str(tmp_path / "box"), mark], cwd=ROOT, stdout=subprocess.PIPE)
    assert grader.stdout is not None
    assert grader.stdout.readline() == b"up\n"
    assert len(running(mark)) == 2  # it, and the grader, which names it
    grader.kill()
    grader.wait()
    deadline = time.monotonic() + 10
    while running(mark):
        assert time.monotonic() < deadline
        time.sleep(0.1)  # between two looks


@bubblewrap
@pytest.mark.parametrize(
    "attempt",
    [
        "mount -o remount,rw,bind {root}/lab && touch {root}/lab/escaped",
        "umount {root}/lab/grading && touch {root}/lab/grading/escaped",
        "umount /etc/shadow && head -c 1 /etc/shadow",
        "mount -t tmpfs none {root}",
        "unshare -Urm sh -c 'mount -o remount,rw,bind {root}/lab && touch {root}/lab/escaped'",
        "chmod u+w {root}/lab && touch {root}/lab/escaped",
    ],
)
def test_whoever_grades_the_view_cannot_be_mounted_anew(closed_box: Sandbox, attempt: str) -> None:
    """Root's capabilities would let it: a grader may well be root, as in a container of Gradescope's."""
    done = closed_box.run(["sh", "-c", attempt.format(root=ROOT)], 20)
    assert done.failed, done.output
    assert not list((ROOT / "lab").rglob("escaped"))
    capabilities = closed_box.run(["grep", "CapEff", "/proc/self/status"], 10).output.split()[1]
    assert int(capabilities, 16) == 0


@bubblewrap
def test_of_the_checkout_it_sees_what_a_step_needs_and_nothing_else(closed_box: Sandbox) -> None:
    there = closed_box.run(["ls", "-A", str(ROOT)], 10).output.split()
    assert set(there) == {*sandbox.CHECKOUT, ".lab"}
    assert set(closed_box.run(["ls", "-A", str(ROOT / "lab" / "grading")], 10).output.split()) == set(sandbox.RUNNER)


def test_what_only_its_owner_may_read_is_masked(tmp_path: Path) -> None:
    for name in ("open", "closed", "shut/in it", "folder/closed too"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o644)
    (tmp_path / "closed").chmod(0o640)
    (tmp_path / "folder" / "closed too").chmod(0o600)
    (tmp_path / "shut").chmod(0o700)
    (tmp_path / "link").symlink_to(tmp_path / "closed")
    masked = sandbox._masked(tmp_path)
    assert masked[:2] == ["--tmpfs", str(tmp_path / "shut")]
    assert set(masked[4::3]) == {str(tmp_path / "closed"), str(tmp_path / "folder" / "closed too")}
