"""The bundle: one archive with all that a set-up downloads, for a class without a network.

    jars/      the engines' jars, laid out as a Maven repository
    packages/  Python's packages, as the lock names them

Nothing in it is trusted: whoever sets up from it checks each file against the locks of the checkout, as if it had come
from the network. It fits machines of the same system, processor and Python; its name says which.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from lab import console
from lab.engines.fetch import FOLDERS, place_of, read_lock
from lab.errors import LabError
from lab.settings import ROOT, Settings, shown_path

LOCK = ROOT / "requirements.lock"
SOURCES = ("pyhive", "pyspark")
"""Packages that there are as source only; `scripts/bootstrap` builds them."""
DOWNLOAD_SECONDS = 1800


def name() -> str:
    """The archive's name: for which machines it is."""
    system, processor = platform.system().lower(), platform.machine()
    return f"lab-bundle-{system}-{processor}-py{sys.version_info.major}.{sys.version_info.minor}.tar"


def make(settings: Settings, folder: Path = ROOT) -> Path:
    """Write the bundle into `folder`; returns where it stands. Raises LabError where something cannot be had."""
    target = folder / name()
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder) as work:
        packages = Path(work, "packages")
        console.say("Downloading Python's packages, as requirements.lock names them.")
        download(packages)
        jars = {
            f"jars/{jar.path_in_repository}": place_of(engine, jar, settings.cache)
            for engine in FOLDERS
            for jar in read_lock(engine)
        }
        files = {f"packages/{path.name}": path for path in sorted(packages.iterdir())} | jars
        lacking = [path for path in files.values() if not path.is_file()]
        if lacking:
            raise LabError(f"{shown_path(lacking[0])} is not there.", "make setup")
        size = sum(path.stat().st_size for path in files.values())
        console.say(f"Packing {len(files)} files, {size / 1e6:,.0f} MB.")
        part = Path(work, target.name)
        # not compressed: jars and wheels are already
        with tarfile.open(part, "w") as archive:
            for inside, path in files.items():
                archive.add(path, inside, recursive=False, filter=_anonymous)
        part.replace(target)
    return target


def download(folder: Path) -> None:
    """Bring each package of the lock into `folder`, checked against its hash. Raises LabError."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    pip += ["--require-hashes", "--no-deps", "--dest", str(folder)]
    wheels, sources = _parts(LOCK.read_text())
    for text, options in ((wheels, ["--only-binary", ":all:"]), (sources, ["--no-build-isolation"])):
        with tempfile.NamedTemporaryFile("w", suffix=".lock", dir=folder.parent) as lock:
            lock.write(text)
            lock.flush()
            argv = [*pip, *options, "-r", lock.name]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise LabError(
                f"Python's packages could not be had: {said[-1] if said else 'no reason was given'}", "make bundle"
            )


def _parts(lock: str) -> tuple[str, str]:
    """The lock's packages that come as wheels, and those that come as source."""
    parts: dict[bool, list[str]] = {False: [], True: []}
    source = False
    for line in lock.splitlines():
        if line and not line[0].isspace():
            source = line.split("==")[0] in SOURCES
        parts[source].append(line)
    return "\n".join(parts[False]) + "\n", "\n".join(parts[True]) + "\n"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the names and the times of the machine that it was made on."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode, member.mtime = 0o644, 0
    return member
