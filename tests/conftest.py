"""What all tests share: the JDK that set-up chose, for those that start a local Spark."""

from __future__ import annotations

import os

from lab.settings import ROOT, read_env_file

os.environ.setdefault("JAVA_HOME", read_env_file(ROOT / ".lab" / "toolchain.env").get("JAVA_HOME", ""))
