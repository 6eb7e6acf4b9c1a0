"""Traffic: what the players do, as plans of Apache Bench commands, and what `ab` reports of them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from lab.errors import LabError
from lab.pipeline import catalogue

SAMPLE_SEED = 205
"""The seed of what the steps send beside the sample."""


@dataclass(frozen=True)
class Line:
    """The same request, `requests` times, by one player; `known` says whether what it asks for exists.

    `game_time` is the game's clock, where the request says it.
    """

    player: str
    path: str
    requests: int
    known: bool = True
    game_time: str = ""

    def command(self, api: str) -> tuple[str, ...]:
        """The `ab` command. -l: answers differ in length, which `ab` would count as failed otherwise."""
        clock = ("-H", f"X-Game-Time: {self.game_time}") if self.game_time else ()
        player = ("-H", f"Host: {self.player}")
        return ("ab", "-q", "-l", "-n", str(self.requests), *player, *clock, f"{api}{quote(self.path)}")


SAMPLE = (
    Line("user1.comcast.com", "/", 10),
    Line("user1.comcast.com", "/purchase_a_sword/rapier", 2),
    Line("user1.comcast.com", "/purchase_a_shield/buckler", 1),
    Line("user1.comcast.com", "/join_guild/ucbears", 5),
    Line("user1.comcast.com", "/leave_guild/ucbears", 2),
    Line("user2.att.com", "/purchase_a_sword/iron_sword", 3),
    Line("user2.att.com", "/join_guild/night_watch", 2),
    Line("user2.att.com", "/leave_guild/night_watch", 1),
    Line("user2.att.com", "/leave_guild/nowhere", 4, known=False),
    Line("user2.att.com", "/purchase_a_sword/butter_knife", 2, known=False),
    Line("user3.comcast.com", "/purchase_a_shield/golden_shield", 1),
)
"""The sample traffic of the course: 33 requests by three players."""

PROVIDERS = ("comcast.com", "att.com", "verizon.net", "cox.net")


def mix(requests: int, seed: int) -> list[Line]:
    """A seeded plan of exactly `requests` requests by twenty players.

    A player leaves a guild only after joining it in the same plan, and no oftener: no count is ever held at zero, so
    that two plans which run at once end in the same member counts, however they interleave.
    """
    chance = random.Random(seed)
    players = [f"user{number}.{chance.choice(PROVIDERS)}" for number in range(1, 21)]
    plan: list[Line] = []
    leaves: list[Line] = []
    left = requests
    while left > 0:
        player = chance.choice(players)
        count = min(left, chance.randint(1, 4))
        deed = chance.choices(("look", "sword", "shield", "guild", "unknown"), (10, 40, 20, 25, 5))[0]
        if deed == "look":
            plan.append(Line(player, "/", count))
        elif deed == "sword":
            plan.append(Line(player, f"/purchase_a_sword/{chance.choice(list(catalogue.SWORDS))}", count))
        elif deed == "shield":
            plan.append(Line(player, f"/purchase_a_shield/{chance.choice(list(catalogue.SHIELDS))}", count))
        elif deed == "unknown":
            plan.append(Line(player, "/purchase_a_sword/butter_knife", count, known=False))
        else:
            guild = chance.choice(catalogue.GUILDS)
            plan.append(Line(player, f"/join_guild/{guild}", count))
            left -= count
            count = min(left, chance.randint(0, count))
            if count:
                leaves.append(Line(player, f"/leave_guild/{guild}", count))
        left -= count
    return plan + leaves


def expected(lines: Iterable[Line]) -> tuple[int, int]:
    """How many of these requests are answered 2xx, and how many 404."""
    lines = list(lines)
    known = sum(line.requests for line in lines if line.known)
    return known, sum(line.requests for line in lines) - known


def bursts(lines: list[Line], size: int) -> Iterator[list[Line]]:
    """The plan in parts of about `size` requests."""
    part: list[Line] = []
    for line in lines:
        part.append(line)
        if sum(one.requests for one in part) >= size:
            yield part
            part = []
    if part:
        yield part


@dataclass(frozen=True)
class Report:
    """What `ab` counted: answers that came, those that failed to, and those that were not 2xx."""

    complete: int
    failed: int
    non_2xx: int

    def __add__(self, other: Report) -> Report:
        return Report(self.complete + other.complete, self.failed + other.failed, self.non_2xx + other.non_2xx)


def read_report(text: str) -> Report:
    """The counts in what `ab` printed. Raises LabError when it holds none, as when the API does not answer."""

    def count(name: str, default: int | None = None) -> int:
        found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
        if found:
            return int(found[1])
        if default is None:
            raise LabError(
                f"ab did not finish: {text.strip().splitlines()[-1] if text.strip() else 'no output'}", "make step-3"
            )
        return default

    return Report(count("Complete requests"), count("Failed requests"), count("Non-2xx responses", 0))
