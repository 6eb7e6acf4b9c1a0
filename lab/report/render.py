"""Rendering: executes the report's source, and writes it again with the results in it.

The source and the report are notebooks in jupytext's Markdown, which holds no outputs. So what a code cell has shown
becomes a Markdown cell after it, tagged `result`; pictures become files beside the report. The source alone is the
input: an old report is never read.
"""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, CellTimeoutError, DeadKernelError

from lab import atomic, console
from lab.errors import LabError
from lab.report.markdown import close_no_region, escape, fence
from lab.settings import LOOPBACK, ROOT, Settings, shown_path

SOURCE = Path(__file__).with_name("source.md")
CELL_SECONDS = 300
PICTURES = {"image/svg+xml": "svg", "image/png": "png"}


def render(settings: Settings, target: Path | None = None, source: Path = SOURCE) -> Path:
    """Execute `source` against the running lab, and write the report to `target`; returns where it stands.

    Without a `target` it is the checkout's `report.md`; that of a lab with a home of its own is in that home.
    An executed notebook goes to the lab's home. Raises LabError, and writes nothing, when a cell fails.
    """
    target = target or settings.report
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id = f"cell-{number}"  # jupytext draws lots, and the notebook would differ each time
    execute(notebook, settings, source)
    atomic.write_text(settings.home / "report.ipynb", nbformat.writes(notebook) + "\n")
    text, pictures = with_results(notebook, target.stem)
    folder = target.with_suffix("")
    for stale in folder.glob("figure-*"):
        if stale.name not in pictures:
            stale.unlink()
    for name, picture in pictures.items():
        atomic.write_text(folder / name, picture) if isinstance(picture, str) else _write_bytes(folder / name, picture)
    atomic.write_text(target, text)
    notebook = shown_path(settings.home / "report.ipynb")
    console.say(f"Rendered {shown_path(target)}, and as an executed notebook {notebook}.")
    return target


def execute(notebook: Any, settings: Settings, source: Path = SOURCE) -> None:
    """Run the code cells of `notebook` in a new kernel, and put their outputs into it. Raises LabError."""
    work = settings.home / "run" / "report"
    work.mkdir(parents=True, exist_ok=True)
    manager = AsyncKernelManager(
        kernel_spec_manager=_ThisPython(),
        connection_file=str(work / f"kernel-{os.getpid()}.json"),
        transport="tcp",
        ip=LOOPBACK,
        transport_encryption="auto",  # others on this machine may listen on loopback
    )
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    current = 0

    with console.err.status("Starting the kernel …") as status:

        def show_progress(cell: Any, cell_index: int) -> None:
            nonlocal current
            current = cell_index
            done = code.index(cell_index) + 1
            status.update(f"Cell {done} of {len(code)}: {_first_line(cell)}")

        client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_SECONDS,
            record_timing=False,
            resources={"metadata": {"path": str(ROOT)}},
            on_cell_execute=show_progress,
        )
        try:
            client.execute(cleanup_kc=True, env=kernel_environment(settings, work))
        except CellExecutionError as error:
            cell = notebook.cells[current]
            raise _cell_failed(cell, code.index(current) + 1, source, error.ename, error.evalue) from error
        except (CellTimeoutError, DeadKernelError, CellControlSignal) as error:
            cell = notebook.cells[current]
            reason = str(error).splitlines()[0]
            raise _cell_failed(cell, code.index(current) + 1, source, type(error).__name__, reason) from error
        finally:
            with suppress(FileNotFoundError):
                Path(manager.connection_file).unlink()


def kernel_environment(settings: Settings, work: Path) -> dict[str, str]:
    """What the kernel sees: this lab and no other, the lab's commands, and no file of the person's home."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "JUPYTER_"))}
    path = os.pathsep.join([str(ROOT / "scripts"), os.environ.get("PATH", os.defpath)])
    return (
        environment
        | settings.to_env()
        | {
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "TZ": "UTC",
            "IPYTHONDIR": str(work / "ipython"),
            "JUPYTER_CONFIG_DIR": str(work / "jupyter"),
            "JUPYTER_DATA_DIR": str(work / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(work / "jupyter"),
            # outlives the lab: it holds what is known of the machine's fonts, which takes seconds to find out
            "MPLCONFIGDIR": str(settings.cache / "matplotlib"),
        }
    )


def with_results(notebook: Any, folder: str) -> tuple[str, dict[str, str | bytes]]:
    """The executed `notebook` as jupytext Markdown with its results, and its pictures by their names in `folder`."""
    cells: list[Any] = []
    pictures: dict[str, str | bytes] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            cells.append(cell)
            continue
        cells.append(nbformat.v4.new_code_cell(cell.source, metadata=_own_metadata(cell)))
        shown = [_as_markdown(output, folder, pictures) for output in _merged(cell.outputs)]
        text = "\n\n".join(part for part in shown if part)
        if text:
            metadata = {"tags": ["result"], "code": hashlib.sha256(cell.source.encode()).hexdigest()[:12]}
            cells.append(nbformat.v4.new_markdown_cell(text, metadata=metadata))
    report = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    return str(jupytext.writes(report, fmt="md")), pictures


def _as_markdown(output: Any, folder: str, pictures: dict[str, str | bytes]) -> str:
    if output.output_type == "stream":
        return fence(output.text)
    data = output.data
    for kind, suffix in PICTURES.items():
        if kind in data:
            name = f"figure-{len(pictures) + 1}.{suffix}"
            pictures[name] = data[kind] if suffix == "svg" else base64.b64decode(data[kind])
            alt = output.metadata.get(kind, {}).get("alt") or data.get("text/plain", name)
            return f"![{escape(alt)}]({folder}/{name})"
    if "text/markdown" in data:
        return close_no_region(data["text/markdown"].strip("\n"))
    return fence(data.get("text/plain", ""))


def _merged(outputs: list[Any]) -> list[Any]:
    """Outputs with what was printed in several pieces put together: how it is cut is a matter of time."""
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            merged[-1] = nbformat.v4.new_output("stream", name=last.name, text=last.text + output.text)
        else:
            merged.append(output)
    return merged


def _own_metadata(cell: Any) -> dict[str, Any]:
    return {name: value for name, value in cell.metadata.items() if name != "execution"}


def _write_bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _first_line(cell: Any) -> str:
    lines = str(cell.source).strip().splitlines()
    return lines[0][:80] if lines else ""


def _cell_failed(cell: Any, number: int, source: Path, name: str, value: str) -> LabError:
    what, _, advice = value.partition("\n  try: ") if name == "LabError" else (f"{name}: {value}", "", "")
    where = source.relative_to(ROOT) if source.is_relative_to(ROOT) else source
    return LabError(
        f"Code cell {number} of {where} failed, which begins with `{_first_line(cell)}`. {what} No report was written.",
        advice or "make doctor",
    )


class _ThisPython(KernelSpecManager):
    """Knows one kernel, the Python that runs this, whatever is installed in the person's home."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())
