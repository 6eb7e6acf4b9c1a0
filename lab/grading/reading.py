"""Reading a report: its cells, its prose, and the sentences in which its numbers stand. Nothing of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import jupytext

MOST_BYTES = 4 * 2**20
LEAST_WORDS = 25
"""That the paragraphs which speak of a hop have together."""
MOST_NUMBERS = 40
"""In one sentence: one with more tells nothing."""

_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.,-])\d{1,3}(?:,\d{3})+(?![\w])|(?<![\w.-])\d+(?![\w])(?!\.\d)")


def text_of(path: Path) -> str | None:
    """A report's text, or None where there is none; what is longer than any report is cut off."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode("utf-8", "replace")


def cells(text: str) -> list[str]:
    """The kinds of a notebook's cells that hold anything; none where it does not open as one."""
    try:
        notebook = jupytext.reads(text, fmt="md")
    except Exception:  # jupytext, and the YAML it reads, raise of many kinds; all mean the same
        return []
    return [cell.cell_type for cell in notebook.cells if cell.source.strip()]


def prose(text: str) -> list[str]:
    """The paragraphs, without code and tables."""
    plain = _COMMENT.sub("", _FENCE.sub("", text))
    paragraphs = re.split(r"\n\s*\n|^#+[^\n]*$", plain, flags=re.MULTILINE)
    return [" ".join(one.split()) for one in paragraphs if one.strip() and not one.lstrip().startswith("|")]


def explains(paragraphs: Iterable[str], words: Sequence[str]) -> bool:
    """Whether there is text enough that speaks of this: the paragraphs with one of the words."""
    about = [one for one in dict.fromkeys(paragraphs) if any(word in one.lower() for word in words)]
    return sum(len(one.split()) for one in about) >= LEAST_WORDS


def sentences(text: str) -> list[str]:
    """What stands together: each line of text, and each row of a table with its headings."""
    found: list[str] = []
    headings = ""
    for line in text.splitlines():
        if line.lstrip().startswith("|"):
            if re.fullmatch(r"[\s|:-]+", line):
                continue
            headings = headings or line
            found.append(f"{headings} {line}" if line is not headings else line)
        else:
            headings = ""
            found.append(line)
    return [one.lower() for one in found if one.strip()]


def tells(among: Iterable[str], words: Sequence[str], value: object) -> bool:
    """Whether a sentence has one of the words and the number."""
    for sentence in among:
        if any(word in sentence for word in words):
            numbers = _NUMBER.findall(sentence)
            if len(numbers) <= MOST_NUMBERS and str(value) in {number.replace(",", "") for number in numbers}:
                return True
    return False
