"""The submission: whole, with hashes, and nothing in it that does not belong there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.history import submission
from lab.history.submission import pack
from lab.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    (tmp_path / "lab" / "pipeline" / "sql").mkdir(parents=True)
    for name, text in {
        "history.txt": "#1795562417\nbash ab.sh\n",
        "ab.sh": "ab -n 1 http://localhost:5000/\n",
        "home/report.md": "# A report\n",
        "home/report/figure-1.svg": "<svg/>",
        "lab/pipeline/events.py": "EVENTS = ()\n",
        "lab/pipeline/sql/a.sql": "SELECT 1\n",
        "lab/pipeline/data.bin": "no code",
        "home/journal.jsonl": "{}\n",
        "secret.txt": "nobody's business",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return replace(Settings.from_env({}), home=home, history=tmp_path / "history.txt", report=home / "report.md")


def test_all_that_belongs_to_it_is_packed_with_its_hash(settings: Settings, tmp_path: Path) -> None:
    packed = pack(settings, tmp_path)
    with zipfile.ZipFile(packed.archive) as whole:
        assert whole.testzip() is None
        manifest = json.loads(whole.read("MANIFEST.json"))["files"]
        assert set(whole.namelist()) == {*manifest, "MANIFEST.json"}
        assert set(manifest) == {
            *("history.txt", "journal.jsonl", "report.md", "report/figure-1.svg", "ab.sh"),
            *("lab/pipeline/events.py", "lab/pipeline/sql/a.sql"),
        }
        for name, said in manifest.items():
            data = whole.read(name)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (said["bytes"], said["sha256"])
    assert packed.missing == []


def test_what_is_not_there_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.report.unlink()
    (settings.home / "journal.jsonl").unlink()
    assert pack(settings, tmp_path).missing == ["journal.jsonl", "report.md"]


def test_a_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "link.sh").symlink_to(tmp_path / "secret.txt")
    assert "link.sh" not in pack(settings, tmp_path).files


def test_without_a_history_there_is_nothing_to_hand_in(settings: Settings, tmp_path: Path) -> None:
    settings.history.unlink()
    with pytest.raises(LabError, match="no history"):
        pack(settings, tmp_path)


def test_what_is_too_large_is_refused_and_leaves_the_last_archive(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pack(settings, tmp_path).archive.read_bytes()
    monkeypatch.setattr(submission, "MOST_BYTES", 10)
    with pytest.raises(LabError, match="is the largest of it"):
        pack(settings, tmp_path)
    assert (tmp_path / "submission.zip").read_bytes() == before


def test_a_lab_in_which_nothing_has_run_hands_in_nothing(settings: Settings, tmp_path: Path) -> None:
    """The history and the report that a checkout comes with are nobody's work."""
    (tmp_path / "home" / "journal.jsonl").unlink()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "history.txt"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "as released"], check=True)
    with pytest.raises(LabError, match="Nothing has run here yet"):
        pack(settings, tmp_path)
    settings.history.write_text("#1\nmake step-1\n")
    assert pack(settings, tmp_path).missing == ["journal.jsonl"]
