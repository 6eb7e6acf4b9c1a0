"""Rendering and checking, with notebooks that need no engine."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from lab.errors import LabError
from lab.pipeline.queries import questions
from lab.report import check, data, regions, render
from lab.report.render import SOURCE
from lab.settings import ROOT, Settings

HEADER = """\
<!--

---
jupyter:
  jupytext:
    hide_notebook_metadata: true
    text_representation:
      extension: .md
      format_name: markdown
  kernelspec:
    display_name: Python 3
    language: python
    name: python3
---

-->

"""
NOTEBOOK = f"""{HEADER}# A report

```console
$ rm -rf nothing-is-run-here
```

```python
import os, sys
from IPython.display import Markdown, display

print("one")
print("two", flush=True)
print("three")
```

```python
display(Markdown("| a |\\n|---:|\\n| 1 |\\n\\n```sql\\nSELECT 1\\n```"))
```

```python
nothing = None
```

```python
print(os.getcwd(), os.environ["LAB_HOME"], os.environ["LAB_KAFKA_PORT"], "LAB_STRAY" in os.environ)
6 * 7
```

```python
svg = "<svg xmlns='http://www.w3.org/2000/svg'/>"
display({{"image/svg+xml": svg, "text/plain": "-"}}, raw=True, metadata={{"image/svg+xml": {{"alt": "Bars [a]"}}}})
```

The end.
"""
DATA: data.Data = {"topic": "t", "offsets": {"0": 7}, "rows": {"purchases": 7}, "files": {}, "answers": {}, "steps": {}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"LAB_HOME": str(tmp_path / "a lab"), "LAB_KAFKA_PORT": "19092"})


def seen(settings: Settings) -> data.Data:
    return DATA


def rendered(settings: Settings, text: str) -> Path:
    source = settings.home.parent / "source.md"
    source.write_text(text)
    return render.render(settings, settings.home.parent / "report.md", source, seen)


def complaints(report: Path, settings: Settings, now: data.Data = DATA) -> list[tuple[int, str]]:
    """What `make report-check` would say: the cells' numbers, and why."""
    found = check.check(settings, report, settings.home.parent / "source.md", lambda _: now)
    return [(one.cell, one.why) for one in found]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def code(path: Path) -> list[str]:
    return [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]


def results(path: Path) -> list[str]:
    return [cell.source for cell in jupytext.read(path).cells if cell.metadata.get("tags") == ["result"]]


