"""The engines' files: what an interrupted, cut or tampered download leaves behind, and what the locks say."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.engines import fetch as fetching
from lab.engines.fetch import FOLDERS, Jar, fetch, place_of, read_lock, verify
from lab.errors import LabError

CONTENT = bytes(range(256)) * 4000
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing of ours listens there


class Repository(ThreadingHTTPServer):
    """A Maven repository on loopback that can cut connections, ignore ranges, and serve other bytes than it should."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.cut_after: list[int] = []  # for each of the next requests: close the connection after so many bytes
        self.statuses: list[int] = []  # for each of the next requests: answer with this status and nothing else
        self.ranges = True
        self.requests: list[str] = []  # the Range header of each request, or ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.requests.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        body = self.server.content
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after.pop(0)] if self.server.cut_after else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository() -> Iterator[Repository]:
    server = Repository()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Jar]:
    """Locks of the test's own, one jar of `CONTENT` for each named engine."""
    locks = tmp_path / "locks"
    locks.mkdir()
    monkeypatch.setattr(fetching, "LOCKS", locks)
    monkeypatch.setattr(fetching, "RETRY_SECONDS", 0.01)

    def lock(*engines: str, version: str = "1.0") -> Jar:
        jar = Jar(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), "org.example.lab", "thing", version)
        for engine in FOLDERS:
            line = f"{jar.sha256}  {jar.size}  {jar.coordinate}\n" if engine in engines else ""
            (locks / f"{engine}.lock").write_text(line)
        return jar

    return lock


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "a cache with spaces"


def part_of(jar: Jar, cache: Path) -> Path:
    place = place_of("kafka", jar, cache)
    return place.with_name(place.name + ".part")


def test_puts_a_jar_in_its_place_and_leaves_no_part(locked, repository, cache):
    jar = locked("kafka")
    fetch(["kafka"], cache, repository.url)
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT
    assert not part_of(jar, cache).exists()


def test_goes_on_where_a_cut_connection_ended(locked, repository, cache):
    locked("kafka")
    repository.cut_after = [300_000]
    fetch(["kafka"], cache, repository.url)
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT
    first, second = repository.requests
    assert first == ""
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000


def test_goes_on_where_an_earlier_run_ended(locked, repository, cache):
    jar = locked("kafka")
    part_of(jar, cache).parent.mkdir(parents=True)
    part_of(jar, cache).write_bytes(CONTENT[:1000])
    fetch(["kafka"], cache, repository.url)
    assert repository.requests == ["bytes=1000-"]
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT


def test_starts_anew_when_the_server_ignores_ranges(locked, repository, cache):
    jar = locked("kafka")
    repository.ranges = False
    part_of(jar, cache).parent.mkdir(parents=True)
    part_of(jar, cache).write_bytes(CONTENT[:1000])
    fetch(["kafka"], cache, repository.url)
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT


@pytest.mark.parametrize("size", [1000, len(CONTENT), len(CONTENT) + 5])
def test_never_takes_a_part_with_other_bytes_for_the_jar(locked, repository, cache, size):
    jar = locked("kafka")
    part_of(jar, cache).parent.mkdir(parents=True)
    part_of(jar, cache).write_bytes(b"x" * size)
    fetch(["kafka"], cache, repository.url)
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT


def test_never_takes_a_shorter_jar_for_whole(locked, repository, cache):
    locked("kafka")
    place = cache / "kafka" / "thing-1.0.jar"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:-1])
    fetch(["kafka"], cache, repository.url)
    assert place.read_bytes() == CONTENT


def test_refuses_a_jar_with_the_wrong_checksum_and_names_it(locked, repository, cache):
    jar = locked("kafka")
    repository.content = CONTENT[::-1]
    with pytest.raises(LabError) as caught:
        fetch(["kafka"], cache, repository.url)
    for named in (jar.coordinate, jar.sha256, hashlib.sha256(repository.content).hexdigest()):
        assert named in caught.value.what
    assert len(repository.requests) == 2, "it should have tried once more"
    assert list((cache / "kafka").iterdir()) == [], "nothing of it should be left"


def test_tries_again_when_the_server_is_busy(locked, repository, cache):
    locked("kafka")
    repository.statuses = [503, 429]
    fetch(["kafka"], cache, repository.url)
    assert (cache / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT


def test_gives_up_at_once_on_a_jar_that_is_not_there(locked, repository, cache):
    jar = locked("kafka")
    repository.statuses = [404] * 9
    with pytest.raises(LabError, match=f"{jar.coordinate} is not there: HTTP 404"):
        fetch(["kafka"], cache, repository.url)
    assert len(repository.requests) == 1


def test_says_what_to_do_without_a_network(locked, cache):
    jar = locked("kafka")
    with pytest.raises(LabError, match=f"{jar.coordinate} could not be downloaded") as caught:
        fetch(["kafka"], cache, NOWHERE)
    assert "make setup" in caught.value.try_next


def test_needs_no_network_when_nothing_is_missing(locked, repository, cache):
    locked("kafka")
    fetch(["kafka"], cache, repository.url)
    fetch(["kafka"], cache, NOWHERE)


def test_downloads_once_what_two_engines_share(locked, repository, cache):
    locked("presto", "presto-hive")
    fetch(["presto", "presto-hive"], cache, repository.url)
    assert (cache / "presto" / "lib" / "thing-1.0.jar").read_bytes() == CONTENT
    assert (cache / "presto" / "plugin" / "hive-hadoop2" / "thing-1.0.jar").read_bytes() == CONTENT
    assert len(repository.requests) == 1


def test_removes_the_jar_of_an_older_lock_from_the_class_path(locked, repository, cache):
    locked("kafka")
    fetch(["kafka"], cache, repository.url)
    locked("kafka", version="2.0")
    fetch(["kafka"], cache, repository.url)
    assert [path.name for path in (cache / "kafka").iterdir()] == ["thing-2.0.jar"]


def test_verify_names_the_jar_whose_bytes_have_changed(locked, repository, cache):
    locked("kafka", "spark-kafka")
    fetch(["kafka"], cache, repository.url)
    assert verify(cache) == []
    place = cache / "kafka" / "thing-1.0.jar"
    place.write_bytes(CONTENT[::-1])
    assert verify(cache) == [place]


def test_refuses_a_lock_line_of_another_form(locked):
    locked("kafka")
    (fetching.LOCKS / "kafka.lock").write_text("abc  12  org.example:thing:1.0\n")
    with pytest.raises(LabError, match=r"kafka\.lock:1 is not"):
        read_lock("kafka")


@pytest.mark.parametrize("engine", FOLDERS)
def test_each_lock_is_well_formed_and_holds_one_version_of_an_artifact(engine):
    jars = read_lock(engine)
    assert jars
    names = Counter((jar.group, jar.artifact, jar.classifier) for jar in jars)
    assert [name for name, count in names.items() if count > 1] == []
    files = Counter(jar.filename for jar in jars)
    assert [name for name, count in files.items() if count > 1] == []


def test_versions_that_have_to_be_equal_are():
    pins = dict(
        line.split(" ")[0].split("==")
        for line in (fetching.ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line and not line.startswith(" ")
    )
    version = {jar.artifact: jar.version for engine in FOLDERS for jar in read_lock(engine)}
    assert version["spark-sql-kafka-0-10_2.13"] == version["spark-token-provider-kafka-0-10_2.13"] == pins["pyspark"]
    assert version["presto-main"] == version["presto-hive-hadoop2"] == version["presto-cli"]
