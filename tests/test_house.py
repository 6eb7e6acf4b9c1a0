"""Who may import what, and which library has which door: held here, so that the rooms stay apart."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from lab.settings import ROOT

LAB = ROOT / "lab"
FOUNDATION = {"settings", "errors", "console", "atomic", "neighbour", "kafka_client"}
ROOMS = {
    "errors": set(),
    "settings": {"errors"},
    "atomic": set(),
    "console": {"errors"},
    "neighbour": {"settings", "errors"},
    "kafka_client": {"settings", "errors"},
    "engines": FOUNDATION,
    "pipeline": FOUNDATION,
    "ledger": FOUNDATION | {"pipeline"},
    "history": FOUNDATION,
    "report": FOUNDATION | {"pipeline", "ledger"},
    "steps": FOUNDATION | {"engines", "pipeline", "ledger", "history"},
    "drills": FOUNDATION | {"engines", "pipeline", "ledger", "steps"},
    # The examiner does not trust the examined: it asks the engines over the wire, with clients of its own.
    "grading": FOUNDATION | {"history"},
}
"""Each room, and the others that it may import. What is not named (cli, doctor, status, watch) may import all."""

DOORS = {
    "flask": {"pipeline/game_api.py"},
    "gunicorn": {"pipeline/gunicorn_conf.py", "pipeline/game_api.py"},
    "kafka": {"pipeline/event_log.py", "engines/probes.py", "drills/load.py", "grading/wire.py"},
    "thrift": {"pipeline/metastore.py", "engines/probes.py", "grading/wire.py"},
    "pymetastore": {"pipeline/metastore.py", "grading/wire.py"},
    "pyhive": {"pipeline/queries.py", "engines/probes.py", "grading/wire.py"},
    "tabulate": {"console.py"},
    "jupytext": {"report/regions.py", "grading/reading.py"},
    "scipy": {"report/analysis.py"},
    "markdown_it": {"report/page.py"},
    "sqlite3": {"pipeline/guild_book.py"},
    "duckdb": {"grading/landed.py"},
    "tree_sitter": {"history/grammar.py"},
    "tree_sitter_bash": {"history/grammar.py"},
}
"""Libraries that are spoken to in few places: readiness asks the engines with clients of its own."""

# What the example class has handed in is a student's, and lives in no room of the lab.
FILES = sorted(path for path in LAB.rglob("*.py") if "example_class" not in path.parts)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LAB)))
def test_a_room_imports_only_what_the_plan_lets_it(path: Path) -> None:
    room = path.relative_to(LAB).parts[0].removesuffix(".py")
    allowed = ROOMS.get(room)
    if allowed is None:
        return
    entered = {room_of(name) for name in imported(path) if name.startswith("lab.")} - {"", room}
    known = {each for each in entered if (LAB / each).is_dir() or (LAB / f"{each}.py").exists()}
    assert known <= allowed, f"{path.relative_to(ROOT)} enters {sorted(known - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LAB)))
def test_a_library_is_used_behind_its_door_only(path: Path) -> None:
    here = path.relative_to(LAB).as_posix()
    tops = {name.split(".")[0] for name in imported(path)}
    trespassed = [library for library, doors in DOORS.items() if library in tops and here not in doors]
    assert not trespassed, f"{here} imports {trespassed}"


def test_nobody_imports_the_command_line() -> None:
    users = [path for path in FILES if "lab.cli" in imported(path) and path.name != "__main__.py"]
    assert not users


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LAB)))
def test_a_module_opens_with_what_it_owns(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path} has no docstring"


def test_no_module_beside_a_job_is_named_like_a_library() -> None:
    """A job is run as a script: the modules beside it come first on its path."""
    names = {path.stem for path in (LAB / "pipeline").glob("*.py")} - {"__init__"}
    assert not names & (set(sys.stdlib_module_names) | set(DOORS) | {"pyspark", "requests"})
