from __future__ import annotations

import io
import json
import re
import tempfile
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from gunicorn.http.errors import InvalidChunkSize
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.pipeline import events, game_api
from lab.pipeline.catalogue import GUILDS, SHIELDS, SWORDS
from lab.pipeline.event_log import NotLogged, Unknown
from lab.pipeline.game_api import BODY_BYTES, HEADER_LENGTH, KEY_LENGTH, NAME_LENGTH, create_app
from lab.pipeline.guild_book import GuildBook, send_what_is_left

ACTIONS = ("/purchase_a_sword", "/purchase_a_shield", "/join_guild", "/leave_guild")


class FakeLog:
    """Takes events in memory; raises `failure` while there is one, and first calls `meanwhile`."""

    def __init__(self):
        self.events = []
        self.keys = []
        self.failure = None
        self.meanwhile = lambda: None

    def append(self, event, key):
        self.meanwhile()
        if self.failure:
            raise self.failure
        self.events.append(event)
        self.keys.append(key)

    @property
    def last(self):
        return self.events[-1]


class Clock:
    def __init__(self):
        self.seconds = 1_000_000.0

    def __call__(self):
        return self.seconds


class Game:
    """The API over a fake log and a real book."""

    def __init__(self, folder):
        self.log = FakeLog()
        self.clock = Clock()
        self.book = GuildBook(Path(folder) / "book.sqlite3", start=GUILDS, now=self.clock)
        self.kafka_answers = True
        self.app = create_app(self.log.append, self.book, lambda: self.kafka_answers)

    def get(self, path, **headers):
        return self.ask("GET", path, headers)

    def ask(self, method, path, headers=None, **more):
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        return self.app.test_client().open(path, method=method, headers=named, **more)


@pytest.fixture
def game(tmp_path):
    made = Game(tmp_path)
    yield made
    made.book.close()


@contextmanager
def a_game():
    with tempfile.TemporaryDirectory() as folder:
        made = Game(folder)
        yield made
        made.book.close()


# --- the routes that students know


def test_the_default_route_logs_a_default_event(game):
    assert game.get("/").status_code == 200
    assert game.log.last["event_type"] == "default"


def test_a_sword_has_its_type_and_its_price(game):
    answer = game.get("/purchase_a_sword/sabre")
    assert answer.status_code == 200
    assert answer.json == {
        "event_id": game.log.last["event_id"],
        "event_type": "purchase_sword",
        "type": "sabre",
        "cost": 6,
        "said": "Sword Purchased!",
    }
    assert (game.log.last["type"], game.log.last["cost"]) == ("sabre", 6)


@pytest.mark.parametrize(
    ("path", "event_type", "name", "cost"),
    [("/purchase_a_sword", "purchase_sword", name, cost) for name, cost in SWORDS.items()]
    + [("/purchase_a_shield", "purchase_shield", name, cost) for name, cost in SHIELDS.items()],
)
def test_every_item_is_sold_at_its_price(game, path, event_type, name, cost):
    assert game.get(f"{path}/{name}").json["cost"] == cost
    assert (game.log.last["event_type"], game.log.last["type"], game.log.last["cost"]) == (event_type, name, cost)


def test_joining_and_leaving_count_members(game):
    game.get("/join_guild/grubs")
    game.get("/join_guild/night_watch")
    answer = game.get("/leave_guild/grubs")
    assert answer.json["said"] == "Guild Left!"
    counts = {"guild_name": "grubs", "guild_member_cnt": 0, "tot_guild_member_cnt": 1, "guild_seq": 3}
    assert game.log.last.items() >= counts.items()
    assert answer.json.items() >= counts.items()


def test_the_sample_traffic_comes_to_its_numbers(game):
    traffic = {
        "user1.comcast.com": [("/", 10), ("/purchase_a_sword/rapier", 2), ("/purchase_a_shield/buckler", 1)]
        + [("/join_guild/ucbears", 5), ("/leave_guild/ucbears", 2)],
        "user2.att.com": [("/purchase_a_sword/iron_sword", 3), ("/join_guild/night_watch", 2)]
        + [("/leave_guild/night_watch", 1), ("/leave_guild/nowhere", 4), ("/purchase_a_sword/butter_knife", 2)],
        "user3.comcast.com": [("/purchase_a_shield/golden_shield", 1)],
    }
    for host, requests in traffic.items():
        for path, times in requests:
            for _ in range(times):
                game.get(path, Host=host)
    types = Counter(event["event_type"] for event in game.log.events)
    assert len(game.log.events) == 33
    assert types["default"] == 10
    assert types["purchase_sword"] + types["purchase_shield"] == 7
    assert sum(event.get("cost", 0) for event in game.log.events) == 75
    assert (types["join_guild"], types["leave_guild"]) == (7, 3)
    assert types["rejected_purchase"] + types["rejected_leave"] == 6
    assert {name: n for name, n in game.book.members().items() if n} == {"ucbears": 3, "night_watch": 1}
    assert {event["Host"] for event in game.log.events} == traffic.keys()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_name_is_in_the_path_or_the_query_or_a_json_body(game, method):
    game.ask(method, "/join_guild/grubs")
    game.ask(method, "/join_guild?name=grubs")
    game.ask(method, "/join_guild/?name=grubs")
    game.ask(method, "/join_guild", json={"name": "grubs"})
    assert game.book.members()["grubs"] == 4


