"""Documents are checked: what README says can be typed, and what can be typed is said."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from lab.drills.drills import DRILLS
from lab.drills.show import CONTROL
from lab.settings import ROOT, Settings
from tests.integration.conftest import planned, planned_lines

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "lab/grading/README.md", "benchmarks/README.md"])
def test_every_target_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"(?:`|\$ )(?:LAB_\w+=\S+ )?make ([a-z][a-z0-9-]*)", (ROOT / page).read_text()))
    assert named
    targets = TARGETS | {f"drill-{drill.name}" for drill in DRILLS} | {f"drill-{CONTROL}"}
    assert named <= targets, named - targets


def test_make_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    declared = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
    assert declared <= TARGETS, f"without help: {declared - TARGETS}"
    assert all(f"make {target} " in said for target in TARGETS)


def test_readme_names_every_setting_and_no_other() -> None:
    variables = set(Settings.from_env({}).to_env()) | {
        "LAB_KAFKA",
        "LAB_HDFS",
        "LAB_METASTORE",
        "LAB_PRESTO",
    }
    named = set(re.findall(r"LAB_[A-Z_]+", README))
    assert named <= variables | {"LAB_MAVEN_MIRROR", "LAB_BUNDLE", "LAB_BASE_IMAGE", "LAB_UID", "LAB_GID"}, (
        named - variables
    )
    ports = {name for name in variables if name.endswith("_PORT")}
    assert ports <= named, ports - named


def test_the_numbers_that_end_a_walk_everywhere_are_those_of_the_traffic_s_plan() -> None:
    section = README.split("### The same numbers everywhere")[1].split("###")[0]
    rows = {
        line.split("|")[1].strip(): {cell.strip() for cell in line.split("|")[2:5]}
        for line in section.splitlines()
        if line.startswith("|")
    }
    rows_of = planned()
    for table, count in rows_of.items():
        assert rows[f"rows in `{table}`"] == {str(count)}
    assert rows["requests answered"] == rows["records in the topic"] == {str(sum(rows_of.values()))}
    swords = sum(line.requests for line in planned_lines() if line.known and line.path.startswith("/purchase_a_sword/"))
    assert rows["of these in `sword_purchases`"] == {str(swords)}


def test_readme_shows_the_rates_that_were_measured() -> None:
    section = README.split("### How much for how much")[1]
    shown = [
        int(number.replace(",", ""))
        for row in re.findall(r"^\| \d \|(.*)\|$", section, re.MULTILINE)
        for number in re.findall(r"\d+,\d{3}", row)
    ]
    measured = json.loads((ROOT / "benchmarks" / "scale.json").read_text())
    assert shown == [round(row["rate"], -3) for row in measured["rows"]]
    assert f"topics of {measured['events']:,} events" in section


@pytest.mark.parametrize("folder", re.findall(r"`((?:lab|scripts|tests)/\w*/?)`", README))
def test_every_folder_on_readme_s_map_exists(folder: str) -> None:
    assert (ROOT / folder).is_dir()


def test_every_script_says_what_it_is_and_is_executable() -> None:
    for script in sorted((ROOT / "scripts").iterdir()):
        lines = script.read_text().splitlines()
        assert any(line.startswith("# ") for line in lines[:3]), f"{script.name} does not say what it is"
        assert script.name == "env.sh" or script.stat().st_mode & 0o111, f"{script.name} cannot be run"


def test_no_file_names_a_path_of_one_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if not name.endswith((".png", ".svg")) and (ROOT / name).exists():
            assert str(ROOT) + "/" not in (ROOT / name).read_text(errors="replace"), name


@pytest.mark.parametrize(
    "name", ["`touch {mark}`.txt", "$(touch {mark}).txt", '"; touch {mark}; ".txt', "a $HOME b.txt"]
)
def test_a_file_s_name_is_never_run_by_make(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    written = name.format(mark="run")
    (tmp_path / written).write_text("ls\n")
    done = subprocess.run(
        ["make", "-C", str(ROOT), "plan", f"HISTORY={tmp_path / written}"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert written in done.stdout
    assert not mark.exists()
    assert not (ROOT / "run").exists()
