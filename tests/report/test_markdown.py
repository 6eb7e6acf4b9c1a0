"""Markdown that shows what it was given."""

from __future__ import annotations

from lab.report.markdown import escape, fence, table


def test_numbers_stand_to_the_right_with_their_thousands_apart() -> None:
    assert table([("a", 1234, "1.5", None), ("b", 2, "10.0", 0.5)], ["who", "n", "%", "x"]) == (
        "| who | n | % | x |\n| --- | ---: | ---: | ---: |\n| a | 1,234 | 1.5 |  |\n| b | 2 | 10.0 | 0.5 |"
    )


def test_an_empty_answer_is_said_to_be_empty() -> None:
    assert table([], ["a"]) == "*No rows.*"


def test_a_name_that_a_player_chose_cannot_break_the_table() -> None:
    assert escape("a|b\n<script> [x](y) *z* `c` _d_ e_f 007") == (
        "a\\|b &lt;script> \\[x\\](y) \\*z\\* \\`c\\` \\_d\\_ e_f 007"
    )


def test_a_fence_is_longer_than_those_in_it() -> None:
    assert fence("```\nx\n```") == "````text\n```\nx\n```\n````"
    assert fence(" \n") == ""


def test_a_fence_shows_no_colours() -> None:
    assert fence("\x1b[31mred\x1b[0m") == "```text\nred\n```"
