"""The examination: what a replay has left, seen by the examiner, and what becomes of traffic that only it knows.

First everything is looked at as it is, for what the report says is compared with that. Then the examiner plays players
whose names, items and numbers are drawn by lot, and follows them through the running pipeline.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from lab.grading import landed, wire
from lab.grading.intake import Submission
from lab.grading.landed import Landed
from lab.grading.replay import Replayed
from lab.grading.rubric import Rubric
from lab.grading.wire import Record, Table, Unreachable
from lab.settings import Settings

LANDING_SECONDS = 240.0
STILL_SECONDS = 90.0
"""So long nothing lands until nothing more is waited for: a stream that has just been started may need as much."""
WITHOUT_STREAM_SECONDS = 5.0
"""The same where no line of the history has started one."""

SWORDS = {"katana": 10, "estoc": 7, "sabre": 6, "rapier": 7, "machete": 5, "great_sword": 15, "hook_sword": 4}
SHIELDS = {"buckler": 6, "wood_shield": 3, "iron_shield": 7, "spiked_shield": 9, "great_shield": 14}
"""Prices of the assignment, of which the examiner buys."""


@dataclass
class Seen:
    """What there is at one moment: the topics, the records of the lab's own, the tables, and the rows in the files."""

    topics: list[str]
    topic: list[Record]
    tables: dict[str, Table]
    landed: Landed

    @property
    def unlanded(self) -> int:
        """Records of the topic that are in no file."""
        return int(
            self.landed.value(
                'SELECT count(*) FROM topic WHERE ("partition", "offset") NOT IN '
                "(SELECT (kafka_partition, kafka_offset) FROM rows)"
            )
        )


@dataclass
class Secret:
    """The examiner's own traffic: requests with the answer that each should have, and what each player comes to."""

    sent: list[tuple[str, int, int]] = field(default_factory=list)
    """(what was asked, the status expected, the status answered)"""
    spent: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """By player: event type, purchases, coins."""
    members: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By guild: joins, leaves, members at the end."""
    rejected: dict[str, int] = field(default_factory=dict)
    """By player: purchases of what there is not."""


@dataclass
class Evidence:
    """All that the checks look at."""

    settings: Settings
    rubric: Rubric
    submission: Submission
    replayed: Replayed
    before: Seen | None = None
    after: Seen | None = None
    secret: Secret | None = None
    untried: str = ""
    """Why the submitted pipeline was not run, where one was and the released one ran in its place."""
    unseen: dict[str, str] = field(default_factory=dict)
    """Why something could not be looked at: by `before`, `after` and `secret`."""

    def seen(self, when: str) -> Seen:
        """What was seen `before` or `after` the examiner's own traffic. Raises Unreachable."""
        found: Seen | None = getattr(self, when)
        if found is None:
            raise Unreachable(self.unseen.get(when, "it was not looked at"))
        return found


def examine(evidence: Evidence, stack: ExitStack, progress: Callable[[str], None]) -> None:
    """Look at everything, and put it into `evidence`; what opens is closed with `stack`."""
    settings = evidence.settings
    if not evidence.replayed.started:
        evidence.unseen = dict.fromkeys(("before", "after", "secret"), "no line of the history starts the stack")
        return
    patience = STILL_SECONDS if evidence.replayed.streams else WITHOUT_STREAM_SECONDS
    try:
        progress("waiting until what was sent has landed")
        evidence.before = _settled(settings, stack, patience)
    except Unreachable as error:
        evidence.unseen["before"] = str(error)
    try:
        progress("sending traffic of the examiner's own")
        evidence.secret = play(settings)
    except Unreachable as error:
        evidence.unseen["secret"] = str(error)
    try:
        progress("following it")
        evidence.after = _settled(settings, stack, patience)
    except Unreachable as error:
        evidence.unseen["after"] = str(error)


