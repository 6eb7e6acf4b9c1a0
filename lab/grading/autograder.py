"""The autograder: a bundle in the form that Gradescope takes, with this lab and its rubric in it.

setup.sh         runs once, when the image is built: make setup
run_autograder   runs for each submission: make grade
game-events-lab/ the checkout as it is here, without what git does not know
"""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

from lab.errors import LabError
from lab.settings import ROOT

BUNDLE = "autograder.zip"
INSIDE = "game-events-lab"

SETUP = f"""\
#!/bin/sh
# Gradescope runs this once, when it builds the image.
set -eu
apt-get update
apt-get install -y --no-install-recommends make python3 python3-venv ca-certificates
make -C "${{AUTOGRADER:-/autograder}}/source/{INSIDE}" setup
"""
RUN = f"""\
#!/bin/sh
# Gradescope runs this for each submission, and reads results/results.json. What make grade returns is for a CI.
AUTOGRADER=${{AUTOGRADER:-/autograder}}
make -C "$AUTOGRADER/source/{INSIDE}" grade SUBMISSION="$AUTOGRADER/submission" RESULTS="$AUTOGRADER/results"
test -s "$AUTOGRADER/results/results.json"
"""
NEEDS = (
    ("memory", "6 GB, in the container's settings"),
    ("time", "a limit of 40 minutes for each submission; most need less than five"),
    ("network", "while the image is built: about 1 GB are downloaded; none afterwards"),
    ("sandbox", "bubblewrap where the container allows it; else the weaker one, in which submitted code is not run"),
)
"""(what, how much of it): what the bundle needs where it runs."""


def make(folder: Path = ROOT) -> Path:
    """Write the bundle into `folder`; its path. Raises LabError where git does not know this checkout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"git does not say which files are the lab's: {error}.", "apt-get install git") from None
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    if listed.returncode != 0 or not names:
        raise LabError(f"git does not say which files are the lab's: {listed.stderr.strip()}.", "git status")
    bundle = folder / BUNDLE
    part = bundle.with_suffix(".part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as whole:
            for name, text in (("setup.sh", SETUP), ("run_autograder", RUN)):
                script = zipfile.ZipInfo(name)
                script.external_attr = 0o100755 << 16
                whole.writestr(script, text)
            for name in names:
                whole.write(ROOT / name, f"{INSIDE}/{name}")
        part.replace(bundle)
    finally:
        part.unlink(missing_ok=True)
    return bundle
