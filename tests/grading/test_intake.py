"""The intake: copies what is looked at, follows nothing out of a submission, and refuses what no student hands in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from lab.grading import intake
from lab.grading.intake import RELEASED, NotTaken, take


def folder(tmp_path: Path, **files: str) -> Path:
    made = tmp_path / "handed in"
    for name, text in files.items():
        path = made / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


def archive(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "handed in.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, data in files.items():
            whole.writestr(name, data)
    return path


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_takes_what_is_looked_at_and_nothing_else(tmp_path: Path) -> None:
    files = dict.fromkeys(
        ("history.txt", "report.md", "ab.sh", "scripts/more.sh", "lab/pipeline/events.py", "lab/pipeline/sql/a.sql"),
        "x",
    ) | dict.fromkeys(("results.json", "lab/grading/checks.py", "lab/cli.py", ".venv/bin/python", "data.parquet"), "y")
    source = folder(tmp_path)
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    taken = take(source, tmp_path / "taken")
    assert names(taken.folder) == {name for name, text in files.items() if text == "x"}


@pytest.mark.parametrize("top", ["", "team-a/"])
def test_an_archive_is_taken_like_a_folder(tmp_path: Path, top: str) -> None:
    source = archive(tmp_path, {f"{top}history.txt": b"make\n", f"{top}lab/pipeline/events.py": b"1"})
    taken = take(source, tmp_path / "taken")
    assert names(taken.folder) == {"history.txt", "lab/pipeline/events.py"}
    assert taken.changed == ["events.py"]


def test_a_history_alone_brings_the_scripts_and_the_report_beside_it(tmp_path: Path) -> None:
    source = folder(tmp_path, mine_dot_txt="bash ab.sh\n", ab_dot_sh="make\n", report_dot_md="# A report\n")
    taken = take(source / "mine.txt", tmp_path / "taken")
    assert names(taken.folder) == {"history.txt", "ab.sh", "report.md"}
    assert taken.history.read_text() == "bash ab.sh\n"


def test_a_history_of_another_name_is_taken_and_said(tmp_path: Path) -> None:
    taken = take(folder(tmp_path, **{"me-history_dot_txt": "make\n"}), tmp_path / "taken")
    assert taken.history.read_text() == "make\n"
    assert "me-history.txt was taken for it" in taken.notes[0]


def test_without_a_history_it_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(NotTaken, match="There is no history in it"):
        take(folder(tmp_path, report_dot_md="# A report\n"), tmp_path / "taken")


def test_no_link_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the key")
    source = folder(tmp_path, history_dot_txt="make\n")
    (source / "ab.sh").symlink_to(secret)
    (source / "lab").symlink_to(tmp_path)
    (source / "report.md").symlink_to(source / "report.md")
    assert names(take(source, tmp_path / "taken").folder) == {"history.txt"}


def test_a_pipe_where_a_file_should_be_stops_nothing(tmp_path: Path) -> None:
    source = folder(tmp_path, history_dot_txt="make\n")
    os.mkfifo(source / "report.md")
    assert names(take(source, tmp_path / "taken").folder) == {"history.txt"}


@pytest.mark.parametrize(
    "name", ["../evil.sh", "/tmp/evil.sh", "a/../../evil.sh", "lab/pipeline/../../evil.py", "C:\\evil.sh"]
)
def test_no_name_in_an_archive_leads_out_of_it(tmp_path: Path, name: str) -> None:
    take(archive(tmp_path, {"history.txt": b"make\n", name: b"rm -rf /\n"}), tmp_path / "deep" / "taken")
    assert names(tmp_path / "deep") == {"taken/history.txt"}


def test_a_link_in_an_archive_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "handed in.zip"
    link = zipfile.ZipInfo("report.md")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source, "w") as whole:
        whole.writestr("history.txt", "make\n")
        whole.writestr(link, "/etc/passwd")
    assert names(take(source, tmp_path / "taken").folder) == {"history.txt"}


def test_an_archive_that_swells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotTaken, match="larger than 64 MiB"):
        take(archive(tmp_path, {"history.txt": bytes(intake.MOST_BYTES + 10)}), tmp_path / "taken")


def test_an_archive_that_lies_about_lengths_is_refused(tmp_path: Path) -> None:
    source = archive(tmp_path, {"history.txt": b"make\n" * 1000})
    data = bytearray(source.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (10).to_bytes(4, "little")
    source.write_bytes(bytes(data))
    with pytest.raises(NotTaken, match="cannot be read"):
        take(source, tmp_path / "taken")


def test_a_history_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    source = folder(tmp_path, history_dot_txt="")
    os.truncate(source / "history.txt", 5 * 2**30)
    with pytest.raises(NotTaken, match="larger than"):
        take(source, tmp_path / "taken")


def test_what_was_changed_after_packing_is_said(tmp_path: Path) -> None:
    manifest = json.dumps({"files": {"history.txt": {"bytes": 5, "sha256": "0" * 64}}})
    source = archive(tmp_path, {"history.txt": b"make\n", "MANIFEST.json": manifest.encode()})
    assert take(source, tmp_path / "taken").notes == ("history.txt was changed after make submit packed it.",)


@pytest.mark.parametrize("manifest", [b"", b"[]", b'{"files": 3}', b'{"files": {"a": null}}', b"[" * 100_000, b"\xff"])
def test_a_manifest_that_is_none_stops_nothing(tmp_path: Path, manifest: bytes) -> None:
    taken = take(archive(tmp_path, {"history.txt": b"make\n", "MANIFEST.json": manifest}), tmp_path / "taken")
    assert taken.notes == ("MANIFEST.json is not as make submit writes it.",)


def test_the_released_pipeline_counts_as_unchanged(tmp_path: Path) -> None:
    source = folder(tmp_path, history_dot_txt="make\n")
    shutil.copytree(RELEASED, source / "lab" / "pipeline")
    taken = take(source, tmp_path / "taken")
    assert taken.pipeline(tmp_path / "pipeline") is None


def test_a_changed_file_stands_in_the_place_of_the_released_one(tmp_path: Path) -> None:
    source = folder(tmp_path, history_dot_txt="make\n", lab__pipeline__queries_dot_py="mine = 1\n")
    pipeline = take(source, tmp_path / "taken").pipeline(tmp_path / "pipeline")
    assert pipeline is not None
    assert (pipeline / "queries.py").read_text() == "mine = 1\n"
    assert (pipeline / "events.py").read_text() == (RELEASED / "events.py").read_text()


def test_the_same_content_has_the_same_digest(tmp_path: Path) -> None:
    one = take(archive(tmp_path, {"history.txt": b"make\n", "ab.sh": b"make\n"}), tmp_path / "a")
    other = take(folder(tmp_path, history_dot_txt="make\n", ab_dot_sh="make\n"), tmp_path / "b")
    third = take(folder(tmp_path, history_dot_txt="make\n", ab_dot_sh="make stop\n"), tmp_path / "c")
    assert one.digest == other.digest != third.digest


def test_rubbish_is_no_archive_and_no_traceback(tmp_path: Path) -> None:
    good = io.BytesIO()
    with zipfile.ZipFile(good, "w") as whole:
        whole.writestr("history.txt", "make\n" * 100)
    for number, cut in enumerate(range(0, len(good.getvalue()), 7)):
        source = tmp_path / f"{number}.zip"
        source.write_bytes(good.getvalue()[cut:])
        with contextlib.suppress(NotTaken):
            take(source, tmp_path / "taken")


@pytest.mark.parametrize(
    "inside", ["project 3/", "project 3/deep/", "a/"], ids=["one folder", "a folder in a folder", "beside a Mac's own"]
)
def test_an_archive_of_a_folder_is_taken_with_or_without_what_a_mac_adds(tmp_path: Path, inside: str) -> None:
    files = {f"{inside}history.txt": b"make\n", f"{inside}report.md": b"# x\n", "__MACOSX/a/._history.txt": b"\0"}
    taken = take(archive(tmp_path, {**files, f"{inside}.DS_Store": b"x"}), tmp_path / "taken")
    assert names(taken.folder) == {"history.txt", "report.md"}
    assert taken.notes == ()


def test_a_folder_in_a_folder_is_taken(tmp_path: Path) -> None:
    made = folder(tmp_path, a__b__history_dot_txt="make\n", a__b__report_dot_md="x", a__history_old="no")
    assert names(take(made, tmp_path / "taken").folder) == {"history.txt", "report.md"}


@pytest.mark.parametrize("name", ["handed in.zip", "no name of an archive"])
def test_an_archive_that_was_cut_off_is_called_so(tmp_path: Path, name: str) -> None:
    whole = archive(tmp_path, {"history.txt": b"make\n" * 1000}).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NotTaken, match="damaged, or was cut off"):
        take(tmp_path / name, tmp_path / "taken")


def test_an_archive_of_another_kind_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "mine.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(NotTaken, match="another kind than zip"):
        take(tmp_path / "mine.tar.gz", tmp_path / "taken")
