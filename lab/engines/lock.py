"""Which jars an engine needs, decided once, by a developer: `make lock` reads `locks/*.toml` and writes `locks/*.lock`.

A `.toml` says what is wanted: `coordinates` (`group:artifact:version[:classifier]`), `exclusions` (`group:artifact`,
either may be `*`), and `managed` (poms whose version choices hold for everything below). The `.lock` beside it says
what that came to, a line for each jar: `sha256  size  group:artifact:version[:classifier]`.

Resolved with Maven itself, which only this needs: jgo's resolver, in pure Python, put kafka-clients 3.9.1 beneath
Kafka 4.1.2. Maven compares each download with the sum that the registry publishes (`--strict-checksums`) before
its SHA-256 is taken here.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from jgo.util.toml import tomllib  # the standard library's from Python 3.11 on, its backport before

from lab import console
from lab.engines.fetch import FOLDERS, LOCKS, Jar
from lab.errors import LabError
from lab.settings import ROOT

LIST_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:list"
RESOLVED = re.compile(
    r"^ +(?P<group>[^:]+):(?P<artifact>[^:]+):(?P<type>[^:]+):(?:(?P<classifier>[^:]+):)?(?P<version>[^:]+)"
    r":(?:compile|runtime|provided|system):(?P<file>.+?)(?: -- module .*)?$"
)


def lock(engine: str, repository: Path) -> list[Jar]:
    """Resolve what `engine` wants and write its lock; `repository` keeps Maven's downloads for the next time.

    Raises LabError when there is no `mvn`, or when it cannot resolve everything.
    """
    wanted = tomllib.loads((LOCKS / f"{engine}.toml").read_text())
    with tempfile.TemporaryDirectory(prefix="lab-lock-") as folder:
        pom, listing = Path(folder, "pom.xml"), Path(folder, "jars.txt")
        pom.write_text(pom_of(wanted["coordinates"], wanted["exclusions"], wanted.get("managed", [])))
        _maven(
            "--file", str(pom), f"-Dmaven.repo.local={repository}", LIST_JARS, "-DincludeScope=runtime",
            "-DoutputAbsoluteArtifactFilename=true", f"-DoutputFile={listing}", "-Dstyle.color=never",
        )  # fmt: skip
        jars = sorted(_jars(listing.read_text()), key=lambda jar: jar.coordinate)
    lines = "".join(f"{jar.sha256}  {jar.size}  {jar.coordinate}\n" for jar in jars)
    (LOCKS / f"{engine}.lock").write_text(lines)
    return jars


def pom_of(coordinates: Iterable[str], exclusions: Sequence[str], managed: Iterable[str]) -> str:
    """A Maven project that depends on `coordinates`, each without `exclusions`."""
    without = "".join(f"<exclusion>{_tags(name, ('groupId', 'artifactId'))}</exclusion>" for name in exclusions)
    names = ("groupId", "artifactId", "version", "classifier")
    imports = "".join(
        f"<dependency>{_tags(pom, names)}<type>pom</type><scope>import</scope></dependency>" for pom in managed
    )
    dependencies = "".join(
        f"<dependency>{_tags(name, names)}<exclusions>{without}</exclusions></dependency>" for name in coordinates
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion>"
        "<groupId>lab</groupId><artifactId>lab</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencyManagement><dependencies>{imports}</dependencies></dependencyManagement>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def _tags(coordinate: str, names: Sequence[str]) -> str:
    parts = coordinate.split(":")
    return "".join(f"<{name}>{escape(part)}</{name}>" for name, part in zip(names, parts, strict=False))


def _jars(listing: str) -> Iterable[Jar]:
    for line in listing.splitlines():
        match = RESOLVED.match(line)
        if match is None:
            continue
        file = Path(match["file"])
        # The type is no guide to the file's ending: `bundle` and `maven-plugin` are jars too.
        if file.suffix != ".jar":
            raise LabError(f"{line.strip()} is no jar.", "exclude it in the .toml")
        data = file.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        yield Jar(sha256, len(data), match["group"], match["artifact"], match["version"], match["classifier"] or "")


def _maven(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["mvn", "--batch-mode", "--quiet", "--strict-checksums", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise LabError("Locking needs Maven, and there is no `mvn` here.", "install maven, then make lock") from None
    if done.returncode:
        raise LabError(f"Maven could not resolve the coordinates:\n{(done.stdout + done.stderr)[-3000:]}", "make lock")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lab.engines.lock", description="Write the lock file of each engine."
    )
    parser.add_argument("engines", nargs="*", default=list(FOLDERS), help="default: all of them")
    parser.add_argument("--repository", type=Path, default=ROOT / ".lab" / "maven", help="keeps what Maven downloads")
    given = parser.parse_args()
    for engine in given.engines:
        jars = lock(engine, given.repository)
        console.say(f"{engine}: {len(jars)} jars, {sum(jar.size for jar in jars) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
