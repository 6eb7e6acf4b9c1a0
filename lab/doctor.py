"""The doctor: tries each path that the lab needs, and says what to type where one is broken.

A finding is data; `examine` collects them, `run` prints them. To examine one thing more, write a function
`(settings) -> Finding` and add it to `checks`.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import requests

from lab import console
from lab.engines import fetch, probes, stack
from lab.engines.services import Registry, family
from lab.errors import LabError
from lab.pipeline import event_log, queries
from lab.pipeline.events import tables
from lab.pipeline.tables import VIEWS
from lab.settings import ROOT, Settings, read_env_file

JAVA_VERSION = 17  # as in scripts/bootstrap, which installs it
TOTAL_MEMORY = 4e9  # bytes
AVAILABLE_MEMORY = 1.5e9  # bytes, before the engines start
FREE_DISK = 2e9  # bytes
PATIENCE_SECONDS = 30.0  # for all checks together; they run side by side
COMMAND_SECONDS = 15.0
HEALTH_SECONDS = 5.0
UNUSABLE = ':"'  # in a path: Java's class path, and the engines' configuration, cannot hold these
SET_CLOCK = "set the clock, for example: sudo timedatectl set-ntp true"


@dataclass(frozen=True)
class Finding:
    """What was examined, and whether it is well. `ok` is None where there was nothing to try yet.

    `said` is what was seen; `fix`, where something is to be done, is a command or a sentence.
    """

    name: str
    ok: bool | None
    said: str
    fix: str = ""


Check = Callable[[], Finding]


def run(settings: Settings) -> int:
    """Examine the lab and print what was found. 1 when something is broken, else 0."""
    console.say(f"Trying every path of the lab at {settings.home}; this takes a few seconds.\n")
    return report(examine(settings))


def report(findings: Iterable[Finding]) -> int:
    """Print the findings, each failed one with its fix. 1 when one has failed, else 0."""
    findings = list(findings)
    marks = {True: "ok", False: "BROKEN", None: "-"}
    rows = []
    for finding in findings:
        first = finding.said.partition("\n")[0]
        later = f" ({finding.fix})" if finding.ok is None and finding.fix else ""
        rows.append((finding.name, marks[finding.ok], "see below" if finding.ok is False else first + later))
    console.table(rows, ["what", "state", "found"])
    broken = [finding for finding in findings if finding.ok is False]
    for finding in broken:
        console.problem(f"\n{finding.name}: {finding.said}\n  try: {finding.fix}")
    console.say()
    if broken:
        console.say(
            f"{len(broken)} of {len(findings)} {'is' if len(broken) == 1 else 'are'} broken: mend the first one first."
        )
    else:
        console.say("Nothing is broken.")
    return 1 if broken else 0


def examine(settings: Settings) -> list[Finding]:
    """Everything that can be tried now, in the order of the data. Takes `PATIENCE_SECONDS` at most."""
    return side_by_side(checks(settings), PATIENCE_SECONDS)


def checks(settings: Settings) -> dict[str, Check]:
    """Each check by the name of its finding: the machine, then the engines, then what the steps have made."""
    environ = dict(os.environ)
    registry = Registry(settings.run)
    on_machine: dict[str, Check] = {
        "Java": lambda: java(environ),
        "Apache Bench": apache_bench,
        "Python's packages": python_packages,
        "downloads": lambda: downloads(settings.cache),
        "versions": versions,
        "disk": lambda: disk([settings.home, settings.cache]),
        "folders": lambda: folders([settings.home, settings.cache, settings.history.parent]),
        "paths": lambda: paths([ROOT, settings.home, settings.cache]),
        "memory": lambda: memory(settings),
        "clock": lambda: clock(settings),
        "ports": lambda: ports(settings),
        "supervisor": lambda: supervisor(registry),
    }
    try:
        engines = stack.engines(settings)
    except OSError:  # the home cannot be written: `folders` says so
        engines = ()
    of_engines: dict[str, Check] = {engine.name: partial(engine_answers, settings, engine) for engine in engines}
    of_steps: dict[str, Check] = {
        "topic": lambda: topic(settings),
        "API": lambda: api(settings),
        "stream": lambda: stream(settings),
        "tables": lambda: landed_tables(settings),
    }
    return {**on_machine, **of_engines, **of_steps}


def side_by_side(named: Mapping[str, Check], seconds: float) -> list[Finding]:
    """The finding of each check, in the given order; of one that has not ended after `seconds`, that it has not."""
    found: dict[str, Finding] = {}

    def examine_one(name: str, check: Check) -> None:
        try:
            finding = check()
        except LabError as error:
            finding = Finding(name, False, error.what, error.try_next)
        except Exception as error:  # one check that stumbles must not hide what the others found
            finding = Finding(name, False, f"it could not be examined: {_sentence(error)}", "make logs")
        found[name] = finding

    # Daemons, and no pool: a check that hangs must not hold up the end of the program either.
    threads = [threading.Thread(target=examine_one, args=item, daemon=True) for item in named.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"there was no answer within {seconds:.0f} s"
    return [found.get(name) or Finding(name, False, late, "make status, then make logs") for name in named]


# --- the machine -----------------------------------------------------------------------------------------------------


def java(environ: Mapping[str, str], toolchain: Path = ROOT / ".lab" / "toolchain.env") -> Finding:
    """`java` and `javac` of the needed version start, where the scripts look for them."""
    given = environ.get("JAVA_HOME", "")
    home = given or read_env_file(toolchain).get("JAVA_HOME", "")
    if not home:
        return Finding("Java", False, f"JAVA_HOME is not set, and there is no {toolchain}.", "make setup")
    fix = "unset JAVA_HOME, then make setup" if given else "make setup"
    for tool in ("java", "javac"):
        path = Path(home, "bin", tool)
        try:
            done = subprocess.run(
                [path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS
            )
        except FileNotFoundError:
            return Finding("Java", False, f"There is no {tool} at {path}; a JDK {JAVA_VERSION} is needed.", fix)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Finding("Java", False, f"{path} does not run: {_sentence(error)}.", fix)
        version = java_version(done.stdout + done.stderr)
        if version != JAVA_VERSION:
            which = f"Java {version}" if version else "of no version that it would say"
            return Finding("Java", False, f"{path} is {which}; a JDK {JAVA_VERSION} is needed.", fix)
    return Finding("Java", True, f"JDK {JAVA_VERSION} at {home}")


def java_version(said: str) -> int | None:
    """The version out of what `java -version` or `javac -version` prints; 8 calls itself 1.8."""
    found = re.search(r'(?:version "|^javac )(?:1\.)?(\d+)', said, re.MULTILINE)
    return int(found[1]) if found else None


def apache_bench(path: str | None = None) -> Finding:
    """`ab` is on the path, and runs."""
    ab = shutil.which("ab", path=path)
    if ab is None:
        return Finding("Apache Bench", False, "There is no ab on the PATH.", "make setup")
    done = subprocess.run([ab, "-V"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    version = re.search(r"Version (\S+)", done.stdout)
    if done.returncode != 0 or version is None:
        return Finding("Apache Bench", False, f"{ab} -V failed (exit status {done.returncode}).", "make setup")
    return Finding("Apache Bench", True, f"{version[1]} at {ab}")


def python_packages(venv: Path = Path(sys.prefix), lock: Path = ROOT / "requirements.lock") -> Finding:
    """The virtual environment was made, to the end, from today's lock."""
    stamp = venv / "requirements.lock"
    if not stamp.exists():
        return Finding("Python's packages", False, f"{venv} was not made to the end.", "make setup")
    if stamp.read_bytes() != lock.read_bytes():
        return Finding("Python's packages", False, f"{venv} was made from another requirements.lock.", "make setup")
    return Finding("Python's packages", True, "as in requirements.lock")


