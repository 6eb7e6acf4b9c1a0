"""Another lab beside this one: in a home of its own, on ports that are free."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from lab.errors import LabError
from lab.settings import LOOPBACK, Settings

KEPT = ("LAB_CACHE",)
"""The variables that a lab and its neighbour share."""


def neighbour(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of another lab beside this one: another home, and ports that are free now."""
    others = {name: value for name, value in environ.items() if not name.startswith("LAB_") or name in KEPT}
    ports = [field.name for field in dataclasses.fields(Settings) if field.name.endswith("_port")]
    found = zip(ports, free_ports(len(ports)), strict=True)
    return {**others, "LAB_HOME": str(home), **{f"LAB_{name.upper()}": str(port) for name, port in found}}


def free_ports(count: int) -> list[int]:
    """Ports that are free now, below those that the system hands out by itself."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 5_000, 32_000):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise LabError("There are no free ports between 20000 and 32000.", "ss -lt")