def test_puts_each_result_after_its_cell_and_stays_a_notebook(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_STRAY", "of another lab")
    report = rendered(settings, NOTEBOOK)
    assert code(report) == code(settings.home.parent / "source.md")
    assert results(report) == [
        "```text\none\ntwo\nthree\n```",
        "| a |\n|---:|\n| 1 |\n\n```sql\nSELECT 1\n```",
        f"```text\n{ROOT} {settings.home} 19092 False\n```\n\n```text\n42\n```",
        "![Bars \\[a\\]](report/figure-1.svg)",
    ]
    assert (report.parent / "report" / "figure-1.svg").read_text() == "<svg xmlns='http://www.w3.org/2000/svg'/>"
    assert "$ rm -rf nothing-is-run-here" in report.read_text()
    text = report.read_text()
    mark = rf'<!-- #region tags=\["result"\] code="[0-9a-f]{{12}}" data="{data.digest(DATA)}" -->'
    assert len(re.findall(mark, text)) == text.count("<!-- #endregion -->") == 4

    kinds = (".md", ".svg", ".ipynb", ".html")
    before = {path: path.read_bytes() for path in report.parent.rglob("*") if path.suffix in kinds}
    assert len(before) == 5
    (report.parent / "report" / "figure-2.svg").write_text("of an older report")
    rendered(settings, NOTEBOOK)
    assert {path: path.read_bytes() for path in before} == before, "a second render changes no byte"
    assert not (report.parent / "report" / "figure-2.svg").exists()

    notebook = nbformat.reads((report.parent / "report.ipynb").read_text(), as_version=4)
    nbformat.validate(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert not list((settings.home / "run" / "report").glob("kernel-*.json"))
    assert complaints(report, settings) == []


def test_a_report_goes_through_a_notebook_and_back_without_a_loss(settings: Settings) -> None:
    text = rendered(settings, NOTEBOOK).read_text()
    notebook = json.dumps(nbformat.from_dict(jupytext.reads(text, "md")))
    assert jupytext.writes(nbformat.reads(notebook, as_version=4), fmt="md") == text


@pytest.mark.parametrize(
    ("old", "new", "cell", "why"),
    [
        ("two\nthree", "too\nthree", 1, "it was edited by hand: “too”, and a run gives “two”"),
        ("| 1 |\n\n", "| 2 |\n\n", 2, "it was edited by hand: “| 2 |”, and a run gives “| 1 |”"),
        ("42", "43", 4, "it was edited by hand"),
        ("![Bars", "![Bar", 5, "it was edited by hand"),
        ("6 * 7", "6 * 8", 4, "its code is not that of"),
        ("# A report", "# The report of 1,000,000 sales", 1, "the text before it is not that of"),
        ("The end.", "The end: 99.", 6, "the text before it is not that of"),
        ('code="', 'code="0', 1, "its code was changed after it had been run"),
        ('data="', 'data="0', 1, "the data has changed since, though the result would be the same"),
        ("```text\none\ntwo\nthree\n```\n<!-- #endregion -->", "```text\n```\n<!-- #endregion -->", 1, "by hand"),
        ("format_name: markdown", "format_name:  markdown", 0, "what stands around the cells"),
    ],
)
def test_one_changed_character_is_found_and_its_cell_named(
    settings: Settings, old: str, new: str, cell: int, why: str
) -> None:
    report = rendered(settings, NOTEBOOK)
    edit(report, old, new)
    found = complaints(report, settings)
    assert found[0][0] == cell, found
    assert why in found[0][1]


def test_a_result_that_is_taken_out_or_put_in_is_found(settings: Settings) -> None:
    report = rendered(settings, NOTEBOOK)
    text = report.read_text()
    region = re.search(r"<!-- #region .*?#endregion -->\n\n", text, re.DOTALL)
    assert region
    report.write_text(text.replace(region[0], "", 1))
    assert complaints(report, settings) == [(1, "its result is missing")]
    report.write_text(text.replace("nothing = None\n```\n\n", f"nothing = None\n```\n\n{region[0]}", 1))
    assert complaints(report, settings)[0] == (3, "it has a result, and a run gives none")


def test_results_of_other_data_are_stale_and_it_is_said_what_has_changed(settings: Settings) -> None:
    report = rendered(settings, NOTEBOOK)
    now = {**DATA, "offsets": {"0": 9}}
    found = complaints(report, settings, now)
    same = "the data has changed since, though the result would be the same: "
    assert found[0] == (1, f"{same}partition 0 of the topic had 7 records, and now 9")
    assert [cell for cell, _ in found] == [1, 2, 4, 5]


@pytest.mark.parametrize("damage", ["missing", "another"])
def test_a_picture_that_is_missing_or_another_is_found(settings: Settings, damage: str) -> None:
    report = rendered(settings, NOTEBOOK)
    picture = report.parent / "report" / "figure-1.svg"
    picture.unlink() if damage == "missing" else picture.write_text("<svg/>")
    assert complaints(report, settings) == [(5, f"its picture figure-1.svg is {damage}")]


def test_without_a_report_the_check_says_how_to_get_one(settings: Settings) -> None:
    with pytest.raises(LabError, match="There is no report") as raised:
        check.check(settings)
    assert raised.value.try_next == "make report"


def test_data_that_changes_under_a_report_stops_it(settings: Settings) -> None:
    moments = iter([DATA, {**DATA, "rows": {"purchases": 8}}])
    source = settings.home.parent / "source.md"
    source.write_text(NOTEBOOK)
    with pytest.raises(LabError, match="the table purchases had 7 rows, and now 8"):
        render.render(settings, source=source, look=lambda _: next(moments))
    assert not settings.report.exists()


def test_a_failing_cell_is_named_and_no_report_is_written(settings: Settings) -> None:
    failing = HEADER + "```python\nx = 1\n```\n\n```python\n# the second\n1 / 0\n```\n"
    with pytest.raises(LabError) as raised:
        rendered(settings, failing)
    assert raised.value.what == (
        f"Code cell 2 of {settings.home.parent}/source.md failed, which begins with `# the second`. "
        "ZeroDivisionError: division by zero No report was written."
    )
    assert {path.suffix for path in settings.home.parent.glob("report*")} == set()


def test_a_cell_that_knows_what_to_try_next_is_heard(settings: Settings) -> None:
    failing = "```python\nfrom lab.errors import LabError\nraise LabError('There is no table.', 'make step-7')\n```\n"
    with pytest.raises(LabError) as raised:
        rendered(settings, HEADER + failing)
    assert "There is no table. No report was written." in raised.value.what
    assert raised.value.try_next == "make step-7"


def test_a_kernel_that_dies_is_an_error_of_its_cell(settings: Settings) -> None:
    with pytest.raises(LabError, match=r"Code cell 1 of .*, which begins with `import os`"):
        rendered(settings, HEADER + "```python\nimport os\nos._exit(1)\n```\n")


def test_a_result_cannot_end_its_region() -> None:
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="<!-- #endregion -->\n```\n"),
        nbformat.v4.new_output("display_data", data={"text/markdown": "<!-- #endregion -->\n\nafter"}),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=jupytext.reads(HEADER, "md").metadata)
    text, _ = regions.with_results(notebook, "r", "0")
    (first, second) = jupytext.reads(text, "md").cells
    assert first.source == "x"
    assert second.source.endswith("\n\nafter")