def downloads(cache: Path, engines: Iterable[str] = tuple(fetch.FOLDERS)) -> Finding:
    """Every jar that a lock names is there and whole, and was made ready."""
    jars = [(fetch.place_of(engine, jar, cache), jar) for engine in engines for jar in fetch.read_lock(engine)]
    missing = [place for place, _ in jars if not place.exists()]
    if missing:
        return Finding(
            "downloads", False, f"{len(missing)} of {len(jars)} jars are not there: {_some(missing)}.", "make setup"
        )
    damaged = fetch.verify(cache)  # all are hashed: about a second for 500 MB once the disk's cache is warm
    if damaged:
        # Set-up looks at sizes only: it brings a jar again that is not there.
        few = shlex.join(["rm", *map(str, damaged)]) if len(damaged) <= 5 else shlex.join(["rm", "-r", str(cache)])
        return Finding("downloads", False, f"Not as its lock says: {_some(damaged)}.", f"{few}; make setup")
    ready = ("hadoop/classes/minicluster", "hadoop/classes/client-api", "patches/metastore", "patches/presto")
    unready = [cache / folder for folder in ready if not (cache / folder / fetch.KEY).exists()]
    if unready:
        return Finding("downloads", False, f"Not made ready yet: {_some(unready)}.", "make setup")
    size = sum(jar.size for _, jar in jars)
    return Finding("downloads", True, f"{len(jars)} jars, {size / 1e6:,.0f} MB, each with the SHA-256 of its lock")


