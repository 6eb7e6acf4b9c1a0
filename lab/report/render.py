"""Rendering: executes the report's source, and writes it again with the results in it.

The source alone is the input: an old report is never read. Three files are written from one execution: `report.md`, the
notebook `report.ipynb`, and `report.html`, a page that needs no other file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, CellTimeoutError, DeadKernelError

from lab import atomic, console
from lab.errors import LabError
from lab.report import data, page, regions
from lab.report.regions import first_line
from lab.settings import LOOPBACK, ROOT, Settings, shown_path

SOURCE = Path(__file__).with_name("source.md")
CELL_SECONDS = 300


@dataclass(frozen=True)
class Rendered:
    """A report in memory: its Markdown, the pictures in its folder by name, the executed notebook, the data it saw."""

    text: str
    pictures: dict[str, bytes]
    notebook: Any
    data: data.Data


def render(
    settings: Settings,
    target: Path | None = None,
    source: Path = SOURCE,
    look: Callable[[Settings], data.Data] = data.seen,
) -> Path:
    """Execute `source` against the running lab, and write the report to `target`; returns where it stands.

    Without a `target` it is the checkout's `report.md`; that of a lab with a home of its own is in that home.
    `look` says what the lab holds. Raises LabError, and writes nothing, when a cell fails.
    """
    target = target or settings.report
    rendered = make(settings, target.stem, source, look)
    folder = target.with_suffix("")
    for stale in folder.glob("figure-*"):
        if stale.name not in rendered.pictures:
            stale.unlink()
    for name, picture in rendered.pictures.items():
        atomic.write_bytes(folder / name, picture)
    atomic.write_text(target.with_suffix(".ipynb"), nbformat.writes(rendered.notebook) + "\n")
    atomic.write_text(target.with_suffix(".html"), page.page(rendered.notebook))
    atomic.write_text(target, rendered.text)
    atomic.write_json(remembered(settings), rendered.data)
    others = " and ".join(shown_path(target.with_suffix(suffix)) for suffix in (".ipynb", ".html"))
    console.say(f"Rendered {shown_path(target)}, and from the same run {others}.")
    return target


def make(settings: Settings, folder: str, source: Path, look: Callable[[Settings], data.Data]) -> Rendered:
    """Execute `source`, and write nothing. Raises LabError when a cell fails, or the data changes meanwhile."""
    before = look(settings)
    notebook = regions.read(source.read_text(encoding="utf-8"))
    execute(notebook, settings, source)
    after = look(settings)
    if after != before:
        raise LabError(
            "The data changed while the report was made, so its numbers do not belong together: "
            f"{data.difference(before, after)}.",
            "make report, once no more events come",
        )
    text, pictures = regions.with_results(notebook, folder, data.digest(before))
    return Rendered(text, pictures, notebook, before)


def remembered(settings: Settings) -> Path:
    """Where the lab's home keeps what the last report had seen."""
    return settings.home / "report.json"


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
            status.update(f"Cell {done} of {len(code)}: {first_line(cell.source)}")

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
            "LAB_VENV": sys.prefix,
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


def _cell_failed(cell: Any, number: int, source: Path, name: str, value: str) -> LabError:
    what, _, advice = value.partition("\n  try: ") if name == "LabError" else (f"{name}: {value}", "", "")
    where = source.relative_to(ROOT) if source.is_relative_to(ROOT) else source
    return LabError(
        f"Code cell {number} of {where} failed, which begins with `{first_line(cell.source)}`. {what} "
        "No report was written.",
        advice or "make doctor",
    )


class _ThisPython(KernelSpecManager):
    """Knows one kernel, the Python that runs this, whatever is installed in the person's home."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())
