"""Reading: a history file of whatever form becomes the commands that were typed, in their order.

Forms: bash's own with times (`#epoch`, then the command), the output of `history` (numbered, with times or without),
plain lines, a transcript with prompts; and any of them one after another in one file, as several terminals leave them.
What is no command stays a line of its own: `plan` says what becomes of it. No text is ever run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.history.grammar import Grammar, has_open_quote

MOST_BYTES = 16 * 2**20
MOST_CHARACTERS = 16_384
"""Of a line; what is longer was never typed, and is cut."""
MOST_LINES = 500_000
MOST_JOINED = 1000
"""The most lines that one command may have."""
MOST_TRIED = 30_000_000
"""How many characters are read again, in all, to find where a command ends that its first line leaves open."""

EPOCH = re.compile(r"#(\d{6,11})")
TIME = (
    r"\[?(?:\d{4}[-/]\d\d[-/]\d\d|\d\d[-/.]\d\d[-/.]\d{2,4})[ T]\d\d:\d\d(?::\d\d)?(?: [AP]M)?(?:[+-]\d\d:?\d\d)?\]?"
    r"|(?:\w{3} )?\w{3} +\d+ \d\d:\d\d:\d\d(?:(?: [A-Z]{3,4})? \d{4})?"
)
NUMBERED = re.compile(rf"\s*(?P<number>\d{{1,7}})\*?\s+(?:(?:{TIME})\s+)?(?P<command>.*)")
PROMPT = re.compile(
    r"""
    (?: \([\w.-]+\)\ ? )?                               # (base)
    (?: [\w.-]+@[\w.-]+ (?: :[^$#]{0,200} )? [$#]       # me@host:~/w205$
      | [\w.-]+@[\w.-]+\ \S{1,100}\ %                   # me@mac w205 %
      | \[[\w.-]+@[\w.-]+\ [^]]{1,100}\][$#]            # [me@host w205]$
      | [\w.-]+:\S{1,100}\ [\w.-]+\$                    # mac:w205 me$
      | (?: PS\ )? [A-Z]:\\[^>]{0,200}>                 # PS C:\w205>
      | (?: lab )? \$
    ) (?: \s+ | \Z )
    """,
    re.VERBOSE,
)
COMMAND = re.compile(
    r"(?:sudo |winpty )?(?:docker|docker-compose|make|ab|kafka-\w+|spark-submit|hdfs|presto|cd|ls|vim?|git) "
)
"""How a line begins that is a command rather than the rest of a quote that an earlier line left open."""


@dataclass(frozen=True)
class Typed:
    """A command: its text, the number of its first line in the file (from 1), and its time (seconds since 1970)."""

    text: str
    line: int
    at: int | None = None


def read(path: Path) -> list[Typed]:
    """The commands of a history file. Raises LabError when it cannot be read, or is no history for its size."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise LabError(f"{path} cannot be read: {error.strerror}.", f"ls -l {path}") from None
    if len(data) > MOST_BYTES:
        raise LabError(f"{path} is larger than {MOST_BYTES >> 20} MiB: that is no history.", "history > history.txt")
    if data.count(b"\n") > MOST_LINES:
        raise LabError(f"{path} has more than {MOST_LINES:,} lines: that is no history.", "history > history.txt")
    utf_16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))  # what PowerShell writes
    return commands(data.decode("utf-16" if utf_16 else "utf-8", "replace"))


def commands(text: str, grammar: Grammar | None = None) -> list[Typed]:
    """The commands that a history's text holds; what two dumps of one history both hold is there once."""
    lines = [line.rstrip("\r")[:MOST_CHARACTERS] for line in text.removeprefix("\ufeff").split("\n")]
    return list(_once(_joined(_blocks(lines), grammar or Grammar())))


@dataclass
class _Block:
    """What followed a time or a number: `lines` from the file's line `first` on, and what bash said of them."""

    lines: list[str]
    first: int
    at: int | None = None
    number: int | None = None


def _blocks(lines: list[str]) -> Iterator[_Block]:
    numbered = _numbered(lines)
    block = _Block([], 1)
    for index, line in enumerate(lines):
        epoch = EPOCH.fullmatch(line)
        if epoch:
            yield block
            block = _Block([], index + 2, at=int(epoch[1]))
        elif index in numbered:
            yield block
            number, command = numbered[index]
            block = _Block([command], index + 1, number=number)
        else:
            block.lines.append(line)
    yield block


def _numbered(lines: list[str]) -> dict[int, tuple[int, str]]:
    """By index, the number and the command of each line of a numbered dump.

    Such a line follows or precedes the one with the next number, so that `12 monkeys` alone is text; where most lines
    begin with a number (`history | grep ab`), each does.
    """
    found = [
        (i, int(match["number"]), match["command"])
        for i, line in enumerate(lines)
        if (match := NUMBERED.fullmatch(line))
    ]
    mostly = 2 * len(found) > sum(1 for line in lines if line.strip())
    dumped: dict[int, tuple[int, str]] = {}
    for place, (index, number, command) in enumerate(found):
        follows = place > 0 and found[place - 1][1] == number - 1
        precedes = place + 1 < len(found) and found[place + 1][1] == number + 1
        if mostly or follows or precedes:
            dumped[index] = (number, command)
    return dumped


def _joined(blocks: Iterator[_Block], grammar: Grammar) -> Iterator[tuple[Typed, int | None]]:
    """Commands, those of several lines in one piece, each with the number that bash gave it."""
    left = MOST_TRIED
    for block in blocks:
        start, number = 0, block.number
        while start < len(block.lines):
            prompt = PROMPT.match(block.lines[start])
            text, end = block.lines[start][prompt.end() if prompt else 0 :], start + 1
            whole = text
            while grammar.is_open(whole) and end < min(len(block.lines), start + MOST_JOINED) and left > 0:
                further = block.lines[end]
                if PROMPT.match(further) or (has_open_quote(whole) and COMMAND.match(further)):
                    break
                left -= len(whole)
                whole += "\n" + further.removeprefix("> " if prompt else "")
                end += 1
            if grammar.is_open(whole):  # nothing that follows ends it: then it was typed so
                whole, end = text, start + 1
            if whole.strip():
                yield Typed(whole.rstrip("\n"), block.first + start, block.at), number
                number = None
            start = end


def _once(found: Iterator[tuple[Typed, int | None]]) -> Iterator[Typed]:
    """Without what an earlier dump of the same history held: the same text with the same number, or the same time.

    A dump ends where numbers, or times, begin again.
    """
    earlier: set[tuple[int, int, str]] = set()
    current: set[tuple[int, int, str]] = set()
    last = (-1, -1)
    for typed, number in found:
        if number is None and typed.at is None:
            yield typed
            continue
        place = (-1 if number is None else number, typed.at or -1)
        begins_anew = place[0] <= last[0] if number is not None else place[1] < last[1]
        if begins_anew:
            earlier |= current
            current = set()
        last = place
        key = (*place, typed.text)
        if key not in earlier:
            current.add(key)
            yield typed
