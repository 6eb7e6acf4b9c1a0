"""Markdown that holds what it is given: data is escaped, and can neither end a table nor a region."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REGION = re.compile(r"<!--(?=\s*#(?:end)?region)")
_DECIMAL = re.compile(r"-?\d+\.\d+")
_SPECIAL = re.compile(r"([\\`*\[\]|#~]|(?<!\w)_|_(?!\w))")


def escape(value: object) -> str:
    """A value as Markdown that shows exactly it, on one line; a number with its thousands apart."""
    if value is None:
        return ""
    if _is_number(value):
        return f"{value:,}"
    text = _SPECIAL.sub(r"\\\1", str(value).replace("&", "&amp;").replace("<", "&lt;"))
    return " ".join(text.split())


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> str:
    """A Markdown table; columns of numbers stand to the right."""
    rows = [list(row) for row in rows]
    if not rows:
        return "*No rows.*"
    rights = [all(_stands_right(row[column]) for row in rows) for column in range(len(headers))]
    lines = [
        headers,
        ["---:" if right else "---" for right in rights],
        *([escape(cell) for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def fence(text: str, language: str = "text") -> str:
    """`text` between fences, which are longer than any in it. Nothing where there is no text."""
    text = close_no_region(_COLOUR.sub("", text)).rstrip()
    if not text:
        return ""
    ticks = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{ticks}{language}\n{text}\n{ticks}"


def close_no_region(text: str) -> str:
    """`text` in which nothing looks like a mark that begins or ends a region."""
    return _REGION.sub("<!- -", text)


def _stands_right(value: object) -> bool:
    # a decimal comes from Presto as text, because a float could not hold it
    return value is None or _is_number(value) or (isinstance(value, str) and bool(_DECIMAL.fullmatch(value)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
