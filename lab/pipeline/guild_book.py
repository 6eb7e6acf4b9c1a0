"""The guild book: member counts, guild sequence numbers, idempotency keys, and what must still be sent.

One SQLite file, shared by all workers of the API. A membership changes in the same transaction that stores its event
(a transactional outbox), so that neither is ever without the other: a worker may die at any moment. An entry whose
event Kafka has acknowledged leaves the book at once, or, where a client gave an idempotency key, after a day.
"""

from __future__ import annotations

import fcntl
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.pipeline.event_log import NotLogged, Unknown

LEASE_SECONDS = 12.0
"""How long an entry belongs to whoever is sending it: longer than any delivery takes to succeed or to fail."""
REMEMBER_SECONDS = 24 * 3600.0
"""How long an idempotency key is remembered."""
BUSY_SECONDS = 1.0
"""How long a transaction waits for its turn, in its worker and then among workers. An answer is due within 10 s."""
RESEND_EVERY_SECONDS = 2.0
PURGE_AT_ONCE = 1000
"""Old keys are forgotten in portions, so that no request waits long for it."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS guild (
    name TEXT PRIMARY KEY,
    members INTEGER NOT NULL CHECK (members >= 0)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (  -- one row
    one INTEGER PRIMARY KEY CHECK (one = 1),
    members INTEGER NOT NULL CHECK (members >= 0),
    guild_seq INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY,  -- the order of the transactions
    event_id TEXT NOT NULL UNIQUE,
    event TEXT NOT NULL,  -- JSON, as it is sent
    kafka_key TEXT,
    status INTEGER NOT NULL,  -- the answer, once Kafka has acknowledged
    body TEXT NOT NULL,
    must_send INTEGER NOT NULL,  -- a count has changed: it is sent even if nobody asks again
    idempotency_key TEXT UNIQUE,
    request TEXT,  -- what the key was used for
    created REAL NOT NULL,  -- seconds since 1970, as is `leased_until`
    leased_until REAL NOT NULL,
    acknowledged INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS unsent ON entry (number) WHERE must_send AND NOT acknowledged;
CREATE INDEX IF NOT EXISTS age ON entry (created);
"""


@dataclass(frozen=True)
class Counts:
    """A guild, its members, the members of all guilds, and the number of this change."""

    guild_name: str
    guild_member_cnt: int
    tot_guild_member_cnt: int
    guild_seq: int


@dataclass(frozen=True)
class Entry:
    """An event, Kafka's key for it, and the answer that is due once Kafka has acknowledged it."""

    event: dict[str, Any]
    kafka_key: str | None
    status: int
    body: dict[str, Any]
    must_send: bool = False
    acknowledged: bool = False

    @property
    def event_id(self) -> str:
        return str(self.event["event_id"])


class BookUnavailable(Exception):
    """The book could not be read or written (a full disk, a lock held too long); nothing in it has changed."""


class OtherRequest(Exception):
    """The idempotency key was used for another request."""


class InFlight(Exception):
    """The first request with this idempotency key is being worked on right now."""


