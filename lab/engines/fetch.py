"""The engines' files: downloads the jars that the lock files name, checks them, and makes them ready to run.

A jar stands in the cache only once its SHA-256 was right: it is written beside its place as `….jar.part`, hashed,
and renamed. So whatever interrupts a download, a jar that is there is whole, and the next run resumes the rest.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import importlib.util
import os
import queue
import re
import shutil
import subprocess
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab import console
from lab.errors import LabError
from lab.settings import ROOT

if TYPE_CHECKING:
    import requests
    from rich.progress import Progress, TaskID

LOCKS = Path(__file__).parent / "locks"
JAVA_SOURCES = Path(__file__).parent / "java"

FOLDERS = {
    "kafka": "kafka",
    "hadoop": "hadoop",
    "presto": "presto/lib",
    "presto-hive": "presto/plugin/hive-hadoop2",
    "presto-cli": "presto-cli/presto-cli.jar",
    "spark-kafka": "spark",
}
"""Each engine that has a lock, and the place of its jars in the cache: a folder, or the file of an only jar."""

SIDE_BY_SIDE = 6
TRIES = 5
CONNECT_TIMEOUT, READ_TIMEOUT = 10, 30
RETRY_SECONDS = 0.5  # doubled with each try
CHUNK = 1 << 18
RESUMES = "make setup (it goes on where this run ended)"


@dataclass(frozen=True)
class Jar:
    """One line of a lock file."""

    sha256: str
    size: int
    group: str
    artifact: str
    version: str
    classifier: str = ""

    @property
    def coordinate(self) -> str:
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)

    @property
    def filename(self) -> str:
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"

    @property
    def path_in_repository(self) -> str:
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.filename}"


def read_lock(engine: str) -> list[Jar]:
    """The jars of `engine`. Raises LabError when its lock is missing or holds a line that is not of its form."""
    path = LOCKS / f"{engine}.lock"
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise LabError(f"There is no lock file for {engine}: {path}.", "git checkout lab/engines/locks") from None
    jars = []
    for number, line in enumerate(lines, 1):
        sha256, size, coordinate = [*line.split(), "", "", ""][:3]
        parts = coordinate.split(":")
        if not (re.fullmatch("[0-9a-f]{64}", sha256) and size.isdecimal() and len(parts) in (3, 4) and all(parts)):
            raise LabError(
                f"{path}:{number} is not `sha256  size  coordinate`: {line!r}.", "git checkout lab/engines/locks"
            )
        jars.append(Jar(sha256, int(size), *parts))
    return jars


def fetch(engines: Iterable[str], cache: Path, mirror: str = "") -> None:
    """Bring the jars of `engines` into `cache`, from `mirror` where one is given; return once all are whole.

    With nothing missing it asks no one. A jar that no lock names any more is removed, for a class path takes
    whatever stands in its folder. Raises LabError when a jar cannot be had, or is not what its lock says.
    """
    wanted = {engine: read_lock(engine) for engine in engines}
    if not _missing(wanted, cache):
        return
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            _remove_strays(wanted, cache)
            missing = _missing(wanted, cache)
            if missing:
                _Download(missing, mirror).run()
    except OSError as error:
        raise _disk_error(error, cache) from error


def verify(cache: Path) -> list[Path]:
    """Hash every jar that stands in `cache`; the damaged ones. A jar that is not there yet is not damaged."""
    places = {place_of(engine, jar, cache): jar for engine in FOLDERS for jar in read_lock(engine)}
    return [place for place, jar in places.items() if place.exists() and _sha256(place) != jar.sha256]


def place_of(engine: str, jar: Jar, cache: Path) -> Path:
    """Where a jar of `engine` stands in `cache`."""
    place = cache / FOLDERS[engine]
    return place if place.suffix == ".jar" else place / jar.filename


# --- downloading -----------------------------------------------------------------------------------------------------


def _missing(wanted: dict[str, list[Jar]], cache: Path) -> dict[Jar, list[Path]]:
    """Each jar that lacks in a place, with the places that lack it. Presto and its plugin share many jars."""
    missing: dict[Jar, list[Path]] = defaultdict(list)
    for engine, jars in wanted.items():
        for jar in jars:
            place = place_of(engine, jar, cache)
            # Only whole, checked jars get their name, so the size is enough here; `verify` hashes.
            if _size(place) != jar.size:
                missing[jar].append(place)
    return missing


def _remove_strays(wanted: dict[str, list[Jar]], cache: Path) -> None:
    for engine, jars in wanted.items():
        places = {place_of(engine, jar, cache) for jar in jars}
        for folder in {place.parent for place in places}:
            for path in folder.glob("*.jar*"):
                if path.with_name(path.name.removesuffix(".part")) not in places:
                    path.unlink()


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Hold the cache's lock, so that two runs never write one file; the second waits, and says so."""
    import filelock

    lock = filelock.FileLock(cache / ".fetch.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        console.say("Another run is downloading; waiting for it.")
        try:
            lock.acquire(timeout=1800)
        except filelock.Timeout:
            raise LabError("Another run has been downloading for 30 minutes.", "end it, then make setup") from None
    try:
        yield
    finally:
        lock.release()


class _Stopped(Exception):
    """Another download failed, or Ctrl-C: leave what is there for the next run."""


@dataclass
class _Download:
    """The jars of one run: a few threads take them from a queue, the caller's thread watches and reports."""

    missing: dict[Jar, list[Path]]
    mirror: str
    stop: threading.Event = field(default_factory=threading.Event)
    received: dict[Jar, int] = field(default_factory=dict)

    def run(self) -> None:
        import requests
        from requests.adapters import HTTPAdapter
        from requests_file import FileAdapter

        if not self.mirror:
            from jgo.constants import MAVEN_CENTRAL_URL

            self.mirror = MAVEN_CENTRAL_URL
        self.session = requests.Session()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(pool_maxsize=SIDE_BY_SIDE))
        self.session.mount("file://", FileAdapter())  # a bundle

        todo: queue.SimpleQueue[Jar] = queue.SimpleQueue()
        for jar in sorted(self.missing, key=lambda jar: -jar.size):  # the largest first: they decide the end
            self.received[jar] = _size(self._part(jar))
            todo.put(jar)
        outcomes: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for _ in range(min(SIDE_BY_SIDE, len(self.missing))):
            # Daemons, because Ctrl-C must not wait for one that sits in a slow read.
            threading.Thread(target=self._work, args=(todo, outcomes), daemon=True).start()
        try:
            with _reporting(len(self.missing), sum(jar.size for jar in self.missing)) as report:
                left = len(self.missing)
                while left:
                    try:
                        outcome = outcomes.get(timeout=0.2)
                    except queue.Empty:
                        pass
                    else:
                        if outcome is not None:
                            raise outcome
                        left -= 1
                    report(sum(self.received.values()))
        except KeyboardInterrupt:
            console.say("Stopped. What has arrived is kept: the next run goes on from there.")
            raise
        finally:
            self.stop.set()

    def _part(self, jar: Jar) -> Path:
        path = self.missing[jar][0]
        return path.with_name(path.name + ".part")

    def _work(self, todo: queue.SimpleQueue[Jar], outcomes: queue.SimpleQueue[BaseException | None]) -> None:
        while not self.stop.is_set():
            try:
                jar = todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._bring(jar)
            except _Stopped:
                return
            except BaseException as error:  # handed to the caller's thread, which raises it
                outcomes.put(error)
                return
            outcomes.put(None)

    def _bring(self, jar: Jar) -> None:
        """Download one jar, check it, and put it in its places."""
        part = self._part(jar)
        part.parent.mkdir(parents=True, exist_ok=True)
        actual = ""
        for _ in range(2):
            self._receive(jar, part)
            actual = _sha256(part)
            if actual == jar.sha256:
                break
            part.unlink()  # perhaps a half-written file of an earlier run was continued: once more from nothing
        else:
            raise LabError(
                f"{jar.coordinate} is not what its lock says, twice: expected SHA-256 {jar.sha256}, got {actual}.",
                "look for a proxy that changes downloads, then make setup",
            )
        first, *others = self.missing[jar]
        part.replace(first)
        for place in others:
            _link(first, place)

    def _receive(self, jar: Jar, part: Path) -> None:
        """Append to `part` until it has the size that the lock names."""
        import requests

        reason = ""
        for attempt in range(TRIES):
            if attempt and self.stop.wait(RETRY_SECONDS * 2**attempt):
                raise _Stopped
            try:
                reason = self._receive_once(jar, part)
            except requests.RequestException as error:
                reason = type(error).__name__
            if not reason:
                return
        raise LabError(
            f"{jar.coordinate} could not be downloaded ({reason}, {TRIES} tries).",
            f"{RESUMES}, once the network is there",
        )

    def _receive_once(self, jar: Jar, part: Path) -> str:
        """One request. What went wrong, or nothing when `part` is complete."""
        have = _size(part)
        if have > jar.size:
            part.unlink()
            have = 0
        if have == jar.size:
            return ""
        url = f"{self.mirror.rstrip('/')}/{jar.path_in_repository}"
        # identity: a transparently compressed answer would have another size
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with self.session.get(url, headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)) as answer:
            if answer.status_code in (403, 404, 410):
                raise LabError(
                    f"{jar.coordinate} is not there: HTTP {answer.status_code}.", "unset LAB_MAVEN_MIRROR, or make lock"
                )
            if answer.status_code not in (200, 206):
                if answer.status_code == 416:
                    part.unlink(missing_ok=True)
                return f"HTTP {answer.status_code}"
            if not _continues(answer, have):
                have = 0
            with part.open("ab" if have else "wb") as file:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    self.received[jar] = have
                    if self.stop.is_set():
                        raise _Stopped
                    if have > jar.size:
                        break
        if have == jar.size:
            return ""
        if have > jar.size:
            part.unlink()
        return f"{have} of {jar.size} bytes arrived"


