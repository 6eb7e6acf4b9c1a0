"""Rendering, with notebooks that need no engine."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest

from lab.errors import LabError
from lab.pipeline.queries import questions
from lab.report import render
from lab.report.render import SOURCE, with_results
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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"LAB_HOME": str(tmp_path / "a lab"), "LAB_KAFKA_PORT": "19092"})


def rendered(settings: Settings, text: str) -> Path:
    source = settings.home.parent / "source.md"
    source.write_text(text)
    return render.render(settings, settings.home.parent / "report.md", source)


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
    assert text.count('<!-- #region tags=["result"] code="') == text.count("<!-- #endregion -->") == 4

    before = {path: path.read_bytes() for path in report.parent.rglob("*") if path.suffix in (".md", ".svg", ".ipynb")}
    assert len(before) == 4
    (report.parent / "report" / "figure-2.svg").write_text("of an older report")
    rendered(settings, NOTEBOOK)
    assert {path: path.read_bytes() for path in before} == before, "a second render changes no byte"
    assert not (report.parent / "report" / "figure-2.svg").exists()

    notebook = nbformat.reads((settings.home / "report.ipynb").read_text(), as_version=4)
    nbformat.validate(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert not list((settings.home / "run" / "report").glob("kernel-*.json"))


def test_a_failing_cell_is_named_and_no_report_is_written(settings: Settings) -> None:
    failing = HEADER + "```python\nx = 1\n```\n\n```python\n# the second\n1 / 0\n```\n"
    with pytest.raises(LabError) as raised:
        rendered(settings, failing)
    assert raised.value.what == (
        f"Code cell 2 of {settings.home.parent}/source.md failed, which begins with `# the second`. "
        "ZeroDivisionError: division by zero No report was written."
    )
    assert not (settings.home.parent / "report.md").exists()
    assert not (settings.home / "report.ipynb").exists()


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
    text, _ = with_results(nbformat.v4.new_notebook(cells=[cell], metadata=jupytext.reads(HEADER, "md").metadata), "r")
    (first, second) = jupytext.reads(text, "md").cells
    assert first.source == "x"
    assert second.source.endswith("\n\nafter")


def test_the_report_of_another_lab_stays_in_its_home(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "source.md"
    source.write_text(HEADER + "# Nothing to run\n")
    assert render.render(settings, source=source) == settings.home / "report.md"


def test_the_source_runs_nothing_but_python_and_asks_every_question() -> None:
    notebook = jupytext.read(SOURCE)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all("language" not in cell.metadata for cell in cells)
    assert not any(cell.source.startswith(("%", "!")) for cell in cells)
    asked = {cell.source for cell in cells}
    for question in questions():
        assert f'show("{question.name}")' in asked
        assert f"### {question.title}\n" in SOURCE.read_text()
