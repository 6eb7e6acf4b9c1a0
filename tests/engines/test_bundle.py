"""The bundle: what is in it, and that it is not trusted."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab.engines import bundle, fetch
from lab.engines.fetch import Jar, place_of
from lab.errors import LabError
from lab.settings import Settings


def jar(data: bytes) -> Jar:
    return Jar(hashlib.sha256(data).hexdigest(), len(data), "org.x", "a", "1.0")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """One engine with one jar, and a lock with one package, which is had without a network."""
    one = jar(b"the jar")
    for module in (fetch, bundle):
        monkeypatch.setattr(module, "FOLDERS", {"kafka": "kafka"})
        monkeypatch.setattr(module, "read_lock", lambda engine: [one])

    def download(folder: Path) -> None:
        folder.mkdir()
        (folder / "x-1.0-py3-none-any.whl").write_bytes(b"the package")

    monkeypatch.setattr(bundle, "download", download)
    settings = replace(Settings.from_env({}), cache=tmp_path / "cache")
    place = place_of("kafka", one, settings.cache)
    place.parent.mkdir(parents=True)
    place.write_bytes(b"the jar")
    return settings


def test_it_holds_the_jars_as_a_repository_and_the_packages(settings: Settings, tmp_path: Path) -> None:
    made = bundle.make(settings, tmp_path)
    with tarfile.open(made) as archive:
        assert archive.getnames() == ["packages/x-1.0-py3-none-any.whl", "jars/org/x/a/1.0/a-1.0.jar"]
        assert {(one.uname, one.mtime, one.mode) for one in archive} == {("", 0, 0o644)}
    assert made.name.endswith(".tar")
    first = made.read_bytes()
    assert bundle.make(settings, tmp_path).read_bytes() == first, "the same files make the same bundle"
    assert not list(tmp_path.glob(".bundle-*"))


def test_jars_come_from_an_unpacked_bundle_and_are_checked(settings: Settings, tmp_path: Path) -> None:
    with tarfile.open(bundle.make(settings, tmp_path)) as archive:
        archive.extractall(tmp_path / "un packed", filter="data")
    mirror = f"file://{tmp_path}/un packed/jars"
    fetch.fetch(["kafka"], tmp_path / "new", mirror)
    assert (tmp_path / "new" / "kafka" / "a-1.0.jar").read_bytes() == b"the jar"
    (tmp_path / "un packed" / "jars" / "org" / "x" / "a" / "1.0" / "a-1.0.jar").write_bytes(b"a jar..")
    with pytest.raises(LabError, match="is not what its lock says"):
        fetch.fetch(["kafka"], tmp_path / "other", mirror)


def test_a_jar_that_the_bundle_lacks_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"org\.x:a:1\.0 is not there"):
        fetch.fetch(["kafka"], tmp_path / "new", f"file://{tmp_path}/nothing")


def test_without_a_whole_set_up_there_is_no_bundle(settings: Settings, tmp_path: Path) -> None:
    place_of("kafka", jar(b"the jar"), settings.cache).unlink()
    with pytest.raises(LabError, match="is not there"):
        bundle.make(settings, tmp_path)
    assert not list(tmp_path.glob("*.tar"))


def test_the_lock_is_parted_as_the_set_up_parts_it() -> None:
    wheels, sources = bundle._parts(bundle.LOCK.read_text())
    assert {line.split("==")[0] for line in sources.splitlines() if line and not line[0].isspace()} == {
        "pyspark",
        "pyhive",
    }
    assert "flask==" in wheels
    assert not any(f"\n{name}==" in wheels for name in bundle.SOURCES)
