from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.pipeline.event_log import NotLogged, Unknown
from lab.pipeline.guild_book import (
    LEASE_SECONDS,
    REMEMBER_SECONDS,
    BookUnavailable,
    Counts,
    Entry,
    GuildBook,
    InFlight,
    OtherRequest,
    Resender,
    send_what_is_left,
)
from lab.settings import ROOT


class Clock:
    def __init__(self):
        self.seconds = 1_000_000.0

    def __call__(self):
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(tmp_path, clock):
    with_guilds = GuildBook(tmp_path / "api" / "book.sqlite3", start=["grubs", "ucbears"], now=clock)
    yield with_guilds
    with_guilds.close()


def entry(event_id="e1", must_send=False):
    return Entry({"event_id": event_id}, "grubs", 200, {"said": "Guild Joined!"}, must_send)


def join(book, guild="grubs"):
    with book.page() as page:
        return page.join(guild)


def leave(book, guild="grubs"):
    with book.page() as page:
        return page.leave(guild)


def keep(book, kept, key=None, request="join grubs"):
    with book.page() as page:
        page.keep(kept, key, request)


def find(book, key="k1", request="join grubs"):
    with book.page() as page:
        return page.find(key, request)


class FakeLog:
    """Takes events, unless it has a failure to raise."""

    def __init__(self):
        self.events = []
        self.failure = None

    def append(self, event, key):
        if self.failure:
            raise self.failure
        self.events.append(event)


# --- counts


def test_a_guild_is_made_by_its_first_member(book):
    assert join(book, "night_watch") == Counts("night_watch", 1, 1, 1)
    assert book.members() == {"grubs": 0, "night_watch": 1, "ucbears": 0}


def test_the_total_counts_the_members_of_all_guilds_and_each_change_has_a_number(book):
    join(book, "grubs")
    join(book, "ucbears")
    assert join(book, "ucbears") == Counts("ucbears", 2, 3, 3)
    assert leave(book, "grubs") == Counts("grubs", 0, 2, 4)


def test_an_empty_guild_stays_at_zero_when_somebody_leaves(book):
    assert leave(book) == Counts("grubs", 0, 0, 1)


def test_leaving_a_guild_that_does_not_exist_changes_nothing(book):
    assert leave(book, "nowhere") is None
    assert join(book).guild_seq == 1


def test_a_page_that_is_left_by_an_exception_changes_nothing(book):
    def change_two_things():
        with book.page() as page:
            page.join("grubs")
            page.keep(entry("e1", must_send=True))
            page.keep(entry("e1", must_send=True))  # there cannot be two of one id

    with pytest.raises(BookUnavailable):
        change_two_things()
    assert book.members()["grubs"] == 0
    assert join(book).guild_seq == 1


def test_counts_survive_a_restart_and_the_guilds_of_the_start_are_not_emptied(tmp_path):
    path = tmp_path / "book.sqlite3"
    first = GuildBook(path, start=["grubs"])
    join(first)
    first.close()
    second = GuildBook(path, start=["grubs"])
    assert join(second) == Counts("grubs", 2, 2, 2)


GUILD_NAMES = st.sampled_from(["grubs", "ucbears", "new", "🐉"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([join, leave]), GUILD_NAMES), max_size=40))
def test_any_joins_and_leaves_keep_counts_from_zero_up_and_the_total_their_sum(changes):
    with tempfile.TemporaryDirectory() as folder:
        book = GuildBook(Path(folder) / "book.sqlite3", start=["grubs"])
        expected = Counter(grubs=0)
        changed = 0
        for change, guild in changes:
            counts = change(book, guild)
            if counts is None:
                assert guild not in expected
                continue
            changed += 1
            expected[guild] = expected[guild] + 1 if change is join else max(0, expected[guild] - 1)
            assert counts == Counts(guild, expected[guild], sum(expected.values()), changed)
        assert book.members() == dict(expected)
        book.close()


def test_threads_on_one_book_lose_no_member_and_no_number(book):
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda i: join(book, f"guild{i % 3}"), range(120)))
    assert sorted(c.guild_seq for c in counts) == list(range(1, 121))
    assert {name: n for name, n in book.members().items() if n} == {"guild0": 40, "guild1": 40, "guild2": 40}