def test_the_report_of_another_lab_stays_in_its_home(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "source.md"
    source.write_text(HEADER + "# Nothing to run\n")
    assert render.render(settings, source=source, look=seen) == settings.home / "report.md"


def test_the_source_runs_nothing_but_python_and_asks_every_question() -> None:
    notebook = jupytext.read(SOURCE)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all("language" not in cell.metadata for cell in cells)
    assert not any(cell.source.startswith(("%", "!")) for cell in cells)
    asked = "\n".join(cell.source for cell in cells)
    for question in questions():
        assert re.search(rf'(?:show|pivot|sql_of)\("{question.name}"\)', asked), question.name


def test_the_source_s_prose_holds_no_number_that_a_run_could_change() -> None:
    """Numbers come from cells; what is allowed are answers of HTTP, and names with a digit in them."""
    prose = "\n".join(cell.source for cell in jupytext.read(SOURCE).cells if cell.cell_type == "markdown")
    prose = re.sub(r"```.*?```|^#+ \d\.|`[^`]*`", "", prose, flags=re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"\d(?:[\d,.]*\d)?\w*", prose)) <= {"2xx", "404", "503"}


def test_the_committed_report_has_a_result_of_one_run_for_each_cell_that_shows_something() -> None:
    blocks = regions.blocks((ROOT / "report.md").read_text())
    shown = [block for block in blocks if block.result is not None]
    assert len({block.data_hash for block in shown}) == 1
    assert all(block.code_hash == regions.hash_of(block.code) for block in shown)
    figures = set(re.findall(r"\(report/(figure-\d+\.svg)\)", "\n".join(block.result or "" for block in shown)))
    assert figures == {path.name for path in (ROOT / "report").iterdir()}
    source = regions.blocks(SOURCE.read_text())
    assert [(block.before, block.code) for block in blocks] == [(block.before, block.code) for block in source]
