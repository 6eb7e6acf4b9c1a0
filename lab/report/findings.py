"""The findings: the colleague's page, in sentences; each number in them is the answer to a query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.pipeline import queries
from lab.report import analysis
from lab.report.analysis import Comparison, Curve, Ratio
from lab.report.markdown import escape

Ask = Callable[[str], queries.Answer]

NOTHING = "Nobody has bought anything yet, so there is nothing to tell."
SURE = (
    "*How sure*: by the number of purchases, requests, players or memberships that the advice rests on. "
    "Below 30 it is *low*, below 300 *medium*, else *high*."
)
HOURS = 4
"""The length of the busiest part of the day."""
STAYING_DAYS = 2
"""Guilds are compared by the share of members who stay for longer than this."""
FEW = 4
"""Of a guild with fewer memberships than this nothing is said."""

LENGTHS = """\
SELECT guild_name, left_at IS NOT NULL AS ended,
  date_diff('second', joined_at, coalesce(left_at, (SELECT max(played_at) FROM actions WHERE by_game_clock)))
    / 86400.0e0 AS days
FROM memberships
WHERE by_game_clock
ORDER BY guild_name, days, ended"""
"""The length of each membership by the game's clock; of one that goes on, how long it was seen."""

REPEATS = """\
SELECT coalesce(sum(times - 1), 0), coalesce(sum((times - 1) * cost), 0)
FROM (
  SELECT cost, count(*) AS times
  FROM actions
  WHERE item IS NOT NULL AND by_game_clock
  GROUP BY host, item, cost, played_at
)"""
SAME_SECOND = """\
SELECT host, item, count(*) AS times
FROM actions
WHERE item IS NOT NULL AND by_game_clock
GROUP BY host, item, played_at
HAVING count(*) > 1
ORDER BY times DESC, host, item
LIMIT 1"""


@dataclass(frozen=True)
class Guilds:
    """Whether guilds make players buy: the players of both kinds, how much they buy, and the same players compared."""

    members: int
    others: int
    bought: Comparison | None
    within: Ratio | None


def guilds(ask: Ask) -> Guilds:
    """Guild members against others, and each player's days in a guild against the other days."""
    rows = [(int(a), int(b), int(c), int(d)) for _, a, b, c, d in rows_of(ask, "20_days_in_and_out_of_guilds")]
    members = [inside + outside for days, inside, _, outside in rows if days]
    others = [outside for days, _, _, outside in rows if not days]
    compared = analysis.compare(members, others) if len(members) > 1 and len(others) > 1 else None
    return Guilds(len(members), len(others), compared, analysis.within_players(rows))


def memberships(ask: Ask) -> dict[str, Curve]:
    """For each guild, how long memberships last."""
    lengths: dict[str, tuple[list[float], list[bool]]] = {}
    for guild, ended, days in ask(LENGTHS).rows:
        known = lengths.setdefault(guild, ([], []))
        known[0].append(float(days))
        known[1].append(bool(ended))
    return {guild: analysis.lasting(days, ended) for guild, (days, ended) in lengths.items()}


def busiest(ask: Ask) -> tuple[int, float, int] | None:
    """The hour at which the busiest `HOURS` hours begin, their share of the purchases, and how many these are."""
    by_hour = {int(hour): int(purchases) for hour, _, purchases in rows_of(ask, "16_hours_of_the_day")}
    if not by_hour:
        return None
    in_all = sum(by_hour.values())
    sold = {first: sum(by_hour.get(first + n, 0) for n in range(HOURS)) for first in range(24 - HOURS + 1)}
    first = max(sold, key=lambda hour: (sold[hour], -hour))
    return first, sold[first] / in_all, in_all


def found(ask: Ask) -> str:
    """What was found, as a list."""
    ((purchases, players, spent),) = ask("SELECT count(*), count(DISTINCT host), sum(cost) FROM purchases").rows
    if not purchases:
        return NOTHING
    item, sold = _most(ask("SELECT type, count(*) FROM purchases GROUP BY type"))
    earner, earned = _most(ask("SELECT type, sum(cost) FROM purchases GROUP BY type"))
    player, paid = _most(ask("SELECT host, sum(cost) FROM purchases GROUP BY host"))
    lines = [
        f"**{purchases:,} purchases** by {_many(players, 'player')} brought **{spent:,} coins**.",
        f"Bought most often: {item}, {_of(sold, purchases)} of all purchases.",
        f"Brought most money: {earner}, {earned:,} coins, {_of(earned, spent)} of it.",
        f"Best customer: {player}, who spent {paid:,} coins, {_of(paid, spent)} of the money.",
    ]
    ((repeats, coins),) = ask(REPEATS).rows
    if repeats:
        lines.append(
            f"Of these purchases {repeats:,} repeat another of the same player, item and second, for {coins:,} coins: "
            "they look wrong."
        )
    ((joins, leaves),) = ask(
        "SELECT count_if(event_type = 'join_guild'), count_if(event_type = 'leave_guild') FROM guilds"
    ).rows
    if joins:
        lines.append(f"Guilds were joined {_times(joins)} and left {_times(leaves)}.")
        guild, members = _most(ask(queries.question("09_members_now").sql))
        lines.append(f"Largest guild now: {guild}, with {_many(members, 'member')}.")
    return "\n".join(f"- {line}" for line in lines)


def recommendations(ask: Ask) -> str:
    """Up to six things to do, each with its numbers and how far to trust them."""
    if not ask("SELECT count(*) FROM purchases").value:
        return NOTHING
    advice = [_stock(ask), _odd(ask), _wanted(ask), _guilds(ask), _leavers(ask), _evening(ask)]
    given = [one for one in advice if one]
    lines = [f"{n}. **{do}** {why} *How sure: {sure}.*" for n, (do, why, sure) in enumerate(given, start=1)]
    return "\n".join(lines) + f"\n\n{SURE}"


