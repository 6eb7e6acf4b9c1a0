"""The bundle: Gradescope's two scripts, and the lab as git knows it."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from lab.grading import autograder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    with zipfile.ZipFile(autograder.make(folder)) as whole:
        whole.extractall(folder / "source")
        for name in ("setup.sh", "run_autograder"):
            assert whole.getinfo(name).external_attr >> 16 & 0o111, name
    assert {path.name for path in folder.iterdir()} == {"source", autograder.BUNDLE}
    return folder


def test_the_lab_is_in_it_and_nothing_that_git_ignores(unpacked: Path) -> None:
    lab = unpacked / "source" / autograder.INSIDE
    assert (lab / "Makefile").is_file()
    assert (lab / "lab" / "grading" / "rubric.toml").is_file()
    assert not {".venv", ".lab", "grade", ".git"} & {path.name for path in lab.iterdir()}


@pytest.mark.parametrize("script", ["setup.sh", "run_autograder"])
def test_its_scripts_are_shell(unpacked: Path, script: str) -> None:
    subprocess.run(["sh", "-n", str(unpacked / "source" / script)], check=True)


@pytest.mark.parametrize(
    ("makes", "status"), [("mkdir -p $RESULTS; echo {} > $RESULTS/results.json; exit 1", 0), ("exit 2", 1)]
)
def test_a_run_succeeds_where_results_were_written(unpacked: Path, tmp_path: Path, makes: str, status: int) -> None:
    """With a `make` that only writes results, or does not."""
    fake = tmp_path / "make"
    fake.write_text(f'#!/bin/sh\nRESULTS=${{5#RESULTS=}}\necho "$@" > {tmp_path}/said\n{makes}\n')
    fake.chmod(0o755)
    root = tmp_path / "autograder"
    environment = {**os.environ, "AUTOGRADER": str(root), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(unpacked / "source" / "run_autograder")], env=environment)
    assert done.returncode == status
    said = (tmp_path / "said").read_text().split()
    assert said == [
        "-C",
        f"{root}/source/{autograder.INSIDE}",
        "grade",
        f"SUBMISSION={root}/submission",
        f"RESULTS={root}/results",
    ]