def versions(installed: Callable[[str], str] = importlib.metadata.version) -> Finding:
    """What has to be of one version is."""
    locked = {(engine, jar.artifact): jar.version for engine in fetch.FOLDERS for jar in fetch.read_lock(engine)}
    try:
        pyspark = installed("pyspark")
    except importlib.metadata.PackageNotFoundError:
        return Finding("versions", False, "pyspark is not installed.", "make setup")
    source = locked["spark-kafka", "spark-sql-kafka-0-10_2.13"]
    if pyspark != source:
        return Finding(
            "versions",
            False,
            f"pyspark is {pyspark}, and Spark's Kafka source is {source}: they must be equal.",
            "make setup",
        )
    artifacts = (("presto", "presto-main"), ("presto-hive", "presto-hive-hadoop2"), ("presto-cli", "presto-cli"))
    presto = {locked[artifact] for artifact in artifacts}
    if len(presto) > 1:
        said = (
            f"Presto, its Hive connector and its command line are of different versions: {', '.join(sorted(presto))}."
        )
        return Finding("versions", False, said, "git checkout lab/engines/locks, then make setup")
    kafka, hadoop = locked["kafka", "kafka_2.13"], locked["hadoop", "hadoop-client-minicluster"]
    return Finding(
        "versions",
        True,
        f"Spark {pyspark}, its Kafka source too; Kafka {kafka}, Hadoop {hadoop}, Presto {presto.pop()}",
    )


def memory(settings: Settings) -> Finding:
    registry = Registry(settings.run)
    running = [engine.name for engine in stack.local_engines(settings) if registry.process(engine.name)]
    seen = psutil.virtual_memory()
    return judge_memory(seen.total, seen.available, bool(running))


def judge_memory(total: float, available: float, engines_run: bool) -> Finding:
    """Enough in all, and, before the engines take theirs, enough available."""
    said = f"{available / 1e9:.1f} of {total / 1e9:.1f} GB available"
    if total < TOTAL_MEMORY:
        return Finding(
            "memory",
            False,
            f"{said}; the lab needs a machine with {TOTAL_MEMORY / 1e9:.0f} GB.",
            "use a larger machine",
        )
    if not engines_run and available < AVAILABLE_MEMORY:
        return Finding(
            "memory",
            False,
            f"{said}; the engines need {AVAILABLE_MEMORY / 1e9:.1f} GB.",
            "close other programs, then make",
        )
    return Finding("memory", True, said)


def disk(folders: Iterable[Path], usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Finding:
    """Enough space for data and for downloads, which may be on different disks."""
    free = {folder: usage(_nearest(folder))[2] for folder in folders}
    folder, least = min(free.items(), key=lambda item: item[1])
    said = f"{least / 1e9:,.1f} GB free at {folder}"
    if least < FREE_DISK:
        return Finding(
            "disk", False, f"{said}; the lab needs {FREE_DISK / 1e9:.0f} GB.", "free some space, or LAB_HOME=… make"
        )
    return Finding("disk", True, said)


def folders(wanted: Iterable[Path]) -> Finding:
    """A file can be written in each folder, or, where it is not there yet, in the one that it will be made in."""
    for folder in wanted:
        nearest = _nearest(folder)
        if not nearest.is_dir():
            return Finding("folders", False, f"{folder} cannot be made: {nearest} is not a folder.", "LAB_HOME=… make")
        try:
            with tempfile.TemporaryFile(dir=nearest) as file:
                file.write(bytes(65536))
                file.flush()
        except OSError as error:
            fix = "LAB_HOME=… (and LAB_CACHE=…) make, with a folder of yours"
            return Finding("folders", False, f"{nearest} cannot be written: {error.strerror}.", fix)
    return Finding("folders", True, "the lab's folders can be written")


def paths(wanted: Iterable[Path]) -> Finding:
    """No path holds a character that an engine cannot have in a path."""
    for path in wanted:
        if any(character in str(path) for character in UNUSABLE):
            said = f"The path {path} has a colon or a quote in it; Java's class path cannot hold that."
            return Finding("paths", False, said, "move the checkout, or LAB_HOME=… (and LAB_CACHE=…) make")
    return Finding("paths", True, "no characters that Java's class path cannot hold")


def clock(settings: Settings, now: float | None = None) -> Finding:
    """The clock is not behind what it wrote itself: event times, and Kafka's, come from it."""
    now = time.time() if now is None else now
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    newest = max((path.stat().st_mtime for path in (Path(__file__), *settings.logs.glob("*.log"))), default=0.0)
    if now < newest - 60:
        written = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(newest))
        return Finding(
            "clock", False, f"It is {said}, says the clock; a file of the lab was written at {written}.", SET_CLOCK
        )
    return Finding("clock", True, said)