def test_a_new_event_type_is_one_declaration_and_one_route(tmp_path, monkeypatch):
    axe = events.EventType("purchase_axe", "purchases", events.ITEM)
    monkeypatch.setattr(events, "EVENT_TYPES", (*events.EVENT_TYPES, axe))
    monkeypatch.setattr(game_api, "ACTIONS", [*game_api.ACTIONS])

    @game_api.offer("/purchase_an_axe")
    def purchase_an_axe(name):
        return game_api.purchase("purchase_axe", name, "axe", {"adze": 3})

    game = Game(tmp_path)
    assert game.get("/purchase_an_axe/adze").json["said"] == "Axe Purchased!"
    assert game.log.last.items() >= {"event_type": "purchase_axe", "type": "adze", "cost": 3}.items()
    assert game.get("/purchase_an_axe/rapier").status_code == 404
    assert game.log.last["event_type"] == "rejected_purchase"


# --- every event


def test_an_event_has_an_id_a_time_and_a_version(game):
    game.get("/")
    assert uuid.UUID(game.log.last["event_id"]).version == 7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", game.log.last["event_time"])
    assert game.log.last["schema_version"] == events.SCHEMA_VERSION


def test_ids_of_later_events_are_greater(game):
    game.get("/")
    game.clock.seconds += 1
    ids = []
    for _ in range(3):
        game.get("/")
        ids.append(game.log.last["event_id"][:8])
    assert ids == sorted(ids)


def test_headers_are_copied_by_name_and_only_those(game):
    game.get("/", Host="user1.comcast.com", User_Agent="ab", Accept="*/*", X_Game_Time="12:00", Cookie="c", X_Cost="1")
    copied = {"Host": "user1.comcast.com", "User-Agent": "ab", "Accept": "*/*", "game_time": "12:00"}
    assert game.log.last.items() >= copied.items()
    own = {"event_id", "event_time", "event_type", "schema_version"}
    assert game.log.last.keys() == copied.keys() | own


def test_headers_that_are_absent_are_not_in_the_event(game):
    game.get("/")
    assert not game.log.last.keys() & {"Accept", "game_time", "idempotency_key", "may_repeat"}


def test_long_headers_are_cut(game):
    game.get("/", User_Agent="x" * 5000)
    assert game.log.last["User-Agent"] == "x" * HEADER_LENGTH


def test_a_client_cannot_set_the_fields_that_are_the_events_own(game):
    own = {"event_id": "mine", "event_type": "mine", "cost": "0", "guild_seq": "0", "may_repeat": "false"}
    game.ask("GET", "/purchase_a_sword/sabre", own, query_string=own)
    game.ask("POST", "/purchase_a_sword", json={**own, "name": "sabre"})
    for event in game.log.events:
        assert (event["event_type"], event["cost"]) == ("purchase_sword", 6)
        assert event["event_id"] != "mine"
        assert not event.keys() & {"guild_seq", "may_repeat"}


def test_every_answer_carries_the_id_of_its_event(game):
    for path in ("/", "/purchase_a_sword/sabre", "/purchase_a_sword/butter_knife", "/join_guild/grubs"):
        answer = game.get(path)
        assert answer.headers["X-Event-Id"] == game.log.last["event_id"] == answer.json["event_id"]
        assert answer.headers["X-Event-Logged"] == "yes"


def test_guild_events_keep_their_order_in_a_partition_and_others_are_free(game):
    for path in ("/join_guild/grubs", "/leave_guild/grubs", "/", "/purchase_a_sword/sabre", "/leave_guild/nowhere"):
        game.get(path)
    assert game.log.keys == ["grubs", "grubs", None, None, None]


# --- what is rejected


