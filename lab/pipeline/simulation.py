"""The simulated week: sixty players, of three kinds, with tastes, guilds and habits that are known in advance.

What a player does follows from `TRUTH` and a seed alone, so that whoever reads the tables can be compared with it.
Time is the game's: each request says in `X-Game-Time` what the game's clock showed; a week is sent in seconds.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from lab.pipeline.catalogue import GUILDS, SHIELDS, SWORDS
from lab.pipeline.traffic import PROVIDERS, SAMPLE_SEED, Line

MONDAY = datetime(2026, 1, 5, tzinfo=timezone.utc)
"""On which the first week begins."""
DAYS = 7
SESSION = timedelta(minutes=40)


@dataclass(frozen=True)
class Kind:
    """A kind of player. Chances are those of a day."""

    name: str
    players: int
    plays: float
    """The chance of playing at all, on a working day."""
    buys: float
    """The mean number of purchases on a day that is played, by one who is in no guild."""
    joins: float
    """The chance of joining a guild, on a day that is played, for one who is in none."""
    quits: float
    """The chance that a day played was the last."""
    dear: float
    """The chance that a purchase is one of the five dearest items."""


@dataclass(frozen=True)
class Truth:
    """What is true of the simulated players. No analysis may read it; the report's appendix shows it afterwards."""

    kinds: tuple[Kind, ...] = (
        Kind("casual", 32, plays=0.50, buys=1.0, joins=0.30, quits=0.12, dear=0.01),
        Kind("regular", 20, plays=0.75, buys=1.8, joins=0.45, quits=0.04, dear=0.03),
        Kind("collector", 8, plays=0.95, buys=3.5, joins=0.60, quits=0.01, dear=0.12),
    )
    member_factor: float = 1.6
    """Members of a guild buy this many times as much as they would without one."""
    weekend_factor: float = 1.3
    """On Saturday and Sunday the chance of playing is this many times that of a working day."""
    leaves: Mapping[str, float] = field(
        default_factory=lambda: dict(zip(GUILDS, (0.03, 0.08, 0.15, 0.25, 0.50), strict=True))
    )
    """The chance that a member leaves, on a day that is played, by guild."""
    favourites: Mapping[str, float] = field(
        default_factory=lambda: {"rapier": 8, "buckler": 6, "katana": 5, "short_sword": 3, "iron_shield": 3}
    )
    """How many times as often an item is chosen as any other."""
    evening: tuple[int, int] = (18, 22)
    """Of the day's sessions, `evening_share` begin in these hours."""
    evening_share: float = 0.6
    arrived: float = 0.7
    """The share of players who are there on the first day; the others come on one of the days that follow."""
    wish: str = "flame_sword"
    """An item that the game does not have, and `wishes` is the chance of asking for it, on a day that is played."""
    wishes: float = 0.10

    @property
    def players(self) -> int:
        return sum(kind.players for kind in self.kinds)


TRUTH = Truth()


@dataclass(frozen=True)
class Oddity:
    """Purchases that are no player's play, planted in each week: `times` at one moment."""

    what: str
    player: int
    day: int
    at: timedelta
    path: str
    times: int


ODDITIES = (
    Oddity("a program that buys", 17, 2, timedelta(hours=4), "/purchase_a_sword/wood_sword", 60),
    Oddity("a purse that is not the player's", 5, 4, timedelta(hours=3), "/purchase_a_sword/master_sword", 9),
    Oddity("a button that sends twice", 29, 5, timedelta(hours=12), "/purchase_a_shield/leather_shield", 2),
    Oddity("a button that sends twice", 29, 5, timedelta(hours=13), "/purchase_a_shield/wood_shield", 2),
    Oddity("a button that sends twice", 29, 6, timedelta(hours=12), "/purchase_a_sword/estoc", 2),
)


@dataclass
class Player:
    """One player, as the days go by."""

    name: str
    kind: Kind
    arrives: int
    guild: str | None = None
    gone: bool = False


