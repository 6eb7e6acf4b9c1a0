"""The live view: what each hop has counted, and the newest events.

Each hop is asked by a thread of its own, so that one that is slow or dead does not hold up the others. A hop is left
alone for at least four times as long as its answer took, and no connection stays open meanwhile.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from rich.live import Live
from rich.text import Text

from lab import console
from lab.errors import LabError
from lab.pipeline import event_log, queries
from lab.pipeline.event_log import Record
from lab.pipeline.events import COMMON, tables
from lab.pipeline.tables import VIEWS
from lab.settings import Settings

EVENTS_SHOWN = 5
REFRESH_SECONDS = 1.0
LONGEST_PAUSE = 5.0  # seconds: a hop that comes back is noticed by then
LATE_SECONDS = 8.0  # longer than the slowest refusal; after it, an older answer is not shown as if it were true now
SNAPSHOT_SECONDS = 20.0
WIDEST_EVENT = 90  # characters


@dataclass(frozen=True)
class Line:
    """A count, or None and the reason why there is none."""

    hop: str
    what: str
    count: int | None = None
    remark: str = ""


@dataclass(frozen=True)
class Reading:
    """What a hop said: its counts, and, of the topic, its newest records."""

    lines: tuple[Line, ...]
    events: tuple[Record, ...] = ()


Hop = Callable[[], Reading]


def run(settings: Settings, seconds: float | None = None) -> int:
    """Show the hops until Ctrl-C, or for `seconds`. Without a terminal: once, plainly."""
    watched = hops(settings)
    if not console.out.is_terminal:
        console.say(render(snapshot(watched, SNAPSHOT_SECONDS)))
        return 0
    stop = threading.Event()
    readings: dict[str, Reading] = {}
    asked: dict[str, float] = {}
    for name, ask in watched.items():
        threading.Thread(target=_keep_asking, args=(name, ask, readings, asked, stop), daemon=True).start()
    deadline = time.monotonic() + seconds if seconds is not None else float("inf")
    try:
        with Live(console=console.out, auto_refresh=False) as live:
            while True:
                text = f"{_now()}  Ctrl-C ends\n\n{render(timely(readings, asked, time.monotonic()), watched)}"
                # One line a line: what does not fit is cut, so that the picture keeps its height.
                live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
                left = deadline - time.monotonic()
                if left <= 0:
                    return 0
                time.sleep(min(REFRESH_SECONDS, left))
    except KeyboardInterrupt:
        return 0
    finally:
        stop.set()


def hops(settings: Settings) -> dict[str, Hop]:
    """What is watched, in the order of the data."""
    return {
        "API": Journal(settings.logs / "api-journal.log").read,
        "topic": Topic(settings).read,
        "tables": Tables(settings).read,
    }


def snapshot(watched: Mapping[str, Hop], seconds: float) -> dict[str, Reading]:
    """One reading of each hop, taken side by side within `seconds`."""
    readings: dict[str, Reading] = {}

    def read_one(name: str, ask: Hop) -> None:
        readings[name] = _ask(name, ask)

    threads = [threading.Thread(target=read_one, args=item, daemon=True) for item in watched.items()]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {seconds:.0f} s"
    return {name: readings.get(name) or Reading((Line(name, "", None, late),)) for name in watched}


def timely(readings: Mapping[str, Reading], asked: Mapping[str, float], now: float) -> dict[str, Reading]:
    """The readings, but for a hop that owes an answer for long: of that one, only how long. `asked` is since when."""
    late = {name: now - since for name, since in list(asked.items()) if now - since > LATE_SECONDS}
    silent = {name: Reading((Line(name, "", None, f"no answer for {waited:.0f} s"),)) for name, waited in late.items()}
    return {**readings, **silent}


def _keep_asking(
    name: str, ask: Hop, readings: dict[str, Reading], asked: dict[str, float], stop: threading.Event
) -> None:
    while not stop.is_set():
        begun = asked[name] = time.monotonic()
        readings[name] = _ask(name, ask)
        del asked[name]
        took = time.monotonic() - begun
        stop.wait(min(LONGEST_PAUSE, max(REFRESH_SECONDS, 4 * took)))


def _ask(name: str, ask: Hop) -> Reading:
    """What the hop says, or why it says nothing."""
    try:
        return ask()
    except LabError as error:
        reason = f"{error.what} ({error.try_next})"
    except Exception as error:  # a view that is left open must survive whatever an engine says while it dies
        reason = f"{type(error).__name__}: {error}"
    return Reading((Line(name, "", None, _printable(reason)[:300]),))


# --- the hops --------------------------------------------------------------------------------------------------------


class Journal:
    """The API's journal, counted by status. It is read on from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        self._statuses: Counter[str] = Counter()

    def read(self) -> Reading:
        if not self.path.exists():
            raise LabError("The API has no journal yet.", "make step-3")
        with self.path.open("rb") as file:
            if file.seek(0, 2) < self._position:  # it was begun anew
                self._position, self._statuses = 0, Counter()
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written: the next reading finds it whole
                self._position += len(line)
                words = line.decode(errors="replace").split()
                if len(words) == 7:
                    self._statuses[words[3]] += 1
        by_status = ", ".join(f"{status}: {count:,}" for status, count in sorted(self._statuses.items()))
        return Reading((Line("API", "answers", sum(self._statuses.values()), by_status),))