@pytest.mark.parametrize(("kind", "items"), [("sword", SWORDS), ("shield", SHIELDS)])
def test_an_item_that_is_not_sold_is_rejected_and_logged(game, kind, items):
    answer = game.get(f"/purchase_a_{kind}/butter_knife")
    assert answer.status_code == 404
    assert answer.json["error"] == f"There is no such {kind} as butter_knife."
    assert answer.json[f"{kind}s"] == items
    assert game.log.last["event_type"] == "rejected_purchase"
    assert (game.log.last["wanted"], game.log.last["reason"]) == ("butter_knife", f"no such {kind}")


def test_leaving_a_guild_that_does_not_exist_is_rejected_and_logged(game):
    answer = game.get("/leave_guild/nowhere")
    assert answer.status_code == 404
    assert sorted(answer.json["guilds"]) == sorted(GUILDS)
    assert game.log.last["event_type"] == "rejected_leave"
    assert (game.log.last["wanted"], game.log.last["reason"]) == ("nowhere", "no such guild")


@pytest.mark.parametrize("path", ACTIONS)
@pytest.mark.parametrize("more", [{}, {"json": {"nome": "x"}}, {"json": ["x"]}, {"json": {"name": 7}}, {"data": "{"}])
def test_a_request_without_a_name_logs_nothing_and_says_how_to_give_one(game, path, more):
    answer = game.ask("POST", path, **more)
    assert answer.status_code == 400
    assert "name" in answer.json["error"] or "not JSON" in answer.json["error"]
    assert answer.headers["X-Event-Logged"] == "no"
    assert game.log.events == []


def test_a_name_that_is_too_long_logs_nothing(game):
    assert game.get("/join_guild/" + "x" * NAME_LENGTH).status_code == 200
    answer = game.get("/join_guild/" + "x" * (NAME_LENGTH + 1))
    assert answer.status_code == 400
    assert answer.json["error"] == "The name has 101 characters; at most 100 are allowed."
    assert len(game.log.events) == 1


def test_names_are_any_text_without_control_characters(game):
    game.ask("POST", "/join_guild", json={"name": " Gilde\x00 der 🐉\ud800\n "})
    assert game.log.last["guild_name"] == "Gilde der 🐉"


def test_a_route_that_does_not_exist_logs_nothing_and_lists_those_that_do(game):
    answer = game.get("/purchase_a_sward/sabre")
    assert answer.status_code == 404
    assert answer.json["error"] == "There is no route /purchase_a_sward/sabre."
    assert {"/", "/health", *ACTIONS, *(f"{path}/<name>" for path in ACTIONS)} == set(answer.json["routes"])
    assert answer.headers["X-Event-Logged"] == "no"
    assert game.log.events == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/join_guild/grubs"])
