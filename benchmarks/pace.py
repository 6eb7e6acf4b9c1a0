"""Players at a steady pace: sends requests to the API at a rate, and notes when each was answered.

python -m benchmarks.pace RATE SECONDS SEED OUT

Writes JSON: how many requests were sent, how many of them failed (5xx), how many seconds that took, and for each sword
that was bought the event's id and when the answer came, in seconds since 1970.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from lab import atomic
from lab.pipeline import traffic
from lab.settings import LOOPBACK, Settings

THREADS = 8


@dataclass
class Played:
    """What one player has done."""

    requests: int = 0
    failed: int = 0
    swords: dict[str, float] = field(default_factory=dict)


def play(settings: Settings, lines: list[traffic.Line], pause: float, begin: float, ended: threading.Event) -> Played:
    played = Played()
    requested = [line for line in lines for _ in range(line.requests)]
    # The plainest client there is: what the players take of the machine is missing where it is measured.
    connection = http.client.HTTPConnection(LOOPBACK, settings.api_port, timeout=15)
    for number, line in enumerate(requested):
        if ended.wait(max(0.0, begin + number * pause - time.monotonic())):
            break
        connection.request("GET", quote(line.path), headers={"Host": line.player})
        answer = connection.getresponse()
        answer.read()
        played.requests += 1
        played.failed += answer.status >= 500
        if answer.status < 300 and line.path.startswith("/purchase_a_sword/"):
            played.swords[answer.headers["X-Event-Id"]] = time.time()
    connection.close()
    return played


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
            played = [one.result() for one in playing]
        finally:
            ended.set()
    whole = {
        "requests": sum(one.requests for one in played),
        "failed": sum(one.failed for one in played),
        "seconds": time.monotonic() - begin,
        "swords": {event_id: when for one in played for event_id, when in one.swords.items()},
    }
    atomic.write_text(Path(out), json.dumps(whole))


if __name__ == "__main__":
    run(Settings.from_env(), float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