def guilds_and_purchases(ask: Ask) -> str:
    """Whether guilds make players buy, as sentences: what is seen, is it chance, and what the same players do."""
    told = guilds(ask)
    if told.bought is None:
        return "There are too few players of one kind, in a guild or without one, to compare them."
    by_chance = "less than 0.001" if told.bought.p < 0.001 else f"{told.bought.p:.3f}"
    crude = (
        f"{_many(told.members, 'player')} who were in a guild bought {told.bought.first:.1f} items each, the "
        f"{_many(told.others, 'other')} {told.bought.second:.1f}. If guilds had nothing to do with it, groups drawn by "
        f"lot would differ as much with a probability of {by_chance} (a permutation test, two-sided)."
    )
    lines = [crude, "That does not say that guilds make players buy: keen players may do both."]
    if told.within is None:
        return " ".join([*lines, "Nobody has days of both kinds, so the same players cannot be compared."])
    verdict = "more than chance explains" if told.within.differs else "which chance may explain"
    lines.append(
        f"So each player is compared with themselves: on days in a guild the same {told.within.players} players bought "
        f"**{told.within.estimate:.2f} times** as much as on days without one (95% interval {told.within.low:.2f} to "
        f"{told.within.high:.2f}), {verdict}."
    )
    return " ".join(lines)


def confidence(rests_on: int) -> str:
    return "low" if rests_on < 30 else "medium" if rests_on < 300 else "high"


Advice = tuple[str, str, str]


def _stock(ask: Ask) -> Advice:
    ((purchases, items),) = ask("SELECT count(*), count(DISTINCT type) FROM purchases").rows
    first = rows_of(ask, "07_restock")[:3]
    names = [f"{escape(row[0])}" for row in first]
    share = sum(float(row[2]) for row in first)
    why = f"Of {_many(items, 'item')} sold, these made {share:.0f}% of all purchases that look right"
    if items > len(first):
        why += f"; were all items bought alike, they would have made {100 * len(first) / items:.0f}%"
    return f"Keep {_list(names)} in stock.", f"{why}.", confidence(purchases)


def _odd(ask: Ask) -> Advice | None:
    odd = ask(SAME_SECOND).rows
    if not odd:
        return None
    host, item, times = odd[0]
    why = (
        f"One player bought {escape(item)} {_times(times)} in one second, which no hand does; left in, such purchases "
        "make a bestseller of what one program bought."
    )
    return f"Look at {escape(host)}'s purchases before counting them.", why, "high"


def _wanted(ask: Ask) -> Advice:
    wanted = rows_of(ask, "19_wished_for")
    if not wanted:
        attempts = ask("SELECT count(*) FROM purchases").value
        return "Add no new item for now.", "Nobody asked for an item that we do not have.", confidence(attempts)
    item, times, players = wanted[0]
    why = f"It was asked for {_times(times)} by {_many(players, 'player')}, and we do not have it."
    return f"Offer {escape(item)}, or find out who tells players that we do.", why, confidence(times)


def _guilds(ask: Ask) -> Advice:
    told = guilds(ask)
    if told.within is None:
        return "Leave guilds as they are.", "Nobody has been seen both in a guild and without one.", "low"
    interval = f"{told.within.low:.1f} to {told.within.high:.1f}"
    numbers = (
        f"On days in a guild the same {_many(told.within.players, 'player')} bought {told.within.estimate:.1f} times "
        f"as much as on other days (95% sure: {interval})."
    )
    sure = confidence(told.within.players)
    if not told.within.differs or told.within.estimate < 1:
        return "Do not count on guilds to sell more.", numbers, sure
    if told.bought is not None and told.bought.second > 0:
        apart = told.bought.first / told.bought.second
        numbers += f" Do not expect the {apart:.1f} times by which members and others differ: keen players join."
    return "Invite players into guilds.", numbers, sure


def _leavers(ask: Ask) -> Advice | None:
    curves = {guild: curve for guild, curve in memberships(ask).items() if curve.memberships >= FEW}
    if len(curves) < 2:
        return None
    stays = {guild: curve.after(STAYING_DAYS) for guild, curve in curves.items()}
    worst, best = min(stays, key=lambda guild: (stays[guild], guild)), max(stays, key=lambda g: (stays[g], g))
    if stays[worst] == stays[best]:
        return None
    rests_on = curves[worst].memberships + curves[best].memberships
    why = (
        f"Of its members {_of(stays[worst], 1)} stay for longer than {STAYING_DAYS} days, of those of {escape(best)} "
        f"{_of(stays[best], 1)}; these are {rests_on} memberships in all."
    )
    return f"Ask who leaves {escape(worst)} why.", why, confidence(rests_on)


def _evening(ask: Ask) -> Advice | None:
    busy = busiest(ask)
    if busy is None:
        return None
    first, share, purchases = busy
    why = f"Between {first} and {first + HOURS} o'clock {100 * share:.0f}% of all purchases are made."
    return f"Announce offers before {first} o'clock.", why, confidence(purchases)


def rows_of(ask: Ask, name: str) -> list[tuple[Any, ...]]:
    """The answer to a question of the assignment."""
    return ask(queries.question(name).sql).rows


def _most(answer: queries.Answer) -> tuple[str, int]:
    """Of rows of a name and a number, the name with the highest number, or all names that share it."""
    highest = max(number for _, number in answer.rows)
    names = sorted(str(name) for name, number in answer.rows if number == highest)
    shown = _list([f"**{escape(name)}**" for name in names[:3]])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more}{' (each)' if len(names) > 1 else ''}", highest


def _of(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}%"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
