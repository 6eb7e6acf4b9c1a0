"""Hostile and hopeless submissions, generated: nothing outside changes, nothing hangs, a grade is written each time.

No engine runs here: these histories never start the stack, or hold nothing that could. What they would run on real
engines is tried in `tests/integration/test_grading.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.grading import render
from lab.grading.grade import Grader, one
from lab.history.known import KNOWN
from lab.history.plan import REPLAYED, Plan, Planned, plan_of
from lab.history.read import Typed
from lab.settings import ROOT, Settings

SETTINGS = Settings.from_env({"LAB_CACHE": str(Settings.from_env().cache)})
POSITIONS = (
    "{}",
    "make {}",
    "make step-1 {}",
    "{} make step-1",
    "sudo {} make step-4",
    "ab -n {} -c 1 http://localhost:5000/",
    "ab -n 5 {} http://localhost:5000/",
    'ab -n 5 -H "Host: {}" http://localhost:5000/',
    "ab -n 5 http://localhost:5000/{}",
    "ab -n 5 {}",
    "curl {}",
    "kafka-topics --bootstrap-server localhost:9092 --create --topic {}",
    "kafka-topics {} --list",
    "kafka-console-consumer --topic events {}",
    "spark-submit {}",
    "spark-submit {} lab/pipeline/batch_job.py",
    "spark-sql -e {}",
    "presto --execute {}",
    'presto --execute "SELECT 1" {}',
    "presto <<EOF\n{}\nEOF",
    "hdfs dfs -ls {}",
    "hdfs dfs {} /lab",
    "hdfs dfs -put {} /lab/tables/purchases/",
    "bash {}",
    "bash -c '{}'",
    "docker-compose exec mids {}",
    "docker run -v /:/host {} bash",
    "for x in {}; do make step-4; done",
    "while true; do {}; done",
    "python {}",
    "alias make={}; make step-1",
)
CANARY = "CANARY"
PAYLOADS = (
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY}",
    f"&& touch {CANARY} #",
    f"| sh -c 'touch {CANARY}'",
    f"> {CANARY}",
    f">> ../{CANARY}",
    f"<(touch {CANARY})",
    f"\ntouch {CANARY}\n",
    f"'; touch {CANARY}; '",
    f'"; touch {CANARY}; "',
    f"${{IFS}}touch${{IFS}}{CANARY}",
    f"LD_PRELOAD={CANARY}.so",
    f"SHELL={CANARY} MAKEFLAGS=--eval=x PYTHONPATH={CANARY}",
    f"-f {CANARY}",
    f"--eval='$(shell touch {CANARY})'",
    f"--conf spark.driver.extraJavaOptions=-javaagent:{CANARY}",
    f"--files {CANARY} --jars {CANARY}.jar",
    f"-I{CANARY} -C/",
    f"@{CANARY}",
    "http://example.org/",
    "http://127.0.0.1:22/",
    "http://localhost:5000@example.org/",
    "file:///etc/passwd",
    "../../../../etc/passwd",
    "~/.ssh/id_rsa",
    "/etc/*",
    "{1..99999999}",
    "\x1b]0;owned\x07\x1b[2J",
    "ｍake\u202epets",
    "\x00\x01\x02",
    "A" * 5_000,
)


def hostile_lines() -> list[str]:
    return [position.replace("{}", payload) for position in POSITIONS for payload in PAYLOADS]


def harmless(made: Plan) -> None:
    """What would run is a known command, with words that nothing could take for more than they are."""
    for planned in made.commands:
        if not planned.argv:
            continue
        program, *words = planned.argv
        assert program in KNOWN or program in ("make", "presto"), planned
        for before, word in zip(["", *words], words, strict=False):
            if before == "--execute":
                continue  # an SQL text, which Presto reads and no shell
            if before == "-H":  # a header's value is anything that can be printed; it ends with its line
                assert word.isascii(), planned
                assert word.isprintable(), planned
                continue
            assert not set(word) & set("`$;|&<>\n\x00\x1b*?"), planned
            assert ".." not in word.split("/") or word.startswith(SETTINGS.api), planned
            assert "://" not in word or word.startswith(SETTINGS.api), planned
            assert not word.startswith(("-f", "-C", "-I", "--conf", "--files", "--jars", "--eval", "@")), planned
            assert "=" not in word or program != "make" or word.split("=")[0] in ("N", "EVERY", "SEED"), planned


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_an_injection_in_any_position_comes_to_nothing_else_that_runs(payload: str) -> None:
    for number, position in enumerate(POSITIONS):
        harmless(plan_of(SETTINGS, [Typed(position.replace("{}", payload), number + 1)]))


def test_the_oracle_sees_what_is_not_harmless() -> None:
    for argv in (
        ("sh", "-c", "x"),
        ("ab", "http://example.org/"),
        ("make", "SHELL=x"),
        ("hdfs", "dfs", "-ls", "$(id)"),
    ):
        with pytest.raises(AssertionError):
            harmless(Plan((Planned(1, "", REPLAYED, argv=argv),)))


# --- whole submissions ---


def snapshot(root: Path) -> dict[str, tuple[int, str]]:
    """By name of each file, its mode and the hash of its content, or where it leads."""
    found = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found[str(path)] = (mode, str(path.readlink()))
        elif stat.S_ISREG(mode):
            found[str(path)] = (mode, hashlib.sha256(path.read_bytes()).hexdigest())
        else:
            found[str(path)] = (mode, "")
    return found


def of_the_checkout() -> dict[str, tuple[int, str]]:
    return {
        name: what
        for folder in ("lab", "scripts", "benchmarks")
        for name, what in snapshot(ROOT / folder).items()
        if "__pycache__" not in name
    }


def submissions(root: Path, chance: random.Random) -> Iterator[Path]:
    """Two hundred and more, each a folder, an archive, a history alone or nothing of the kind."""
    lines = [line for line in hostile_lines() if not plan_of(SETTINGS, [Typed(line, 1)]).of_step(1)]
    chance.shuffle(lines)
    for number in range(170):  # every form of a history, with ten hostile lines each
        some = lines[number * 5 : number * 5 + 10]
        text = "\n".join(
            {0: line, 1: f"{at:5}  {line}", 2: f"#{1795600000 + at}\n{line}", 3: f"$ {line}\r"}[number % 4]
            for at, line in enumerate(some)
        )
        folder = root / f"history-{number}"
        folder.mkdir()
        (folder / "history.txt").write_bytes(text.encode("utf-8", "replace"))
        (folder / "ab.sh").write_text("\n".join(some[:3]))
        yield folder
    for number in range(20):
        path = root / f"noise-{number}"
        path.write_bytes(chance.randbytes(chance.choice((0, 1, 100, 50_000))))
        yield path
    for number in range(10):
        path = root / f"broken-{number}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
            whole.writestr("history.txt", "make stop\n" * 50)
            whole.writestr("lab/pipeline/evil.py", "import os; os.system('touch CANARY')\n")
        data = bytearray(path.read_bytes())
        for _ in range(number):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(data))
        yield path
    with zipfile.ZipFile(root / "names.zip", "w") as whole:
        for name in (
            "history.txt",
            "../grade/results.json",
            "/etc/evil",
            "grade/results.json",
            "lab/grading/checks.py",
        ):
            whole.writestr(name, "make stop\n")
    yield root / "names.zip"
    with zipfile.ZipFile(root / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as whole:
        for number in range(40):
            whole.writestr(f"lab/pipeline/a{number}.py", bytes(2 * 2**20))
        whole.writestr("history.txt", "make stop\n")
    yield root / "bomb.zip"
    long = root / "one-line"
    long.mkdir()
    (long / "history.txt").write_text("ab " + "x" * 15_000_000)
    yield long
    huge = root / "huge"
    huge.mkdir()
    (huge / "history.txt").touch()
    os.truncate(huge / "history.txt", 3 * 2**30)
    yield huge
    links = root / "links"
    links.mkdir()
    (links / "history.txt").symlink_to("/etc/passwd")
    (links / "report.md").symlink_to(links)
    yield links
    loop = root / "loop"
    loop.mkdir()
    (loop / "history.txt").write_text("bash a.sh\n")
    (loop / "a.sh").write_text("bash b.sh\nbash a.sh\n" * 50)
    (loop / "b.sh").write_text("bash a.sh\n" * 50)
    yield loop
    yield root / "not-there"
    yield Path("/dev/null")


@pytest.mark.timeout(900)
def test_hostile_submissions_change_nothing_and_each_gets_a_grade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))
    print(f"FAULTS_SEED={seed}")
    person = tmp_path / "person"
    person.mkdir()
    (person / ".bashrc").write_text("# mine\n")
    monkeypatch.setenv("HOME", str(person))
    monkeypatch.chdir(person)
    (tmp_path / "in").mkdir()
    handed_in = list(submissions(tmp_path / "in", random.Random(seed)))
    before = snapshot(tmp_path / "in"), snapshot(person), of_the_checkout()
    running = len(psutil.Process().children(recursive=True))
    grader = Grader.open(SETTINGS, tmp_path / "work", lambda text: None)
    grades = {}
    try:
        for number, source in enumerate(handed_in):
            out = tmp_path / "out" / str(number)
            graded = one(grader, source, source.name, None, lambda done, out=out: render.write(done, out))
            grades[source.name] = graded
            said = json.loads((out / "results.json").read_text())
            assert said["score"] == graded.score == 0, source
            assert not any(ran.done for ran in graded.ran), source
    finally:
        grader.close()
    assert len(grades) >= 200
    assert (snapshot(tmp_path / "in"), snapshot(person), of_the_checkout()) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "person"}
    assert len(psutil.Process().children(recursive=True)) == running
    assert "larger than" in grades["huge"].trouble
    assert "larger than" in grades["bomb.zip"].trouble
    assert grades["names.zip"].trouble == ""