def test_what_a_page_has_read_stays_true_until_it_has_written(tmp_path):
    one, other = (GuildBook(tmp_path / "book.sqlite3", start=["grubs"]) for _ in range(2))
    with ThreadPoolExecutor(1) as pool:
        with one.page() as page:
            page.guilds(1)
            second = pool.submit(join, other)
            assert not wait([second], timeout=0.2).done
            assert page.join("grubs").guild_seq == 1
        assert second.result().guild_seq == 2


def come_and_go(path, times):
    book = GuildBook(path, start=["grubs"])
    for i in range(times):
        join(book, f"guild{i % 3}")
        join(book, f"guild{i % 3}")
        leave(book, f"guild{i % 3}")


def test_processes_on_one_book_lose_no_member(tmp_path):
    path = tmp_path / "book.sqlite3"  # made by whoever comes first
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=come_and_go, args=(path, 60)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    book = GuildBook(path)
    assert book.members() == {"grubs": 0, "guild0": 60, "guild1": 60, "guild2": 60}
    assert join(book).guild_seq == 3 * 3 * 60 + 1


def join_and_die(path):
    book = GuildBook(path)
    with book.page() as page:
        page.join("grubs")
        page.keep(entry("counted", must_send=True))
    with book.page() as page:
        page.join("grubs")
        page.keep(entry("not counted", must_send=True))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_killed_between_counting_and_sending_leaves_the_event_to_the_next(tmp_path):
    path = tmp_path / "book.sqlite3"
    worker = multiprocessing.get_context("spawn").Process(target=join_and_die, args=(path,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    clock = Clock()
    clock.seconds = 4e9
    book, log = GuildBook(path, now=clock), FakeLog()
    assert book.members() == {"grubs": 1}
    assert send_what_is_left(book, log.append) == 1
    assert log.events == [{"event_id": "counted", "may_repeat": True}]


# --- the outbox


def test_an_event_in_flight_is_not_sent_again(book):
    keep(book, entry(must_send=True))
    assert send_what_is_left(book, FakeLog().append) == 0


def test_an_acknowledged_event_is_not_sent_again(book, clock):
    keep(book, entry(must_send=True))
    book.acknowledge("e1")
    clock.advance(LEASE_SECONDS)
    assert send_what_is_left(book, FakeLog().append) == 0


def test_what_is_left_is_sent_once_in_order_and_says_that_it_may_repeat(book, clock):
    for event_id in ("b", "a", "c"):
        keep(book, entry(event_id, must_send=True))
    clock.advance(LEASE_SECONDS)
    log = FakeLog()
    assert send_what_is_left(book, log.append) == 3
    assert send_what_is_left(book, log.append) == 0
    assert log.events == [{"event_id": event_id, "may_repeat": True} for event_id in ("b", "a", "c")]


def test_an_event_known_not_to_be_logged_is_sent_without_waiting_for_its_lease(book):
    keep(book, entry(must_send=True))
    book.release("e1")
    assert send_what_is_left(book, FakeLog().append) == 1


@pytest.mark.parametrize("failure", [NotLogged("down"), Unknown("silent")])
def test_while_kafka_fails_what_is_left_stays(book, clock, failure):
    keep(book, entry(must_send=True))
    clock.advance(LEASE_SECONDS)
    log = FakeLog()
    log.failure = failure
    assert send_what_is_left(book, log.append) == 0
    log.failure = None
    assert send_what_is_left(book, log.append) == 1


def test_two_workers_never_send_the_same_entry(tmp_path, clock):
    path = tmp_path / "book.sqlite3"
    one, other = GuildBook(path, now=clock), GuildBook(path, now=clock)
    keep(one, entry("e1", must_send=True))
    keep(one, entry("e2", must_send=True))
    clock.advance(LEASE_SECONDS)
    assert [book.lease_unsent() and "leased" for book in (one, other, one)] == ["leased", "leased", None]
    clock.advance(LEASE_SECONDS)  # whoever leased them has died
    assert other.lease_unsent().event_id == "e1"


def test_the_background_thread_sends_at_once_and_stops_when_told(book, clock):
    keep(book, entry(must_send=True))
    clock.advance(LEASE_SECONDS)
    log = FakeLog()
    resender = Resender(book, log.append)
    resender.start()
    resender.stop(timeout=5)
    assert not resender.is_alive()
    assert len(log.events) == 1


# --- idempotency keys


def test_an_unknown_key_finds_nothing(book):
    assert find(book) is None


def test_a_key_of_an_acknowledged_request_finds_its_answer(book):
    keep(book, entry(), "k1")
    book.acknowledge("e1")
    found = find(book)
    assert (found.event_id, found.body, found.acknowledged) == ("e1", {"said": "Guild Joined!"}, True)


def test_a_key_of_a_request_under_way_says_so(book):
    keep(book, entry(), "k1")
    with pytest.raises(InFlight):
        find(book)


def test_a_key_of_a_request_that_was_given_up_hands_the_entry_to_one_caller(book):
    keep(book, entry(), "k1")
    book.release("e1")
    assert find(book).event_id == "e1"
    with pytest.raises(InFlight):
        find(book)


def test_a_key_of_a_request_whose_worker_died_finds_its_entry_when_the_lease_ends(book, clock):
    keep(book, entry(), "k1")
    clock.advance(LEASE_SECONDS)
    assert find(book).event_id == "e1"


def test_a_key_cannot_serve_another_request(book):
    keep(book, entry(), "k1")
    with pytest.raises(OtherRequest):
        find(book, request="join ucbears")


def test_a_keyed_event_that_nothing_counted_is_not_sent_by_the_background_thread(book, clock):
    keep(book, entry(must_send=False), "k1")
    clock.advance(LEASE_SECONDS)
    assert send_what_is_left(book, FakeLog().append) == 0


def test_a_key_is_forgotten_after_a_day_and_not_before(book, clock):
    keep(book, entry(), "k1")
    book.acknowledge("e1")
    clock.advance(REMEMBER_SECONDS)
    assert book.purge() == 0
    assert find(book) is not None
    clock.advance(1)
    assert find(book) is None
    keep(book, entry("e2"), "k1")
    assert book.purge() == 1


def test_a_day_does_not_forget_an_event_that_must_be_sent(book, clock):
    keep(book, entry(must_send=True), "k1")
    clock.advance(REMEMBER_SECONDS + 1)
    book.purge()
    assert find(book) is None
    log = FakeLog()
    assert send_what_is_left(book, log.append) == 1


# --- bad circumstances


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BookUnavailable, match=r"file/book\.sqlite3 cannot be opened"):
        GuildBook(tmp_path / "file" / "book.sqlite3")


def test_a_file_that_is_not_a_book_is_named(tmp_path):
    (tmp_path / "book.sqlite3").write_text("this is no database, " * 100)
    with pytest.raises(BookUnavailable, match="cannot be opened"):
        GuildBook(tmp_path / "book.sqlite3")


def test_a_book_that_another_holds_is_not_available_and_later_it_is(tmp_path):
    path = tmp_path / "book.sqlite3"
    book = GuildBook(path, start=["grubs"])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BookUnavailable, match="locked"):
        join(book)
    other.execute("ROLLBACK")
    assert join(book).guild_member_cnt == 1


IN_GREENLETS = """
from gevent import monkey; monkey.patch_all()
import sqlite3, sys
from pathlib import Path
import gevent
from lab.pipeline.guild_book import GuildBook

path = Path(sys.argv[1])
book = GuildBook(path, start=["grubs"])
other = sqlite3.connect(path, isolation_level=None)
other.execute("BEGIN IMMEDIATE")
waits = gevent.spawn(book.members)
served = 0
while served < 20:
    gevent.sleep(0.001)
    served += 1
assert not waits.ready()
other.execute("ROLLBACK")
print(waits.get(timeout=5))
"""


def test_a_request_that_waits_for_another_process_holds_up_no_other(tmp_path):
    script = [sys.executable, "-c", IN_GREENLETS, str(tmp_path / "book.sqlite3")]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == "{'grubs': 0}\n", done.stderr
