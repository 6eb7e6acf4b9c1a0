"""A real browser, headless: what it shows of a page, and what it found on it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)")

FRAME = """<!doctype html>
<body style="margin: 0"><iframe src="{source}" width="{width}" height="{height}" style="border: 0"></iframe>
<script>
addEventListener("message", (told) => {{
  const shown = document.createElement("pre");
  shown.id = "found";
  shown.textContent = told.data;
  document.body.append(shown);
}});
</script>"""
"""A window cannot be as narrow as a phone; a frame in it can."""
PROBE = """<script>
addEventListener("load", () => {
  const images = [...document.images].map(i => ({alt: i.alt, wide: i.complete ? i.naturalWidth : 0, shown: i.width}));
  parent.postMessage(JSON.stringify({images, inner: innerWidth, page: document.documentElement.scrollWidth,
    tables: document.querySelectorAll("table").length, loaded: performance.getEntriesByType("resource")
      .map(one => one.name).filter(name => !name.startsWith("data:"))}), "*");
});
</script>"""


def screenshot(page: Path, width: int, height: int, target: Path) -> None:
    """What the browser shows of `page` in a window of this size, as a PNG at `target`."""
    _run(_framed(page, width, height), width, height, f"--screenshot={target}")


def probe(page: Path, width: int) -> dict[str, Any]:
    """What the browser finds on `page` where it is `width` pixels wide: its images, tables, and how wide it becomes."""
    probing = page.with_name(f"probing-{page.name}")
    probing.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    shown = _run(_framed(probing, width, 900), width, 900, "--virtual-time-budget=5000", "--dump-dom")
    found = re.search(r'<pre id="found">(.*?)</pre>', shown, re.DOTALL)
    assert found, shown[-2000:]
    return dict(json.loads(unescape(found[1])))


def _framed(page: Path, width: int, height: int) -> Path:
    framed = page.with_name(f"framed-{page.name}")
    framed.write_text(FRAME.format(source=page.name, width=width, height=height))
    return framed


def _run(page: Path, width: int, height: int, *options: str) -> str:
    assert BROWSER is not None
    argv = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    argv += [f"--user-data-dir={page.parent / 'browser'}", f"--window-size={width},{height}", "--timeout=20000"]
    done = subprocess.run([*argv, *options, page.as_uri()], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