class Topic:
    """The topic's partitions, and its newest records, which are only fetched when there are new ones."""

    def __init__(
        self,
        settings: Settings,
        end_offsets: Callable[[Settings], dict[int, int]] = event_log.end_offsets,
        last_events: Callable[[Settings, int], list[Record]] = event_log.last_events,
    ) -> None:
        self.settings = settings
        self._end_offsets, self._last_events = end_offsets, last_events
        self._ends: dict[int, int] = {}
        self._events: tuple[Record, ...] = ()

    def read(self) -> Reading:
        topic = self.settings.topic
        ends = self._end_offsets(self.settings)
        if ends != self._ends:
            self._events = tuple(self._last_events(self.settings, EVENTS_SHOWN))
            self._ends = ends
        by_partition = ", ".join(f"partition {partition}: {end:,}" for partition, end in sorted(ends.items()))
        return Reading((Line("topic", topic, sum(ends.values()), by_partition),), self._events)


class Tables:
    """The rows of each table, in one query. Which tables there are is asked again while any is missing."""

    def __init__(
        self,
        settings: Settings,
        table_columns: Callable[[Settings], dict[str, list[str]]] = queries.table_columns,
        ask: Callable[[Settings, str], queries.Answer] = queries.ask,
    ) -> None:
        self.settings = settings
        self._table_columns, self._ask = table_columns, ask
        self._present: list[str] = []

    def read(self) -> Reading:
        expected = [*tables(), *VIEWS]
        if len(self._present) < len(expected):
            columns = self._table_columns(self.settings)
            self._present = [name for name in expected if name in columns]
        try:
            rows = self._ask(self.settings, count_rows(self._present)).rows if self._present else []
        except LabError:
            self._present = []  # perhaps one was dropped
            raise
        counts = {str(table): int(count) for table, count in rows}
        lines = [
            Line("tables", name, counts.get(name), _about(name) if name in counts else "not made yet (make step-7)")
            for name in expected
        ]
        if counts:
            lines.append(Line("tables", "landed in all", sum(n for name, n in counts.items() if name not in VIEWS)))
        return Reading(tuple(lines))


def count_rows(names: list[str]) -> str:
    """The query that answers name and number of rows of each of these tables."""
    return " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names)


def _about(table: str) -> str:
    return "a view of purchases" if table in VIEWS else ""


# --- the picture -----------------------------------------------------------------------------------------------------


def render(readings: Mapping[str, Reading], expected: Mapping[str, object] | None = None) -> str:
    """The readings as text. A hop of `expected` that has not been read yet says so."""
    rows: list[tuple[str, ...]] = []
    for hop in expected or readings:
        reading = readings.get(hop) or Reading((Line(hop, "", None, "being asked …"),))
        for number, line in enumerate(reading.lines):
            count = "-" if line.count is None else f"{line.count:,}"
            rows.append((line.hop if number == 0 else "", line.what, count, line.remark))
    text = _aligned(rows, ("hop", "what", "count", ""))
    topic = readings.get("topic")
    events = topic.events if topic else ()
    if events:
        text += "\n\nThe newest events in the topic:\n" + _aligned(
            [(_time_of(e), f"{e.partition}/{e.offset}", described(e.value)) for e in events],
            ("time (UTC)", "at", "event"),
        )
    return text


def described(value: bytes) -> str:
    """A record in a line: its event type and what is special to it, or its bytes where it is no event."""
    try:
        event = json.loads(value)
        kind = event["event_type"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = f"unreadable: {value[:WIDEST_EVENT]!r}"
    else:
        common = {field.name for field in COMMON}
        text = " ".join([str(kind), *(f"{name}={item}" for name, item in event.items() if name not in common)])
    text = _printable(text)
    return text if len(text) <= WIDEST_EVENT else text[: WIDEST_EVENT - 1] + "…"


def _aligned(rows: list[tuple[str, ...]], headers: tuple[str, ...]) -> str:
    """Columns of text; a count is aligned to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(headers, *rows, strict=True)]
    lines = [headers, tuple("-" * width for width in widths), *rows]
    right = headers.index("count") if "count" in headers else -1
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place == right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _time_of(record: Record) -> str:
    moment = datetime.fromtimestamp(record.timestamp / 1000, timezone.utc)
    return moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def _now() -> str:
    return time.strftime("%H:%M:%S")


def _printable(text: str) -> str:
    """On one line, and without what would move a terminal's cursor: a record may hold anything."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
