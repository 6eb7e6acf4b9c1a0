"""A checkout is set up from a bundle, on a machine without a network. `FAULTS=long` runs it: it needs 4 GB of disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.engines import bundle
from lab.settings import ROOT, Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.environ.get("FAULTS") != "long", reason="a whole set-up: FAULTS=long runs it"),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap takes the network away; it is not installed"),
]


def test_a_checkout_is_set_up_from_a_bundle_without_a_network(tmp_path: Path) -> None:
    stick = tmp_path / "a stick"  # not beside the checkout, where it would be found without being named
    stick.mkdir()
    made = bundle.make(Settings.from_env({"LAB_CACHE": str(Settings.from_env().cache)}), stick)
    checkout = tmp_path / "a checkout"
    for name in ("lab", "scripts"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "requirements.lock"):
        shutil.copy2(ROOT / name, checkout)
    home = tmp_path / "home"
    home.mkdir()
    offline = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]
    environment = {"PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}", "HOME": str(home)}
    environment |= {name: os.environ[name] for name in ("JAVA_HOME", "LANG") if name in os.environ}

    def make(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        argv = [*offline, "make", "-C", str(checkout), *words]
        return subprocess.run(
            argv, env=environment | variables, capture_output=True, text=True, timeout=500, check=False
        )

    refused = make("setup")
    assert refused.returncode != 0, "there is a network after all"
    assert "could not be installed" in refused.stderr
    done = make("setup", LAB_BUNDLE=str(made))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Setting up from {made}" in done.stdout
    assert not (checkout / ".lab" / "bundle").exists()
    versions = [str(checkout / ".venv" / "bin" / "python"), "-c", "import pyspark, pyhive, flask"]
    assert subprocess.run([*offline, *versions], check=False).returncode == 0
    again = make("status")
    assert "not started" in again.stdout, again.stdout + again.stderr