def _continues(answer: requests.Response, have: int) -> bool:
    """Whether the answer starts where the file ends; a server may ignore a Range and send everything."""
    return answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


@contextmanager
def _reporting(count: int, total: int) -> Iterator[_Report]:
    jars = "1 jar" if count == 1 else f"{count} jars"
    if console.out.is_terminal:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn(f"Downloading {jars}"), *columns, console=console.out) as progress:
            yield _Report(total, progress, progress.add_task("", total=total))
    else:
        console.say(f"Downloading {jars}, {total / 1e6:,.0f} MB.")
        yield _Report(total)


@dataclass
class _Report:
    """Says how far a download is: a moving bar on a terminal, else a line now and then."""

    total: int
    progress: Progress | None = None
    task: TaskID | None = None
    next_line: float = field(default_factory=lambda: time.monotonic() + 10)

    def __call__(self, received: int) -> None:
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=received)
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + 10
            console.say(f"  {received / 1e6:,.0f} of {self.total / 1e6:,.0f} MB")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _link(source: Path, place: Path) -> None:
    """The same file in a second place, without a second copy where the file system can do that."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(place.name + ".part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(place)


def _disk_error(error: OSError, cache: Path) -> LabError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LabError(f"The disk is full: {cache} could not be written.", f"free some space, then {RESUMES}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LabError(f"{cache} cannot be written: {error.strerror}.", "set LAB_CACHE to a folder of yours")
    return LabError(f"{cache}: {error}.", "make doctor")


# --- making them ready -----------------------------------------------------------------------------------------------


def prepare(cache: Path, java_home: Path, pyspark: Path | None = None) -> None:
    """What the jars of `cache` need before their engines start: Hadoop's classes unpacked, two small classes compiled.

    `pyspark` is the installed package's folder. Each result is made beside its place and renamed into it, so it is
    whole when it is there. Safe to repeat; nothing is done twice. Raises LabError when pyspark or `javac` is missing.
    """
    pyspark = pyspark or _installed_pyspark()
    patches = {"metastore": pyspark / "jars", "presto": cache / FOLDERS["presto"]}
    try:
        (minicluster,) = (place_of("hadoop", jar, cache) for jar in read_lock("hadoop"))
        client_api = _only(pyspark / "jars", "hadoop-client-api-*.jar")
        jobs = {cache / "hadoop" / "classes" / name: jar for name, jar in
                (("minicluster", minicluster), ("client-api", client_api))}  # fmt: skip
        stale = [folder for folder, jar in jobs.items() if not _is_made(folder, _jar_key(jar))]
        outdated = [name for name in patches if not _is_made(cache / "patches" / name, _patch_key(name))]
        if not stale and not outdated:
            return
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            for folder in stale:
                if _is_made(folder, _jar_key(jobs[folder])):
                    continue  # by the run that held the lock
                with _making(folder, _jar_key(jobs[folder])) as temporary:
                    console.say(f"Unpacking {jobs[folder].name}: its servers start faster from a folder.")
                    _unpack(jobs[folder], temporary)
            for name in outdated:
                with _making(cache / "patches" / name, _patch_key(name)) as temporary:
                    _compile(name, patches[name], java_home, temporary)
    except OSError as error:
        raise _disk_error(error, cache) from error


def _installed_pyspark() -> Path:
    found = importlib.util.find_spec("pyspark")  # finds it without importing it
    if found is None or found.origin is None:
        raise LabError("pyspark is not installed.", "make setup")
    return Path(found.origin).parent


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise LabError(f"{folder} should hold one {pattern}, and holds {len(found)}.", "make distclean setup")
    return found[0]


KEY = ".made-from"


def _jar_key(jar: Path) -> str:
    return f"{jar.name} {jar.stat().st_size}"


def _patch_key(name: str) -> str:
    """Says from what a patch is compiled: its sources, and the jars that it is compiled against."""
    digest = hashlib.sha256()
    for path in sorted((JAVA_SOURCES / name).rglob("*.java")):
        digest.update(path.read_bytes())
    digest.update((LOCKS / "presto.lock").read_bytes() if name == "presto" else b"")
    return digest.hexdigest()


def _is_made(folder: Path, key: str) -> bool:
    try:
        return (folder / KEY).read_text() == key
    except FileNotFoundError:
        return False


@contextmanager
def _making(folder: Path, key: str) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` when all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left_over)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    yield temporary
    (temporary / KEY).write_text(key)
    temporary.chmod(0o755)
    if folder.exists():
        folder.rename(Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)) / "old")
    temporary.rename(folder)
    for left_over in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left_over)


NOT_UNPACKED = re.compile(
    # Signatures are of the jar, not of loose files. Licences, which stay readable in the jar, come as the file
    # META-INF/LICENSE and the folder META-INF/license/: one name where a file system ignores case.
    r"META-INF/(?:[^/]+\.(?:SF|DSA|RSA|EC)$|licen[cs]e|notice|maven/)|module-info\.class$",
    re.IGNORECASE,
)


def _unpack(jar: Path, folder: Path) -> None:
    """Each jar in a folder of its own, for both list services in META-INF/services, in files of the same name."""
    with zipfile.ZipFile(jar) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if not NOT_UNPACKED.match(name)])


def _compile(name: str, jars: Path, java_home: Path, folder: Path) -> None:
    javac = java_home / "bin" / "javac"
    sources = sorted((JAVA_SOURCES / name).rglob("*.java"))
    command: list[str | Path] = [
        javac,
        "-nowarn",
        "-proc:none",
        "-encoding",
        "UTF-8",
        "-cp",
        f"{jars}/*",
        "-d",
        folder,
        *sources,
    ]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"There is no Java compiler at {javac}: a JDK 17 is needed, not a JRE.", "make setup") from None
    if done.returncode:
        raise LabError(f"{JAVA_SOURCES / name} could not be compiled:\n{done.stderr}", "make setup")


def main() -> int:
    """`python -m lab.engines.fetch`: what set-up calls, once to download and once to make ready."""
    parser = argparse.ArgumentParser(prog="python -m lab.engines.fetch", description="Bring the engines' files.")
    parser.add_argument("--cache", type=Path, default=ROOT / ".lab" / "cache")
    parser.add_argument("--mirror", default="", help="where to download from, in place of the public repository")
    parser.add_argument("--prepare", type=Path, metavar="JAVA_HOME", help="also make them ready, with this JDK")
    given = parser.parse_args()
    try:
        fetch(FOLDERS, given.cache, given.mirror)
        if given.prepare:
            prepare(given.cache, given.prepare)
    except LabError as error:
        console.problem(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
