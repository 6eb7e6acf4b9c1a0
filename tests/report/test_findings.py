"""The colleague's page, over answers that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from lab.pipeline.queries import Answer, questions
from lab.report import findings

QUESTIONS = {question.name: question.sql for question in questions()}


class Presto:
    """Answers each query with the rows of the first key that the query contains."""

    def __init__(self, **changes: list[tuple[Any, ...]]) -> None:
        self.rows = {
            "SELECT count(*), count(DISTINCT host), sum(cost)": changes.get("totals", [(1200, 3, 5000)]),
            "SELECT count(*), count(DISTINCT type)": [(1200, 10)],
            "SELECT type, count(*) FROM": changes.get("items", [("sabre", 600), ("rapier", 30)]),
            "SELECT type, sum(cost)": [("master_sword", 2500), ("sabre", 100)],
            "SELECT host, sum(cost)": [("a*b", 5000)],
            "SELECT count_if(": changes.get("guild_events", [(2, 1)]),
            "SELECT wanted": changes.get("wanted", [("butter_knife", 40, 1)]),
            "SELECT count(*) FROM purchases": [(changes.get("totals", [(1200,)])[0][0],)],
            QUESTIONS["07_restock"]: [
                ("sabre", 600, "50.0"),
                ("rapier", 300, "25.0"),
                ("estoc", 60, "5.0"),
                ("x", 1, "0"),
            ],
            QUESTIONS["09_members_now"]: [("grubs", 1), ("ucbears", 0)],
            QUESTIONS["12_do_members_buy_more"]: changes.get("groups", [(False, 40, 2.04), (True, 300, 4.0)]),
        }

    def __call__(self, sql: str) -> Answer:
        rows = next(rows for key, rows in self.rows.items() if sql.startswith(key))
        return Answer([f"column {n}" for n in range(len(rows[0]))] if rows else [], rows)


def test_tells_what_was_found() -> None:
    assert findings.found(Presto()).splitlines() == [
        "- **1,200 purchases** by 3 players brought **5,000 coins**.",
        "- Bought most often: **sabre**, 50% of all purchases.",
        "- Brought most money: **master_sword**, 2,500 coins, 50% of it.",
        "- Best customer: **a\\*b**, who spent 5,000 coins, 100% of the money.",
        "- Guilds were joined twice and left once.",
        "- Largest guild now: **grubs**, with 1 member.",
    ]


def test_names_all_that_share_the_first_place() -> None:
    found = findings.found(Presto(items=[(name, 6) for name in "edcba"]))
    assert "often: **a**, **b** and **c** and 2 more (each), 0% of all" in found


def test_says_nothing_of_guilds_that_nobody_joined() -> None:
    assert "uild" not in findings.found(Presto(guild_events=[(0, 0)]))


def test_gives_three_recommendations_with_their_numbers() -> None:
    stock, wanted, guilds, *_ = findings.recommendations(Presto()).splitlines()
    assert stock == (
        "1. **Keep sabre, rapier and estoc in stock.** Of 10 items sold, these made 80% of all purchases; "
        "were all items bought alike, they would have made 30%. *How sure: high.*"
    )
    assert wanted == (
        "2. **Offer butter_knife, or find out who tells players that we do.** "
        "It was asked for 40 times by 1 player, and we do not have it. *How sure: medium.*"
    )
    assert guilds == (
        "3. **Invite buyers into guilds.** 300 players who joined a guild bought 4.0 items each, the 40 others 2.0. "
        "It may be that keen players do both, so try it on some before paying for it. *How sure: medium.*"
    )


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (
            {"wanted": []},
            "2. **Add no new item for now.** Nobody asked for an item that we do not have. *How sure: high.*",
        ),
        (
            {"groups": [(False, 1, 5.0), (True, 2, 4.0)]},
            "2 players who joined a guild bought 4.0 items each, the 1 other 5.0. *How sure: low.*",
        ),
        (
            {"groups": [(True, 2, 4.0)]},
            "3. **Leave guilds as they are.** We know only players in a guild, and so cannot compare. *How sure: low.*",
        ),
    ],
)
def test_the_advice_follows_the_answers(changes: dict[str, list[tuple[Any, ...]]], advice: str) -> None:
    assert advice in findings.recommendations(Presto(**changes))


def test_says_so_when_nobody_has_bought_anything() -> None:
    presto = Presto(totals=[(0, 0, None)])
    assert findings.found(presto) == findings.recommendations(presto) == findings.NOTHING
