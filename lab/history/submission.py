"""The submission: all that is handed in, in one archive, each file with its hash.

history.txt, journal.jsonl     what was run, and what became of it
report.md, report/             the report and its figures
*.sh                           the scripts beside the history: those that it calls
lab/pipeline/                  the code whole; whoever grades compares it with the one that was released
MANIFEST.json                  the length in bytes and the SHA-256 of each
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.settings import ROOT, Settings

ARCHIVE = "submission.zip"
MANIFEST = "MANIFEST.json"
MOST_BYTES = 64 * 2**20
"""Of all that is handed in; a history and a report are a thousandth of that."""
CODE = (".py", ".sql")


@dataclass(frozen=True)
class Packed:
    """The archive, the bytes of each file in it by name, and what was looked for and is not there."""

    archive: Path
    files: dict[str, int]
    missing: list[str]


def pack(settings: Settings, folder: Path = ROOT, archive: Path | None = None) -> Packed:
    """Pack what is in `folder` and in the lab's home, by default into `folder`.

    Raises LabError without a history, or where it is too large.
    """
    if not settings.history.is_file():
        raise LabError(f"There is no history to hand in: {settings.history} is not there.", "make")
    if not (settings.home / "journal.jsonl").is_file() and _as_released(settings.history):
        raise LabError("Nothing has run here yet: the history and the report are those that the lab came with.", "make")
    found = dict(_files(settings, folder))
    size = sum(path.stat().st_size for path in found.values())
    if size > MOST_BYTES:
        largest = max(found, key=lambda name: found[name].stat().st_size)
        raise LabError(f"That is {size >> 20} MiB; {largest} is the largest of it.", f"look at {found[largest]}")
    archive = archive or folder / ARCHIVE
    beside = archive.with_suffix(".part")
    files: dict[str, int] = {}
    hashes: dict[str, str] = {}
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as whole:
            for name, path in found.items():
                data = path.read_bytes()  # once: the history may grow meanwhile
                files[name], hashes[name] = len(data), hashlib.sha256(data).hexdigest()
                whole.writestr(name, data)
            said = {name: {"bytes": files[name], "sha256": hashes[name]} for name in files}
            whole.writestr(MANIFEST, json.dumps({"files": said}, indent=1) + "\n")
        beside.replace(archive)
    finally:
        beside.unlink(missing_ok=True)
    wanted = ("history.txt", "journal.jsonl", "report.md")
    return Packed(archive, files, [one for one in wanted if one not in files])


def _as_released(history: Path) -> bool:
    """Whether git knows this history, and nothing in it was changed."""
    if shutil.which("git") is None:
        return False
    asked = ["git", "-C", str(history.parent), "status", "--porcelain", "--", history.name]
    known = ["git", "-C", str(history.parent), "ls-files", "--error-unmatch", "--", history.name]
    answers = [subprocess.run(argv, capture_output=True, timeout=30, check=False) for argv in (known, asked)]
    return all(one.returncode == 0 for one in answers) and not answers[1].stdout


def _files(settings: Settings, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files to pack, by the names that they get. A link is left out: it may lead anywhere."""
    candidates = [
        ("history.txt", settings.history),
        ("journal.jsonl", settings.home / "journal.jsonl"),
        ("report.md", settings.report),
        *((f"report/{path.name}", path) for path in sorted(settings.report.with_suffix("").glob("*.svg"))),
        *((path.name, path) for path in sorted(settings.history.parent.glob("*.sh"))),
        *(
            (path.relative_to(folder).as_posix(), path)
            for path in sorted((folder / "lab" / "pipeline").rglob("*"))
            if path.suffix in CODE
        ),
    ]
    for name, path in candidates:
        if path.is_file() and not path.is_symlink():
            yield name, path