class GuildBook:
    """The book in the file at `path`, made if it is not there, with the guilds of `start`.

    Every thread may use it. `now` gives the seconds since 1970.
    """

    def __init__(self, path: Path, start: Iterable[str] = (), now: Callable[[], float] = time.time) -> None:
        self._now = now
        # one connection and a lock: requests queue fairly here, and only processes contend for the file
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # SQLite does not wait for another who is switching to WAL
                self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA journal_mode = WAL")
                # a process may die at any moment; a power cut may take the last moments, but never damages the file
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.executescript(SCHEMA)
                self._db.execute("PRAGMA busy_timeout = 0")  # from here on `_begin` waits
                with self._transaction():
                    self._db.execute("INSERT OR IGNORE INTO total VALUES (1, 0, 0)")
                    self._db.executemany("INSERT OR IGNORE INTO guild VALUES (?, 0)", [(name,) for name in start])
        except (OSError, sqlite3.Error) as error:
            raise BookUnavailable(f"The guild book {path} cannot be opened: {error}") from error

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def page(self) -> Iterator[Page]:
        """One transaction: all that is written on the page, or, should an exception leave it, nothing.

        Raises BookUnavailable where SQLite fails.
        """
        with self._transaction():
            yield Page(self._db, self._now())

    def acknowledge(self, event_id: str) -> None:
        """Kafka has the event: remember the answer if there is a key to ask for it by, else forget the entry."""
        with self._transaction():
            self._db.execute("DELETE FROM entry WHERE event_id = ? AND idempotency_key IS NULL", (event_id,))
            self._db.execute("UPDATE entry SET acknowledged = 1 WHERE event_id = ?", (event_id,))

    def release(self, event_id: str) -> None:
        """Nobody is sending the event now: whoever comes first may."""
        with self._transaction():
            self._db.execute("UPDATE entry SET leased_until = 0 WHERE event_id = ?", (event_id,))

    def lease_unsent(self) -> Entry | None:
        """The oldest entry that must be sent and that nobody is sending, from now on the caller's to send."""
        with self._transaction():
            now = self._now()
            row = self._db.execute(
                f"SELECT {ENTRY} FROM entry WHERE must_send AND NOT acknowledged AND leased_until <= ? "
                "ORDER BY number LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            entry = _entry(row)
            _lease(self._db, entry.event_id, now)
            return entry

    def purge(self) -> int:
        """Forget keys that are older than a day, a portion at a time; how many there were."""
        with self._transaction():
            before = self._now() - REMEMBER_SECONDS
            old = "SELECT number FROM entry WHERE created < ? AND (acknowledged OR NOT must_send) LIMIT ?"
            return self._db.execute(f"DELETE FROM entry WHERE number IN ({old})", (before, PURGE_AT_ONCE)).rowcount

    def members(self) -> dict[str, int]:
        """The members of each guild."""
        with self._transaction():
            return dict(self._db.execute("SELECT name, members FROM guild ORDER BY name"))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise BookUnavailable(f"The guild book was busy for {BUSY_SECONDS:.0f} s.")
        try:
            self._begin()
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.rollback()
                raise
        except sqlite3.Error as error:
            raise BookUnavailable(f"The guild book is not available: {error}.") from error
        finally:
            self._lock.release()

    def _begin(self) -> None:
        """Begin a transaction; while another process writes, ask again and again, for at most `BUSY_SECONDS`."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                # IMMEDIATE: to read first and then find that another has written would fail instead of waiting
                self._db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if str(error) != "database is locked" or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)  # SQLite's own wait would hold up every other request of this worker


class Page:
    """What can be read and written in one transaction of a `GuildBook`."""

    def __init__(self, db: sqlite3.Connection, now: float) -> None:
        self._db = db
        self._now = now

    def join(self, guild: str) -> Counts:
        """One member more; the guild is made if it is new."""
        self._db.execute(
            "INSERT INTO guild VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET members = members + 1", (guild,)
        )
        return self._counts(guild, +1)

    def leave(self, guild: str) -> Counts | None:
        """One member less, but never below zero; None where there is no such guild."""
        row = self._db.execute("SELECT members FROM guild WHERE name = ?", (guild,)).fetchone()
        if row is None:
            return None
        change = -1 if row[0] > 0 else 0
        self._db.execute("UPDATE guild SET members = members + ? WHERE name = ?", (change, guild))
        return self._counts(guild, change)

    def guilds(self, at_most: int) -> list[str]:
        """The names of the largest guilds."""
        rows = self._db.execute("SELECT name FROM guild ORDER BY members DESC, name LIMIT ?", (at_most,))
        return [name for (name,) in rows]

    def keep(self, entry: Entry, idempotency_key: str | None = None, request: str | None = None) -> None:
        """Store an entry that the caller is about to send."""
        self._db.execute(
            "INSERT INTO entry (event_id, event, kafka_key, status, body, must_send, idempotency_key, request, created,"
            " leased_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                entry.event_id,
                json.dumps(entry.event),
                entry.kafka_key,
                entry.status,
                json.dumps(entry.body),
                entry.must_send,
                idempotency_key,
                request,
                self._now,
                self._now + LEASE_SECONDS,
            ),
        )

    def find(self, idempotency_key: str, request: str) -> Entry | None:
        """The entry that was kept under this key within a day; unless acknowledged, it is now the caller's to send.

        Raises OtherRequest when the key belongs to another request, and InFlight when somebody is sending the entry.
        """
        row = self._db.execute(
            f"SELECT {ENTRY}, request, created, leased_until FROM entry WHERE idempotency_key = ?", (idempotency_key,)
        ).fetchone()
        if row is None:
            return None
        entry = _entry(row)
        kept_request, created, leased_until = row[6:]
        if created < self._now - REMEMBER_SECONDS:
            # the key is free again; an event that must still be sent stays
            self._db.execute("UPDATE entry SET idempotency_key = NULL WHERE event_id = ?", (entry.event_id,))
            return None
        if kept_request != request:
            raise OtherRequest(idempotency_key)
        if entry.acknowledged:
            return entry
        if leased_until > self._now:
            raise InFlight(entry.event_id)
        _lease(self._db, entry.event_id, self._now)
        return entry

    def _counts(self, guild: str, change: int) -> Counts:
        self._db.execute("UPDATE total SET members = members + ?, guild_seq = guild_seq + 1", (change,))
        (members,) = self._db.execute("SELECT members FROM guild WHERE name = ?", (guild,)).fetchone()
        total, guild_seq = self._db.execute("SELECT members, guild_seq FROM total").fetchone()
        return Counts(guild, members, total, guild_seq)


ENTRY = "event, kafka_key, status, body, must_send, acknowledged"


def _entry(row: tuple[Any, ...]) -> Entry:
    event, kafka_key, status, body, must_send, acknowledged = row[:6]
    return Entry(json.loads(event), kafka_key, status, json.loads(body), bool(must_send), bool(acknowledged))


def _lease(db: sqlite3.Connection, event_id: str, now: float) -> None:
    db.execute("UPDATE entry SET leased_until = ? WHERE event_id = ?", (now + LEASE_SECONDS, event_id))


def send_what_is_left(book: GuildBook, append: Callable[[dict[str, Any], str | None], object]) -> int:
    """Send the entries that a killed worker or a silent Kafka left behind, oldest first; how many were sent.

    Each goes out with `may_repeat`, because the first attempt may have reached the topic after all. Ends at the first
    failure: the rest waits for the next round.
    """
    sent = 0
    while entry := book.lease_unsent():
        entry = replace(entry, event={**entry.event, "may_repeat": True})
        try:
            append(entry.event, entry.kafka_key)
        except (NotLogged, Unknown):
            book.release(entry.event_id)
            break
        book.acknowledge(entry.event_id)
        sent += 1
    return sent


class Resender(threading.Thread):
    """A worker's background thread: sends what is left, now and every two seconds, and purges old keys."""

    def __init__(self, book: GuildBook, append: Callable[[dict[str, Any], str | None], object]) -> None:
        super().__init__(name="resender", daemon=True)
        self._book = book
        self._append = append
        self._stopping = threading.Event()

    def run(self) -> None:
        while True:
            try:
                sent = send_what_is_left(self._book, self._append)
                if sent:
                    logging.getLogger(__name__).warning("sent %d guild events again", sent)
                self._book.purge()
            except BookUnavailable as error:
                logging.getLogger(__name__).warning("%s", error)
            if self._stopping.wait(RESEND_EVERY_SECONDS):
                return

    def stop(self, timeout: float) -> None:
        """Begin no further round, and wait for the present one for at most `timeout` seconds."""
        self._stopping.set()
        self.join(timeout)
