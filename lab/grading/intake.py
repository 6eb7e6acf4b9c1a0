"""The intake: takes what was handed in, a folder, an archive or a history alone, and copies what is looked at.

Nothing of it is trusted: links are not followed, names lead nowhere else, and what is larger than any honest submission
is refused before it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lab.history.plan import shown
from lab.settings import ROOT

MOST_BYTES = 64 * 2**20
"""Of all files together, unpacked."""
MOST_FILES = 2_000
MOST_HISTORY_BYTES = 16 * 2**20
CODE = re.compile(r"lab/pipeline/(?:[\w-]+/){0,3}[\w-]+\.(?:py|sql)")
WANTED = re.compile(rf"history\.txt|report\.md|journal\.jsonl|MANIFEST\.json|(?:[\w-]+/)?[\w.-]+\.sh|{CODE.pattern}")
"""The names of the files that are looked at. Others are left where they are."""
HISTORIES = re.compile(r".*history.*(?:\.txt)?", re.IGNORECASE)
"""Names that a history may go by where there is no `history.txt`."""

OTHER_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2", ".7z", ".rar", ".gz")
NOISE = re.compile(r"(?:.*/)?(?:__MACOSX|\._[^/]*|\.DS_Store)(?:/.*)?")
"""What a Mac puts into an archive beside the files."""

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile)
"""What reading a file or an archive can raise."""
RELEASED = ROOT / "lab" / "pipeline"


class NotTaken(Exception):
    """A submission that is not taken, and why; a sentence."""


@dataclass(frozen=True)
class Submission:
    """What is looked at, copied into `folder`. `notes` are for the student: what was odd about it."""

    name: str
    folder: Path
    digest: str
    notes: tuple[str, ...] = ()
    handed_in: float | None = field(default=None, compare=False)
    """When, as a Unix time, where somebody else than the student says so."""

    @property
    def history(self) -> Path:
        return self.folder / "history.txt"

    @property
    def report(self) -> Path:
        return self.folder / "report.md"

    @property
    def changed(self) -> list[str]:
        """The files of `lab/pipeline` that were handed in and are not as they were released."""
        own = self.folder / "lab" / "pipeline"
        return sorted(
            name
            for name in (path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file())
            if not (RELEASED / name).is_file() or (RELEASED / name).read_bytes() != (own / name).read_bytes()
        )

    def pipeline(self, folder: Path) -> Path | None:
        """Make `folder` the released pipeline with what was handed in upon it; None where nothing was changed."""
        if not self.changed:
            return None
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(RELEASED, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name in self.changed:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / "lab" / "pipeline" / name, folder / name)
        return folder


def take(source: Path, folder: Path, name: str | None = None) -> Submission:
    """Copy what is looked at from `source` into `folder`, which is emptied first. Raises NotTaken."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        found = dict(_of_archive(source) if _is_archive(source) else _of_files(source))
    except UNREADABLE as error:
        raise NotTaken(f"It cannot be read: {error}") from error
    notes = []
    if "history.txt" not in found:
        others = sorted(other for other in found if HISTORIES.fullmatch(other))
        if not others:
            raise NotTaken("There is no history in it: history.txt is what is graded.")
        notes.append(f"There is no history.txt; {shown(others[0])} was taken for it.")
        found["history.txt"] = found.pop(others[0])
    if len(found["history.txt"]) > MOST_HISTORY_BYTES:
        raise NotTaken(f"The history is larger than {MOST_HISTORY_BYTES >> 20} MiB.")
    notes += _against_manifest(found)
    digest = hashlib.sha256()
    for inside, data in sorted(found.items()):
        if inside != "history.txt" and not WANTED.fullmatch(inside):
            continue
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        digest.update(f"{inside}\0{len(data)}\0".encode())
        digest.update(data)
    return Submission(name or source.name, folder, digest.hexdigest(), tuple(notes))


def _is_archive(source: Path) -> bool:
    """Raises NotTaken for an archive that is damaged, or of another kind than zip."""
    if not source.is_file() or source.is_symlink():
        return False
    if zipfile.is_zipfile(source):
        return True
    with source.open("rb") as file:
        begins = file.read(4)
    if source.suffix.lower() == ".zip" or begins == b"PK\x03\x04":
        raise NotTaken("The zip archive is damaged, or was cut off.")
    if "".join(source.suffixes[-2:]).lower().endswith(OTHER_ARCHIVES):
        raise NotTaken("It is an archive of another kind than zip.")
    return False