def ports(settings: Settings) -> Finding:
    """Each port is free, or held by the service of this lab that it is for."""
    wanted = {
        field: engine.name for engine in stack.local_engines(settings) for field in engine.ports
    } | {"api_port": "api"}  # fmt: skip
    by_number: dict[int, str] = {}
    for field in wanted:
        other = by_number.setdefault(getattr(settings, field), field)
        if other != field:
            said = f"LAB_{other.upper()} and LAB_{field.upper()} are both {getattr(settings, field)}."
            return Finding("ports", False, said, f"unset LAB_{field.upper()}")
    registry = Registry(settings.run)
    held = {name: _listening(registry, name) for name in set(wanted.values())}
    ours = [field for field, name in wanted.items() if getattr(settings, field) in held[name]]
    taken, moves = [], []
    for field in sorted(wanted.keys() - set(ours), key=lambda field: int(getattr(settings, field))):
        port, variable = getattr(settings, field), "LAB_" + field.upper()
        try:
            stack.require_free_port(port, variable)
        except LabError as error:
            taken.append(error)
            moves.append(f"{variable}={port + stack.ANOTHER_PORT}")
    if len(taken) == 1:
        return Finding("ports", False, taken[0].what, taken[0].try_next)
    if taken:
        fix = f"make stop, where that is another lab, or use other ports: {' '.join(moves)} make"
        return Finding("ports", False, "\n".join(error.what for error in taken), fix)
    return Finding("ports", True, f"{len(ours)} held by this lab, {len(wanted) - len(ours)} free")


