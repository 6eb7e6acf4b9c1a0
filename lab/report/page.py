"""The page: an executed notebook as one HTML file, which needs no other file and no network."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from lab.report.regions import PICTURES, alt_of, first_line, merged, picture_bytes

STYLE = Path(__file__).with_name("page.css")
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")


def page(notebook: Any) -> str:
    """The page of `notebook`. Code is folded away; of what a cell has shown, HTML is taken before Markdown."""
    body = "\n".join(part for cell in notebook.cells for part in _cell(cell))
    headings = (first_line(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    title = next((line.lstrip("# ") for line in headings if line.startswith("# ")), "Report")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _cell(cell: Any) -> list[str]:
    if cell.cell_type == "markdown":
        return [_markdown(cell.source)]
    if cell.cell_type != "code":
        return []
    code = f"<details><summary>Code</summary><pre><code>{escape(cell.source)}</code></pre></details>"
    return [code, *(_output(output) for output in merged(cell.outputs))]


def _output(output: Any) -> str:
    if output.output_type == "stream":
        return f"<pre>{escape(output.text)}</pre>"
    data = output.data
    for kind in PICTURES:
        if kind in data:
            held = base64.b64encode(picture_bytes(output, kind)).decode()
            alt = escape(alt_of(output, kind), quote=True)
            return f'<figure><img src="data:{kind};base64,{held}" alt="{alt}"></figure>'
    if "text/html" in data:
        return str(data["text/html"])
    if "text/markdown" in data:
        return _markdown(data["text/markdown"])
    return f"<pre>{escape(data.get('text/plain', ''))}</pre>"


def _markdown(text: str) -> str:
    """Tables get a box of their own, in which a narrow screen scrolls."""
    html = str(_MARKDOWN.render(text))
    return html.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