def _wanted(inside: str) -> bool:
    return bool(WANTED.fullmatch(inside) or ("/" not in inside and HISTORIES.fullmatch(inside)))


def _of_files(source: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a folder; or a history alone, with the report and the scripts that stand beside it."""
    if source.is_symlink() or not source.exists():
        raise NotTaken("It is not there." if not source.exists() else "It is a link.")
    alone = source.is_file()
    root = source.parent if alone else _root(source)
    if alone:
        yield "history.txt", _read(source)
    total = count = 0
    waiting = [root]
    while waiting:
        here = waiting.pop()
        for path in sorted(here.iterdir()):
            kind = path.lstat().st_mode
            inside = path.relative_to(root).as_posix()
            if stat.S_ISDIR(kind) and not alone and inside.count("/") < 5 and not path.name.startswith("."):
                waiting.append(path)
            if not stat.S_ISREG(kind) or not _wanted(inside) or (alone and HISTORIES.fullmatch(inside)):
                continue
            count, total = count + 1, total + path.lstat().st_size
            if count > MOST_FILES or total > MOST_BYTES:
                raise NotTaken(f"It is larger than {MOST_BYTES >> 20} MiB, or more than {MOST_FILES:,} files.")
            yield inside, _read(path)


def _root(folder: Path) -> Path:
    """Where in a folder the submission proper is: where its history.txt lies, the outermost of them."""
    here = [folder]
    for _ in range(4):
        for path in here:
            if (path / "history.txt").is_file():
                return path
        here = [
            inside
            for path in here
            for inside in sorted(path.iterdir())
            if inside.is_dir() and not inside.is_symlink() and not inside.name.startswith((".", "__MACOSX"))
        ][:MOST_FILES]
    return folder


def _read(path: Path) -> bytes:
    if path.lstat().st_size > MOST_BYTES:
        raise NotTaken(f"It is larger than {MOST_BYTES >> 20} MiB.")
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _of_archive(source: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        if len(members) > MOST_FILES * 10:
            raise NotTaken(f"The archive holds more than {MOST_FILES * 10:,} files.")
        members = [member for member in members if not NOISE.fullmatch(member.filename)]
        top = _top([member.filename for member in members])
        for member in members:
            inside = member.filename.removeprefix(top)
            parts = PurePosixPath(inside).parts
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir() or ".." in parts or inside.startswith("/") or kind not in (0, stat.S_IFREG):
                continue
            if not _wanted(inside):
                continue
            left = MOST_BYTES - total
            with archive.open(member) as file:  # the length that the archive names may be a lie
                data = file.read(left + 1)
            total += len(data)
            if total > MOST_BYTES:
                raise NotTaken(f"Unpacked it is larger than {MOST_BYTES >> 20} MiB.")
            yield inside, data


def _top(names: Iterable[str]) -> str:
    """The folder, with a slash, that the submission proper is in: where its history.txt lies, the outermost of them."""
    names = list(names)
    histories = [name for name in names if PurePosixPath(name).name == "history.txt"]
    if histories:
        return min(histories, key=lambda name: (name.count("/"), name)).removesuffix("history.txt")
    tops = {name.partition("/")[0] for name in names}
    if len(tops) != 1 or any("/" not in name for name in names) or tops == {"lab"}:
        return ""
    return f"{tops.pop()}/"


def _against_manifest(found: dict[str, bytes]) -> list[str]:
    """What `make submit` noted of each file, and is not so."""
    if "MANIFEST.json" not in found:
        return []
    try:
        said = json.loads(found["MANIFEST.json"])["files"]
        hashes = {str(name): str(one["sha256"]) for name, one in said.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ["MANIFEST.json is not as make submit writes it."]
    return [
        f"{shown(name)} was changed after make submit packed it."
        for name, data in sorted(found.items())
        if name in hashes and hashlib.sha256(data).hexdigest() != hashes[name]
    ]