def week(number: int = 1, seed: int = SAMPLE_SEED, truth: Truth = TRUTH) -> list[Line]:
    """The requests of week `number`, from 1 on, in the order of the game's clock.

    Players of a later week are those of the weeks before: they know the guilds that they are in.
    """
    chance = random.Random(seed)
    players = _players(chance, truth)
    lines: list[Line] = []
    for day in range(DAYS * number):
        lines_of_day = _day(day, players, chance, truth)
        if day >= DAYS * (number - 1):
            lines += lines_of_day
    return lines


def _players(chance: random.Random, truth: Truth) -> list[Player]:
    kinds = [kind for kind in truth.kinds for _ in range(kind.players)]
    chance.shuffle(kinds)
    players = []
    for number, kind in enumerate(kinds, start=1):
        arrives = 0 if chance.random() < truth.arrived else chance.randint(1, DAYS - 1)
        players.append(Player(f"player{number:02}.{chance.choice(PROVIDERS)}", kind, arrives))
    return players


def _day(day: int, players: list[Player], chance: random.Random, truth: Truth) -> list[Line]:
    today = MONDAY + timedelta(days=day)
    done: list[tuple[datetime, Line]] = []
    for player in players:
        plays = player.kind.plays * (truth.weekend_factor if today.weekday() >= 5 else 1)
        if player.gone or day < player.arrives or chance.random() >= plays:
            continue
        begins = today + timedelta(hours=_hour(chance, truth), seconds=chance.randrange(3600))
        done += [
            (at, Line(player.name, path, 1, known, stamp(at)))
            for at, path, known in _session(begins, player, chance, truth)
        ]
        player.gone = chance.random() < player.kind.quits
    for odd in (one for one in ODDITIES if one.day == day % DAYS):
        at = today + odd.at
        done.append((at, Line(players[odd.player - 1].name, odd.path, odd.times, game_time=stamp(at))))
    return [line for _, line in sorted(done, key=lambda one: one[0])]


def _session(
    begins: datetime, player: Player, chance: random.Random, truth: Truth
) -> Iterator[tuple[datetime, str, bool]]:
    """What a player asks for in one session: when, the path, and whether it exists."""
    yield begins, "/", True
    decides = begins + timedelta(seconds=20)
    if player.guild is None and chance.random() < player.kind.joins:
        player.guild = chance.choice(GUILDS)
        yield decides, f"/join_guild/{player.guild}", True
    elif player.guild is not None and chance.random() < truth.leaves[player.guild]:
        yield decides, f"/leave_guild/{player.guild}", True
        player.guild = None
    if chance.random() < truth.wishes:
        yield begins + timedelta(seconds=40), f"/purchase_a_sword/{truth.wish}", False
    mean = player.kind.buys * (truth.member_factor if player.guild else 1)
    at = begins + timedelta(minutes=1)
    while (at := at + SESSION * chance.expovariate(mean)) < begins + timedelta(minutes=1) + SESSION:
        yield at, _purchase(player.kind, chance, truth), True


def _hour(chance: random.Random, truth: Truth) -> int:
    first, last = truth.evening
    if chance.random() < truth.evening_share:
        return chance.randrange(first, last)
    return chance.choice([hour for hour in range(7, 23) if not first <= hour < last])


def _purchase(kind: Kind, chance: random.Random, truth: Truth) -> str:
    prices = {**SWORDS, **SHIELDS}
    dearest = sorted(prices, key=lambda item: prices[item])[-5:]
    if chance.random() < kind.dear:
        item = chance.choice(dearest)
    else:
        usual = [item for item in prices if item not in dearest]
        item = chance.choices(usual, [truth.favourites.get(item, 1) for item in usual])[0]
    return f"/purchase_a_{'sword' if item in SWORDS else 'shield'}/{item}"


def stamp(at: datetime) -> str:
    """A moment of the game's clock, as the header `X-Game-Time` says it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
