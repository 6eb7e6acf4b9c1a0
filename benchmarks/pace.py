"""Players at a steady pace: sends requests to the API at a rate, and notes when each was answered.

python -m benchmarks.pace RATE SECONDS SEED OUT

Writes a line for each sword that was bought: the event's id, and when the answer came, in seconds since 1970.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import requests

from lab.pipeline import traffic
from lab.settings import Settings

THREADS = 8


def play(
    settings: Settings, lines: list[traffic.Line], pause: float, begin: float, ended: threading.Event
) -> list[str]:
    noted = []
    requested = [line for line in lines for _ in range(line.requests)]
    with requests.Session() as session:
        for number, line in enumerate(requested):
            if ended.wait(max(0.0, begin + number * pause - time.monotonic())):
                break
            answer = session.get(settings.api + quote(line.path), headers={"Host": line.player}, timeout=15)
            if answer.ok and line.path.startswith("/purchase_a_sword/"):
                noted.append(f"{answer.headers['X-Event-Id']} {time.time()}\n")
    return noted


def run(settings: Settings, rate: float, seconds: float, seed: int, out: str) -> None:
    ended = threading.Event()
    pause, begin = THREADS / rate, time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        playing = [
            pool.submit(
                play,
                settings,
                traffic.mix(int(rate * seconds / THREADS), seed * THREADS + number),
                pause,
                begin + number * pause / THREADS,
                ended,
            )
            for number in range(THREADS)
        ]
        try:
            noted = [line for one in playing for line in one.result()]
        finally:
            ended.set()
    Path(out).write_text("".join(noted))


if __name__ == "__main__":
    run(Settings.from_env(), float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