def test_another_method_logs_nothing(game, method, path):
    answer = game.ask(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, POST"
    assert answer.mimetype == "application/json"
    assert game.log.events == []


@pytest.mark.parametrize("path", ["/", "/join_guild/grubs", "/join_guild", "/nowhere"])
def test_a_large_body_logs_nothing(game, path):
    answer = game.ask("POST", path, data=b"x" * (BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json["error"]
    assert game.log.events == []


def test_a_large_body_in_chunks_logs_nothing(game):
    """Sent with `Transfer-Encoding: chunked` it announces no length; the server says where it ends."""
    body = io.BytesIO(b"x" * (BODY_BYTES + 1))
    answer = game.ask("POST", "/", input_stream=body, environ_overrides={"wsgi.input_terminated": True})
    assert answer.status_code == 413
    assert game.log.events == []


def test_a_body_whose_chunks_are_malformed_is_the_client_s_mistake(game):
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise InvalidChunkSize(b"zz")

    answer = game.ask("POST", "/", environ_overrides={"wsgi.input": Broken(), "wsgi.input_terminated": True})
    assert answer.status_code == 400
    assert "could not be read" in answer.get_data(as_text=True)
    assert game.log.events == []


def test_a_body_nested_beyond_reason_is_not_json(game):
    assert game.ask("POST", "/join_guild", data="[" * BODY_BYTES).status_code == 400


# --- when Kafka fails


@pytest.mark.parametrize(
    ("failure", "logged", "advice"),
    [
        (NotLogged("Kafka is down."), "no", "send the request again"),
        (Unknown("No answer."), "unknown", "cannot be known"),
    ],
)
def test_a_purchase_that_kafka_has_not_acknowledged_is_503_and_says_what_is_known(game, failure, logged, advice):
    game.log.failure = failure
    answer = game.get("/purchase_a_sword/sabre")
    assert answer.status_code == 503
    assert answer.json["logged"] == answer.headers["X-Event-Logged"] == logged
    assert answer.json["event_id"] == answer.headers["X-Event-Id"]
    assert str(failure) in answer.json["error"]
    assert advice in answer.json["error"]
    assert int(answer.headers["Retry-After"]) > 0


def test_a_rejection_is_answered_only_when_it_is_logged(game):
    game.log.failure = NotLogged("down")
    assert game.get("/purchase_a_sword/butter_knife").status_code == 503
    assert game.get("/leave_guild/nowhere").status_code == 503


@pytest.mark.parametrize(("failure", "seconds"), [(NotLogged("down"), 0), (Unknown("silent"), 12)])
def test_a_membership_that_could_not_be_logged_is_counted_and_logged_later_once(game, failure, seconds):
    game.log.failure = failure
    answer = game.get("/join_guild/grubs")
    assert (answer.status_code, answer.json["logged"]) == (503, "later")
    game.log.failure = None
    game.clock.seconds += seconds
    assert send_what_is_left(game.book, game.log.append) == 1
    assert send_what_is_left(game.book, game.log.append) == 0
    assert game.log.last["event_id"] == answer.json["event_id"]
    assert game.log.last["may_repeat"] is True
    assert game.log.last["guild_member_cnt"] == game.book.members()["grubs"] == 1


def test_a_membership_of_unknown_fate_is_not_logged_again_while_the_first_copy_may_yet_arrive(game):
    game.log.failure = Unknown("silent")
    game.get("/join_guild/grubs")
    game.log.failure = None
    assert send_what_is_left(game.book, game.log.append) == 0


def test_an_acknowledged_membership_is_not_logged_again(game):
    game.get("/join_guild/grubs")
    game.clock.seconds += 1000
    assert send_what_is_left(game.book, game.log.append) == 0


def test_a_book_that_cannot_be_written_is_503_and_logs_nothing_but_purchases_go_on(game):
    game.book.close()
    answer = game.get("/join_guild/grubs")
    assert (answer.status_code, answer.headers["X-Event-Logged"]) == (503, "no")
    assert "counted and logged nothing" in answer.json["error"]
    assert game.log.events == []
    assert game.get("/purchase_a_sword/sabre").status_code == 200
    assert game.get("/").status_code == 200


def test_health_says_whether_kafka_answers_and_logs_nothing(game):
    assert (game.get("/health").status_code, game.get("/health").json) == (200, {"status": "ok"})
    game.kafka_answers = False
    assert (game.get("/health").status_code, game.get("/health").json["status"]) == (503, "Kafka does not answer")
    assert game.log.events == []


# --- idempotency keys


@pytest.mark.parametrize("path", ["/", "/purchase_a_sword/sabre", "/purchase_a_sword/butter_knife"])
def test_a_repeat_gets_the_first_answer_and_logs_nothing_more(game, path):
    first, second = (game.get(path, Idempotency_Key="k1") for _ in range(2))
    assert (second.status_code, second.json) == (first.status_code, first.json)
    assert second.headers["X-Event-Id"] == first.headers["X-Event-Id"]
    assert len(game.log.events) == 1


def test_an_event_with_a_key_says_so_and_that_it_may_repeat(game):
    game.get("/", Idempotency_Key="k1")
    assert (game.log.last["idempotency_key"], game.log.last["may_repeat"]) == ("k1", True)


def test_a_repeated_join_counts_once(game):
    first, second = (game.get("/join_guild/grubs", Idempotency_Key="k1") for _ in range(2))
    assert first.json == second.json
    assert game.book.members()["grubs"] == 1
    assert len(game.log.events) == 1


def test_a_repeated_leave_of_no_guild_stays_rejected_even_when_the_guild_is_made_meanwhile(game):
    first = game.get("/leave_guild/nowhere", Idempotency_Key="k1")
    game.get("/join_guild/nowhere")
    assert game.get("/leave_guild/nowhere", Idempotency_Key="k1").json == first.json


def test_after_a_day_a_key_is_new(game):
    first = game.get("/", Idempotency_Key="k1").json
    game.clock.seconds += 24 * 3600 + 1
    assert game.get("/", Idempotency_Key="k1").json["event_id"] != first["event_id"]


@pytest.mark.parametrize(
    ("path", "host"),
    [("/join_guild/ucbears", "a"), ("/leave_guild/grubs", "a"), ("/", "a"), ("/join_guild/grubs", "b")],
)
def test_a_key_for_another_request_is_refused(game, path, host):
    game.get("/join_guild/grubs", Idempotency_Key="k1", Host="a")
    answer = game.get(path, Idempotency_Key="k1", Host=host)
    assert answer.status_code == 422
    assert "another request" in answer.json["error"]
    assert len(game.log.events) == 1


@pytest.mark.parametrize("key", ["", "x" * (KEY_LENGTH + 1), "a\tb"])
def test_a_key_that_is_empty_too_long_or_not_printable_is_refused(game, key):
    assert game.get("/", Idempotency_Key=key).status_code == 400
    assert game.log.events == []


@pytest.mark.parametrize("failure", [NotLogged("down"), Unknown("silent")])
@pytest.mark.parametrize("path", ["/purchase_a_sword/sabre", "/join_guild/grubs"])
def test_a_repeat_of_a_request_that_failed_sends_the_same_event(game, path, failure):
    attempts = []
    game.log.meanwhile = lambda: attempts.append(1)
    game.log.failure = failure
    first = game.get(path, Idempotency_Key="k1")
    assert first.status_code == 503
    game.log.failure = None
    second = game.get(path, Idempotency_Key="k1")
    assert second.status_code == 200
    assert second.json["event_id"] == game.log.last["event_id"] == first.json["event_id"]
    assert len(attempts) == 2
    assert game.book.members()["grubs"] == (1 if "grubs" in path else 0)


def test_a_repeat_that_is_not_logged_cannot_say_so_of_the_first_attempt(game):
    game.log.failure = Unknown("silent")
    game.get("/purchase_a_sword/sabre", Idempotency_Key="k1")
    game.log.failure = NotLogged("down")
    assert game.get("/purchase_a_sword/sabre", Idempotency_Key="k1").json["logged"] == "unknown"


def test_a_repeat_while_the_first_is_under_way_is_asked_to_come_back(game):
    under_way, go_on = threading.Event(), threading.Event()

    def wait():
        under_way.set()
        assert go_on.wait(10)

    game.log.meanwhile = wait
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(game.get, "/join_guild/grubs", Idempotency_Key="k1")
        assert under_way.wait(10)
        second = game.get("/join_guild/grubs", Idempotency_Key="k1")
        go_on.set()
    assert second.status_code == 409
    assert int(second.headers["Retry-After"]) > 0
    assert second.headers["X-Event-Id"] == first.result().headers["X-Event-Id"]
    assert len(game.log.events) == 1


def test_of_many_first_requests_with_one_key_one_logs(game):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: game.get("/join_guild/grubs", Idempotency_Key="k1"), range(24)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.headers["X-Event-Id"] for answer in answers}) == 1
    assert len(game.log.events) == game.book.members()["grubs"] == 1


# --- open inputs

NAMES = st.text(max_size=130)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Host", "User-Agent", "Accept", "X-Game-Time", "X-Event-Id", "Idempotency-Key", "Cookie", "event_id"]
    ),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=300),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("name"), inner, max_size=3),
    max_leaves=8,
)
OWN = {"event_id", "event_time", "event_type", "schema_version"}


