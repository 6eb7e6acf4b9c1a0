"""The truth: what the simulated players were made to do, beside what the analysis has found out about them.

The only module of the report that knows the simulation; the analysis reads the tables and nothing else.
"""

from __future__ import annotations

from lab.pipeline import simulation
from lab.report import findings
from lab.report.findings import Ask

Row = tuple[str, str, str]
HEADERS = ["what", "true", "found"]


def beside(ask: Ask) -> list[Row]:
    """Rows of `HEADERS`."""
    truth = simulation.TRUTH
    told = findings.guilds(ask).within
    first, share, _ = findings.busiest(ask) or (0, 0.0, 0)
    restock = [row[0] for row in findings.rows_of(ask, "07_restock")]
    wished = findings.rows_of(ask, "19_wished_for")
    wrong = {row[0] for row in findings.rows_of(ask, "14_purchases_that_look_wrong")}
    rows = [
        (
            "members of a guild buy, times as much",
            f"{truth.member_factor:.2f}",
            f"{told.estimate:.2f} ({told.low:.2f} to {told.high:.2f})" if told else "not to be said",
        ),
        (
            "the busiest hours, and the share of sessions or purchases in them",
            f"{truth.evening[0]} to {truth.evening[1]}: {100 * truth.evening_share:.0f}%",
            f"{first} to {first + findings.HOURS}: {100 * share:.0f}%",
        ),
        (
            "items chosen more often than others",
            ", ".join(truth.favourites),
            ", ".join(restock),
        ),
        ("asked for, and not there", truth.wish, wished[0][0] if wished else "nothing"),
    ]
    curves = findings.memberships(ask)
    for guild, chance in truth.leaves.items():
        curve = curves.get(guild)
        seen = f"{100 * curve.after(findings.STAYING_DAYS):.0f}% stay {findings.STAYING_DAYS} days" if curve else "none"
        rows.append((f"{guild}: a member leaves, chance on a day played", f"{100 * chance:.0f}%", seen))
    for what, player in dict.fromkeys((one.what, one.player) for one in simulation.ODDITIES):
        named = sorted(host for host in wrong if str(host).startswith(f"player{player:02}."))
        rows.append((what, f"player{player:02}", ", ".join(named) or "not found"))
    return rows
