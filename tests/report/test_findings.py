"""The colleague's page, over answers that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from lab.pipeline.queries import Answer, questions
from lab.report import findings, truth

QUESTIONS = {question.name: question.sql for question in questions()}
DAYS = [(f"keen{n}", 3, 12 + n % 3, 2, 4) for n in range(40)] + [(f"calm{n}", 0, 0, 4, 2) for n in range(50)]


class Presto:
    """Answers each query with the rows of the first key that the query begins with."""

    def __init__(self, **changes: list[tuple[Any, ...]]) -> None:
        self.rows = {
            QUESTIONS["07_restock"]: [
                ("sabre", 600, "50.0"),
                ("rapier", 300, "25.0"),
                ("estoc", 60, "5.0"),
                ("x", 1, "0"),
            ],
            QUESTIONS["09_members_now"]: [("grubs", 1), ("ucbears", 0)],
            QUESTIONS["14_purchases_that_look_wrong"]: [("player17.x", "2026-01-07", "the same, 60 times", 60)],
            QUESTIONS["16_hours_of_the_day"]: changes.get("hours", [(9, 1, 10), (18, 2, 20), (20, 2, 50), (21, 1, 20)]),
            QUESTIONS["19_wished_for"]: changes.get("wanted", [("butter_knife", 40, 1)]),
            QUESTIONS["20_days_in_and_out_of_guilds"]: changes.get("days", DAYS),
            findings.LENGTHS: changes.get(
                "lengths",
                [("grubs", True, 1.0)] * 3 + [("grubs", False, 5.0)] + [("ucbears", False, 4.0)] * 5 + [("x", True, 1)],
            ),
            findings.SAME_SECOND: changes.get("same", [("a*b", "estoc", 60)]),
            findings.REPEATS: changes.get("repeats", [(0, 0)]),
            "SELECT count(*), count(DISTINCT host), sum(cost)": changes.get("totals", [(1200, 3, 5000)]),
            "SELECT count(*), count(DISTINCT type)": [(1200, 10)],
            "SELECT type, count(*) FROM": changes.get("items", [("sabre", 600), ("rapier", 30)]),
            "SELECT type, sum(cost)": [("master_sword", 2500), ("sabre", 100)],
            "SELECT host, sum(cost)": [("a*b", 5000)],
            "SELECT count_if(": changes.get("guild_events", [(2, 1)]),
            "SELECT count(*) FROM purchases": [(changes.get("totals", [(1200,)])[0][0],)],
        }

    def __call__(self, sql: str) -> Answer:
        rows = next(rows for key, rows in self.rows.items() if sql.startswith(key))
        return Answer([f"column {n}" for n in range(len(rows[0]))] if rows else [], rows)


def advice(**changes: list[tuple[Any, ...]]) -> list[str]:
    return findings.recommendations(Presto(**changes)).partition("\n\n")[0].splitlines()


def test_tells_what_was_found() -> None:
    assert findings.found(Presto()).splitlines() == [
        "- **1,200 purchases** by 3 players brought **5,000 coins**.",
        "- Bought most often: **sabre**, 50% of all purchases.",
        "- Brought most money: **master_sword**, 2,500 coins, 50% of it.",
        "- Best customer: **a\\*b**, who spent 5,000 coins, 100% of the money.",
        "- Guilds were joined twice and left once.",
        "- Largest guild now: **grubs**, with 1 member.",
    ]


def test_tells_of_purchases_that_look_wrong() -> None:
    assert (
        "Of these purchases 71 repeat another of the same player, item and second, for 1,200 coins"
        in findings.found(Presto(repeats=[(71, 1200)]))
    )


def test_names_all_that_share_the_first_place() -> None:
    found = findings.found(Presto(items=[(name, 6) for name in "edcba"]))
    assert "often: **a**, **b** and **c** and 2 more (each), 0% of all" in found


def test_says_nothing_of_guilds_that_nobody_joined() -> None:
    assert "uild" not in findings.found(Presto(guild_events=[(0, 0)]))


def test_gives_recommendations_with_their_numbers() -> None:
    stock, odd, wanted, guilds, leavers, evening = advice()
    assert stock == (
        "1. **Keep sabre, rapier and estoc in stock.** Of 10 items sold, these made 80% of all purchases that look "
        "right; were all items bought alike, they would have made 30%. *How sure: high.*"
    )
    assert odd.startswith("2. **Look at a\\*b's purchases before counting them.** One player bought estoc 60 times in")
    assert wanted == (
        "3. **Offer butter_knife, or find out who tells players that we do.** "
        "It was asked for 40 times by 1 player, and we do not have it. *How sure: medium.*"
    )
    assert guilds == (
        "4. **Invite players into guilds.** On days in a guild the same 40 players bought 2.2 times as much as on "
        "other days (95% sure: 2.1 to 2.2). Do not expect the 8.5 times by which members and others differ: keen "
        "players join. *How sure: medium.*"
    )
    assert leavers == (
        "5. **Ask who leaves grubs why.** Of its members 25% stay for longer than 2 days, of those of ucbears 100%; "
        "these are 9 memberships in all. *How sure: low.*"
    )
    assert evening == (
        "6. **Announce offers before 18 o'clock.** Between 18 and 22 o'clock 90% of all purchases are made. "
        "*How sure: medium.*"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"wanted": []},
            "**Add no new item for now.** Nobody asked for an item that we do not have. *How sure: high.*",
        ),
        ({"days": [(f"p{n}", 2, 4, 2, 4) for n in range(9)]}, "**Do not count on guilds to sell more.** On days in a"),
        ({"days": [(f"p{n}", 2, 1, 2, 9) for n in range(9)]}, "**Do not count on guilds to sell more.** On days in a"),
        ({"days": [("p", 2, 4, 0, 0)]}, "**Leave guilds as they are.** Nobody has been seen both in a guild and"),
    ],
)
def test_the_advice_follows_the_answers(changes: dict[str, list[tuple[Any, ...]]], said: str) -> None:
    assert any(said in line for line in advice(**changes)), advice(**changes)


def test_of_what_was_not_seen_there_is_no_advice() -> None:
    lines = advice(same=[], lengths=[], hours=[], days=[])
    assert [line.split("**")[1] for line in lines] == [
        "Keep sabre, rapier and estoc in stock.",
        "Offer butter_knife, or find out who tells players that we do.",
        "Leave guilds as they are.",
    ]


def test_says_whether_guilds_make_players_buy() -> None:
    told = findings.guilds_and_purchases(Presto())
    assert told.startswith("40 players who were in a guild bought 17.0 items each, the 50 others 2.0.")
    assert "with a probability of less than 0.001 (a permutation test, two-sided)" in told
    assert "bought **2.16 times** as much as on days without one (95% interval 2.12 to 2.20), more than" in told
    assert "too few players" in findings.guilds_and_purchases(Presto(days=[("p", 1, 1, 0, 0)]))


def test_says_so_when_nobody_has_bought_anything() -> None:
    presto = Presto(totals=[(0, 0, None)])
    assert findings.found(presto) == findings.recommendations(presto) == findings.NOTHING


def test_the_truth_stands_beside_what_was_found() -> None:
    rows = {what: (true, found) for what, true, found in truth.beside(Presto())}
    assert rows["members of a guild buy, times as much"] == ("1.60", "2.16 (2.12 to 2.20)")
    assert rows["a program that buys"] == ("player17", "player17.x")
    assert rows["a purse that is not the player's"] == ("player05", "not found")
    assert rows["asked for, and not there"] == ("flame_sword", "butter_knife")
