"""Results in Markdown: a notebook with its outputs, in a text format that has no place for outputs.

What a code cell has shown becomes a Markdown cell after it, between `<!-- #region -->` marks. The mark says that it is
a `result`, and carries two hashes: of the code that gave it, and of the data that the code saw.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import jupytext
import nbformat

from lab.report.markdown import close_no_region, escape, fence

RESULT = "result"
PICTURES = {"image/svg+xml": "svg", "image/png": "png"}


@dataclass(frozen=True)
class Block:
    """A code cell of a report, by its number from 1 on: the Markdown before it, and what it has shown.

    The last block of a report has the text that follows the last code cell, and no code.
    """

    number: int
    before: tuple[str, ...]
    code: str
    result: str | None = None
    code_hash: str = ""
    data_hash: str = ""


def read(text: str) -> Any:
    """The notebook that `text`, Markdown, is. Its cells have ids that are the same each time."""
    notebook = jupytext.reads(text, fmt="md")
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"  # jupytext draws lots, and the notebook would differ each time
    return notebook


def with_results(notebook: Any, folder: str, data_hash: str) -> tuple[str, dict[str, bytes]]:
    """The executed `notebook` as Markdown with its results, and its pictures by their names in `folder`."""
    cells: list[Any] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        cells.append(nbformat.v4.new_code_cell(cell.source, metadata=_own_metadata(cell)))
        shown = [_as_markdown(output, folder, pictures) for output in merged(cell.outputs)]
        text = "\n\n".join(part for part in shown if part)
        if text:
            metadata = {"tags": [RESULT], "code": hash_of(cell.source), "data": data_hash}
            cells.append(nbformat.v4.new_markdown_cell(text, metadata=metadata))
    report = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    return str(jupytext.writes(report, fmt="md")), pictures


def blocks(text: str) -> list[Block]:
    """The blocks of a report."""
    found: list[Block] = []
    before: list[str] = []
    for cell in read(text).cells:
        if cell.cell_type == "code":
            found.append(Block(len(found) + 1, tuple(before), cell.source))
            before = []
        elif _is_result(cell) and found and not before and found[-1].result is None:
            code, data = (str(cell.metadata.get(name, "")) for name in ("code", "data"))
            found[-1] = replace(found[-1], result=cell.source, code_hash=code, data_hash=data)
        else:
            before.append(cell.source)
    return [*found, Block(len(found) + 1, tuple(before), "")]


def hash_of(text: str) -> str:
    """Twelve hexadecimal digits that stand for `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def first_line(code: str) -> str:
    """What a cell begins with, for a person to find it."""
    lines = code.strip().splitlines()
    return lines[0][:80] if lines else ""


def merged(outputs: list[Any]) -> list[Any]:
    """Outputs with what was printed in several pieces put together: how it is cut is a matter of time."""
    together: list[Any] = []
    for output in outputs:
        last = together[-1] if together else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            together[-1] = nbformat.v4.new_output("stream", name=last.name, text=last.text + output.text)
        else:
            together.append(output)
    return together


def alt_of(output: Any, kind: str) -> str:
    """What a picture shows, in words."""
    return str(output.metadata.get(kind, {}).get("alt") or output.data.get("text/plain", ""))


def picture_bytes(output: Any, kind: str) -> bytes:
    """A picture as a file holds it: notebooks hold SVG as text, and others in base64."""
    held = output.data[kind]
    return held.encode() if kind == "image/svg+xml" else base64.b64decode(held)


def _as_markdown(output: Any, folder: str, pictures: dict[str, bytes]) -> str:
    if output.output_type == "stream":
        return fence(output.text)
    for kind, suffix in PICTURES.items():
        if kind in output.data:
            name = f"figure-{len(pictures) + 1}.{suffix}"
            pictures[name] = picture_bytes(output, kind)
            return f"![{escape(alt_of(output, kind) or name)}]({folder}/{name})"
    if "text/markdown" in output.data:
        return close_no_region(output.data["text/markdown"].strip("\n"))
    return fence(output.data.get("text/plain", ""))


def _is_result(cell: Any) -> bool:
    return cell.cell_type == "markdown" and RESULT in cell.metadata.get("tags", [])


def _own_metadata(cell: Any) -> dict[str, Any]:
    return {name: value for name, value in cell.metadata.items() if name != "execution"}
