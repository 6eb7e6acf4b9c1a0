"""The page, as a real browser shows it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from matplotlib.image import imread

from lab.report import page
from tests.report.browser import needs_browser, probe, screenshot

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="200" viewBox="0 0 700 200">'
    '<rect width="700" height="200" fill="#0072B2"/></svg>'
)
WIDE = (
    "| " + " | ".join(f"column {n}" for n in range(20)) + " |\n" + "| --- " * 20 + "|\n" + "| a_long_value " * 20 + "|"
)


def notebook(svg: str = SVG) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell("draw('<b>')")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data={"image/svg+xml": svg, "text/plain": 'A "plot" <x>'}),
        nbformat.v4.new_output("display_data", data={"text/markdown": WIDE}),
        nbformat.v4.new_output("display_data", data={"text/markdown": "<script>alert(1)</script>"}),
        nbformat.v4.new_output("stream", name="stdout", text="<i>printed</i>"),
    ]
    text = nbformat.v4.new_markdown_cell("# The title & more\n\nSome *text* of player01.comcast.com.")
    return nbformat.v4.new_notebook(cells=[text, cell])


@pytest.fixture
def written(tmp_path: Path) -> Path:
    target = tmp_path / "report.html"
    target.write_text(page.page(notebook()))
    return target


def test_what_a_cell_has_shown_is_text_and_not_code_of_the_page(written: Path) -> None:
    class Tags(HTMLParser):
        found: list[str] = []  # noqa: RUF012 - one parser, one page

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            self.found.append(tag)

    tags = Tags()
    tags.feed(written.read_text())
    assert not {"script", "link", "i", "b"} & set(tags.found)
    assert "<title>The title &amp; more</title>" in written.read_text()
    assert 'alt="A &quot;plot&quot; &lt;x&gt;"' in written.read_text()


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_wide_table_scrolls_in_its_box_and_the_page_does_not(written: Path, width: int) -> None:
    found = probe(written, width)
    assert (found["inner"], found["page"]) == (width, width)
    assert found["loaded"] == [], "a page that needs no other file"
    assert [(one["alt"], one["wide"]) for one in found["images"]] == [('A "plot" <x>', 700)]
    assert found["images"][0]["shown"] <= width
    assert found["tables"] == 1


@needs_browser
def test_a_picture_that_cannot_be_shown_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page.page(notebook("no picture")))
    assert probe(tmp_path / "report.html", 1280)["images"][0]["wide"] == 0


@needs_browser
def test_a_screenshot_shows_the_picture(written: Path, tmp_path: Path) -> None:
    screenshot(written, 1280, 900, tmp_path / "shot.png")
    shot = imread(tmp_path / "shot.png")
    assert shot.shape[:2] == (900, 1280)
    blue = (abs(shot[:, :, :3] - [0, 0x72 / 255, 0xB2 / 255]) < 0.02).all(axis=2)
    assert blue.sum() > 50_000