def assert_in_order(game, answer):
    assert answer.status_code < 500, answer.text
    assert answer.headers["X-Event-Id"]
    for event in game.log.events:
        declared = next(known for known in events.EVENT_TYPES if known.name == event["event_type"])
        values = {field.name: event[field.name] for field in declared.fields}
        common = {name: value for name, value in event.items() if name not in values}
        kind = common.pop("event_type")
        assert common.pop("schema_version") == events.SCHEMA_VERSION
        assert events.make_event(kind, values, common) == event
        assert uuid.UUID(event["event_id"]).version == 7
        json.dumps(event, ensure_ascii=False).encode()
    assert len(game.log.events) == (answer.headers["X-Event-Logged"] == "yes")
    assert all(count >= 0 for count in game.book.members().values())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ACTIONS), NAMES, HEADERS)
def test_any_name_and_any_headers_are_answered_in_order(path, name, headers):
    with a_game() as game:
        assert_in_order(game, game.ask("GET", path, headers, query_string={"name": name}))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ACTIONS), JSON)
def test_any_json_body_is_answered_in_order(path, body):
    with a_game() as game:
        assert_in_order(game, game.ask("POST", path, data=json.dumps(body)))


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(ACTIONS), st.binary(max_size=200))
def test_any_bytes_as_body_or_query_are_answered_in_order(path, body):
    with a_game() as game:
        assert_in_order(game, game.ask("POST", path, data=body))
    with a_game() as game:
        assert_in_order(game, game.ask("GET", path, query_string=body.decode("latin-1")))