def look(settings: Settings) -> Seen:
    """What there is now. Raises Unreachable."""
    topics = wire.topics(settings)
    topic = wire.records(settings, settings.topic) if settings.topic in topics else []
    tables = wire.tables(settings, settings.schema)
    return Seen(topics, topic, tables, landed.read(settings, tables, topic))


def _settled(settings: Settings, stack: ExitStack, patience: float) -> Seen:
    """What there is once all of the topic has landed, or nothing has for `patience` seconds. Raises Unreachable."""
    begun = changed = time.monotonic()
    left = -1
    while True:
        seen = look(settings)
        now, before, left = time.monotonic(), left, seen.unlanded
        if left != before:
            changed = now
        if left == 0 or now - changed > patience or now - begun > LANDING_SECONDS:
            stack.callback(seen.landed.database.close)
            return seen
        seen.landed.database.close()
        time.sleep(1.0)  # between two looks


def play(settings: Settings) -> Secret:
    """Send the secret traffic. Raises Unreachable where the API does not answer."""
    chance = random.Random(secrets.randbits(64))
    secret = Secret()

    def player() -> str:
        return f"user{secrets.randbelow(10**9)}.comcast.com"

    def ask(path: str, who: str, expected: int) -> None:
        # Like any other player: an API that knew the examiner could be honest to it alone.
        answered = wire.request(settings, path, {"Host": who, "User-Agent": "ApacheBench/2.3", "Accept": "*/*"})
        secret.sent.append((path, expected, answered.status))

    for event_type, path, prices in (
        ("purchase_sword", "purchase_a_sword", SWORDS),
        ("purchase_shield", "purchase_a_shield", SHIELDS),
    ):
        who, items = player(), chance.choices(list(prices), k=chance.randint(2, 5))
        for item in items:
            ask(f"/{path}/{item}", who, 200)
        secret.spent[who] = (event_type, len(items), sum(prices[item] for item in items))
    guild, joins = f"house_{secrets.token_hex(4)}", chance.randint(3, 6)
    leaves = chance.randint(1, joins - 1)
    who = player()
    for _ in range(joins):
        ask(f"/join_guild/{guild}", who, 200)
    for _ in range(leaves):
        ask(f"/leave_guild/{guild}", who, 200)
    secret.members[guild] = (joins, leaves, joins - leaves)
    who, times = player(), chance.randint(1, 3)
    for _ in range(times):
        ask(f"/purchase_a_sword/sword_{secrets.token_hex(4)}", who, 404)
    secret.rejected[who] = times
    return secret


def by_player(settings: Settings, secret: Secret) -> Mapping[str, tuple[object, object]]:
    """What Presto's tables say of the examiner's players and guilds: by what, (expected, found). Raises Unreachable."""
    found: dict[str, tuple[object, object]] = {}
    for who, (event_type, count, coins) in secret.spent.items():
        rows = wire.ask(
            settings, f"SELECT count(*), sum(cost) FROM purchases WHERE host = '{who}' AND event_type = '{event_type}'"
        )
        found[f"{event_type}s of one player: how many, and for how many coins"] = ((count, coins), rows[0])
        if event_type == "purchase_sword":
            rows = wire.ask(settings, f"SELECT count(*), sum(cost) FROM sword_purchases WHERE host = '{who}'")
            found["the same in sword_purchases"] = ((count, coins), rows[0])
    for guild, (joins, leaves, members) in secret.members.items():
        rows = wire.ask(
            settings,
            "SELECT count_if(event_type = 'join_guild'), count_if(event_type = 'leave_guild'), "
            f"max_by(guild_member_cnt, kafka_offset) FROM guilds WHERE guild_name = '{guild}'",
        )
        found["joins, leaves and members of a guild"] = ((joins, leaves, members), rows[0])
    for who in secret.rejected:
        rows = wire.ask(settings, f"SELECT count(*) FROM purchases WHERE host = '{who}' AND cost IS NOT NULL")
        found["purchases of an item that there is not"] = ((0,), rows[0])
    return found