def _listening(registry: Registry, name: str) -> set[int]:
    """The ports on which a service listens; none when it does not run."""
    process = registry.process(name)
    found: set[int] = set()
    for member in family(process) if process else []:
        try:
            found |= {c.laddr.port for c in member.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except (psutil.Error, OSError):
            continue  # it ended while we looked
    return found


# --- what runs -------------------------------------------------------------------------------------------------------


def supervisor(registry: Registry) -> Finding:
    """It lives while anything is wanted."""
    wanted = [service.name for service in registry.wanted().values() if service.up]
    process = registry.supervisor()
    if process:
        return Finding("supervisor", True, f"pid {process.pid} looks after {', '.join(wanted) or 'nothing'}")
    if wanted:
        said = f"Nobody looks after {', '.join(wanted)}: the supervisor has ended, and what dies stays dead."
        return Finding("supervisor", False, said, "make step-1")
    return Finding("supervisor", None, "not started", "make step-1")


def engine_answers(settings: Settings, engine: stack.Engine) -> Finding:
    """The engine answers a real request. One that was never started is no failure."""
    where = getattr(settings, engine.address)
    if engine.address not in settings.external:
        absent = absence(settings, engine.name, engine.name, "make step-1")
        if absent:
            return absent
    begun = time.monotonic()
    try:
        said = engine.probe(settings)
    except probes.FAILURES as error:
        if engine.address in settings.external:
            return Finding(
                engine.name, False, f"{where} did not answer: {_sentence(error)}", f"unset LAB_{engine.address.upper()}"
            )
        log = settings.logs / f"{engine.name}.log"
        said = f"{where} did not answer: {_sentence(error)}\nits log: {log}"
        return Finding(engine.name, False, said, f"wait if it has just been started, else make logs NAME={engine.name}")
    return Finding(engine.name, True, f"{said} ({time.monotonic() - begun:.2f} s)")


def absence(settings: Settings, name: str, service: str, fix: str) -> Finding | None:
    """What to say of a service that has no process: not started, or dead. None when it has one."""
    registry = Registry(settings.run)
    if registry.process(service):
        return None
    wanted = registry.wanted().get(service)
    if wanted is None or not wanted.up:
        return Finding(name, None, "not started", fix)
    state = registry.state(service)
    how = f" ({state.last_exit})" if state and state.last_exit else ""
    given_up = " and was given up" if state and state.status == "failed" else ""
    log = Path(wanted.log)
    said = f"It should run and does not: it ended{how}{given_up}.\nits log: {log}\n{stack.last_lines(log, 5)}"
    return Finding(name, False, said.rstrip(), fix)


def topic(settings: Settings, end_offsets: Callable[[Settings], dict[int, int]] = event_log.end_offsets) -> Finding:
    """It is there, with as many partitions as the settings say."""
    if "kafka" not in settings.external and Registry(settings.run).process("kafka") is None:
        return Finding("topic", None, "Kafka does not run", "make step-1")
    try:
        ends = end_offsets(settings)
    except LabError as error:
        # Kafka that does not answer is a failure; a topic that step 2 is yet to make is none.
        return Finding("topic", None if error.try_next == "make step-2" else False, error.what, error.try_next)
    if len(ends) != settings.partitions:
        said = f"{settings.topic} has {len(ends)} partitions, where LAB_PARTITIONS says {settings.partitions}."
        return Finding("topic", False, said, f"LAB_PARTITIONS={len(ends)} make step-1")
    return Finding("topic", True, f"{settings.topic}: {len(ends)} partitions, {sum(ends.values()):,} records")


def api(settings: Settings) -> Finding:
    """Its health route says that requests can succeed; that logs no event."""
    absent = absence(settings, "API", "api", "make step-3")
    if absent:
        return absent
    begun = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False  # a proxy of the environment does not know this machine's loopback
        try:
            answer = session.get(f"{settings.api}/health", timeout=HEALTH_SECONDS)
            status = str(answer.json()["status"])
        except requests.ConnectionError:
            return Finding("API", False, f"{settings.api}/health did not answer.", "make logs NAME=api")
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            return Finding(
                "API", False, f"{settings.api}/health did not answer as it should: {_sentence(error)}", "make step-3"
            )
    if answer.status_code != 200:
        return Finding("API", False, f"{settings.api}/health answered {answer.status_code}: {status}.", "make step-1")
    return Finding("API", True, f"{settings.api}/health says {status} ({time.monotonic() - begun:.2f} s)")


def stream(settings: Settings) -> Finding:
    """It runs, once it was asked for."""
    return absence(settings, "stream", "stream", "make step-6") or Finding("stream", True, "running")


def landed_tables(
    settings: Settings,
    table_columns: Callable[[Settings], dict[str, list[str]]] = queries.table_columns,
    ask: Callable[[Settings, str], queries.Answer] = queries.ask,
) -> Finding:
    """Presto counts the rows of each table: through the metastore, down to the files on HDFS."""
    registry = Registry(settings.run)
    down = [engine.name for engine in stack.local_engines(settings) if registry.process(engine.name) is None]
    if down:
        return Finding("tables", None, f"not all engines run: {', '.join(down)}", "make step-1")
    begun = time.monotonic()
    present = table_columns(settings)
    expected = [*tables(), *VIEWS]
    missing = [name for name in expected if name not in present]
    if len(missing) == len(expected):
        return Finding("tables", None, "not made yet", "make step-7")
    if missing:
        return Finding("tables", False, f"Not there: {', '.join(missing)}.", "make step-7")
    counts = " UNION ALL ".join(f"SELECT count(*) AS n FROM {name}" for name in tables())
    rows = ask(settings, f"SELECT sum(n) FROM ({counts})").value
    return Finding("tables", True, f"{len(expected)} tables; {rows:,} rows counted ({time.monotonic() - begun:.2f} s)")


def _nearest(path: Path) -> Path:
    """`path`, or where it is not there the nearest folder above it that is."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _some(paths: list[Path]) -> str:
    """Up to three names, and how many there are besides."""
    names = ", ".join(path.name for path in paths[:3])
    return names + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _sentence(error: BaseException) -> str:
    """An error's own words on one line, or its kind where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
