"""The findings: the colleague's page, in sentences; each number in them is the answer to a query."""

from __future__ import annotations

from collections.abc import Callable

from lab.pipeline import queries
from lab.report.markdown import escape

Ask = Callable[[str], queries.Answer]

NOTHING = "Nobody has bought anything yet, so there is nothing to tell."
SURE = (
    "*How sure*: by the number of purchases, requests or players that the advice rests on. "
    "Below 30 it is *low*, below 300 *medium*, else *high*."
)


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
    ((joins, leaves),) = ask(
        "SELECT count_if(event_type = 'join_guild'), count_if(event_type = 'leave_guild') FROM guilds"
    ).rows
    if joins:
        lines.append(f"Guilds were joined {_times(joins)} and left {_times(leaves)}.")
        guild, members = _most(ask(_question("09_members_now")))
        lines.append(f"Largest guild now: {guild}, with {_many(members, 'member')}.")
    return "\n".join(f"- {line}" for line in lines)


def recommendations(ask: Ask) -> str:
    """Three things to do, each with its numbers and how far to trust them."""
    if not ask("SELECT count(*) FROM purchases").value:
        return NOTHING
    advice = [_stock(ask), _wanted(ask), _guilds(ask)]
    lines = [f"{n}. **{do}** {why} *How sure: {sure}.*" for n, (do, why, sure) in enumerate(advice, start=1)]
    return "\n".join(lines) + f"\n\n{SURE}"


def confidence(rests_on: int) -> str:
    return "low" if rests_on < 30 else "medium" if rests_on < 300 else "high"


def _stock(ask: Ask) -> tuple[str, str, str]:
    ((purchases, items),) = ask("SELECT count(*), count(DISTINCT type) FROM purchases").rows
    first = ask(_question("07_restock")).rows[:3]
    names = [f"{escape(row[0])}" for row in first]
    sold = sum(row[1] for row in first)
    why = f"Of {_many(items, 'item')} sold, these made {_of(sold, purchases)} of all purchases"
    if items > len(first):
        why += f"; were all items bought alike, they would have made {100 * len(first) / items:.0f}%"
    return f"Keep {_list(names)} in stock.", f"{why}.", confidence(purchases)


def _wanted(ask: Ask) -> tuple[str, str, str]:
    wanted = ask(
        "SELECT wanted, count(*) AS times, count(DISTINCT host) FROM rejected "
        "WHERE event_type = 'rejected_purchase' GROUP BY wanted ORDER BY times DESC, wanted LIMIT 1"
    ).rows
    if not wanted:
        attempts = ask("SELECT count(*) FROM purchases").value
        return "Add no new item for now.", "Nobody asked for an item that we do not have.", confidence(attempts)
    item, times, players = wanted[0]
    why = f"It was asked for {_times(times)} by {_many(players, 'player')}, and we do not have it."
    return f"Offer {escape(item)}, or find out who tells players that we do.", why, confidence(times)


def _guilds(ask: Ask) -> tuple[str, str, str]:
    groups = {member: (players, mean) for member, players, mean in ask(_question("12_do_members_buy_more")).rows}
    if len(groups) < 2:
        who = "in a guild" if True in groups else "without a guild"
        return "Leave guilds as they are.", f"We know only players {who}, and so cannot compare.", "low"
    (members, of_members), (others, of_others) = groups[True], groups[False]
    numbers = f"{_many(members, 'player')} who joined a guild bought {of_members:.1f} items each"
    numbers += f", the {_many(others, 'other')} {of_others:.1f}."
    sure = confidence(min(members, others))
    if of_members > of_others:
        why = f"{numbers} It may be that keen players do both, so try it on some before paying for it."
        return "Invite buyers into guilds.", why, sure
    return "Do not count on guilds to sell more.", numbers, sure


def _most(answer: queries.Answer) -> tuple[str, int]:
    """Of rows of a name and a number, the name with the highest number, or all names that share it."""
    highest = max(number for _, number in answer.rows)
    names = sorted(str(name) for name, number in answer.rows if number == highest)
    shown = _list([f"**{escape(name)}**" for name in names[:3]])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more}{' (each)' if len(names) > 1 else ''}", highest


def _question(name: str) -> str:
    return next(one.sql for one in queries.questions() if one.name == name)


def _of(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f}%"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number:,} times")


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
