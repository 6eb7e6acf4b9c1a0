"""The game's API: turns a player's request into one event, and answers once Kafka has it.

A route decides what a request means, as an `Outcome`; `create_app` does the rest, the same for all of them. To add an
event type: declare it in `events`, and write one more `@offer` here.
"""

from __future__ import annotations

import json
import logging
import secrets
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from lab.pipeline.catalogue import GUILDS, SHIELDS, SWORDS
from lab.pipeline.event_log import EventLog, NotLogged, Unknown
from lab.pipeline.events import make_event
from lab.pipeline.faults import clock
from lab.pipeline.guild_book import BookUnavailable, Entry, GuildBook, InFlight, OtherRequest, Page, Resender
from lab.settings import Settings

COPIED_HEADERS = {"Host": "Host", "User-Agent": "User-Agent", "Accept": "Accept", "X-Game-Time": "game_time"}
"""The headers that an event carries, and the field that each becomes. No other header is copied."""
HEADER_LENGTH = 256
NAME_LENGTH = 100
KEY_LENGTH = 255
BODY_BYTES = 8 * 1024
RETRY_AFTER_SECONDS = 2
GUILDS_SHOWN = 100

Append = Callable[[dict[str, Any], "str | None"], object]
Answer = tuple[dict[str, Any], int]


@dataclass(frozen=True)
class Outcome:
    """What a request comes to: an event of `event_type` with `values`, and what the answer adds to them.

    Events of one `kafka_key` share a partition, in order. Events without a key spread over the partitions evenly. Keyed
    by player they would not, since few players make most of the traffic; and nothing needs a player's events in order.
    """

    event_type: str
    values: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200
    kafka_key: str | None = None
    counted: bool = False
    """Whether the guild book now counts it, so that its event must be logged, sooner or later."""


@dataclass(frozen=True)
class Action:
    """What a player can do with a name: `decide(name)`, or, `in_book`, `decide(name, page)` in one transaction."""

    path: str
    decide: Callable[..., Outcome]
    in_book: bool


ACTIONS: list[Action] = []


def offer(path: str, in_book: bool = False) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Offer the decorated decision at `path`, with the name in the path, the query string or a JSON body."""

    def register(decide: Callable[..., Outcome]) -> Callable[..., Outcome]:
        ACTIONS.append(Action(path, decide, in_book))
        return decide

    return register


@offer("/purchase_a_sword")
def purchase_a_sword(name: str) -> Outcome:
    return purchase("purchase_sword", name, "sword", SWORDS)


@offer("/purchase_a_shield")
def purchase_a_shield(name: str) -> Outcome:
    return purchase("purchase_shield", name, "shield", SHIELDS)


@offer("/join_guild", in_book=True)
def join_guild(name: str, page: Page) -> Outcome:
    counts = asdict(page.join(name))
    return Outcome("join_guild", counts, {"said": "Guild Joined!"}, kafka_key=name, counted=True)


@offer("/leave_guild", in_book=True)
def leave_guild(name: str, page: Page) -> Outcome:
    counts = page.leave(name)
    if counts is None:
        return rejection("rejected_leave", name, "no such guild", {"guilds": page.guilds(GUILDS_SHOWN)})
    return Outcome("leave_guild", asdict(counts), {"said": "Guild Left!"}, kafka_key=name, counted=True)


def purchase(event_type: str, name: str, kind: str, prices: Mapping[str, int]) -> Outcome:
    """The purchase of an item of `prices`; rejected where it is not among them."""
    if name not in prices:
        return rejection("rejected_purchase", name, f"no such {kind}", {f"{kind}s": prices})
    return Outcome(event_type, {"type": name, "cost": prices[name]}, {"said": f"{kind.title()} Purchased!"})


def rejection(event_type: str, name: str, reason: str, what_exists: Mapping[str, Any]) -> Outcome:
    """An event of its own, and a 404 that says what there is instead."""
    answer = {"error": f"There is {reason} as {name}.", **what_exists}
    return Outcome(event_type, {"wanted": name, "reason": reason}, answer, status=404)


def create_app(log_event: Append, guild_book: GuildBook, kafka_answers: Callable[[], bool] = lambda: True) -> Flask:
    """The API. `log_event(event, kafka_key)` returns once the event is logged, or raises NotLogged or Unknown."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES + 1  # one more than allowed, to notice that there is more
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect looks like success to a traffic script, and logs nothing

    @app.route("/", methods=["GET", "POST"], provide_automatic_options=False)
    def default() -> Answer:
        return respond(["/"], lambda *page: Outcome("default", answer={"said": "This is the default response!"}))

    @app.route("/health", provide_automatic_options=False)
    def health() -> Answer:
        """Whether requests can succeed. Logs no event."""
        answers = kafka_answers()
        return {"status": "ok" if answers else "Kafka does not answer"}, 200 if answers else 503

    def act(action: Action, name: str | None = None) -> Answer:
        wanted = requested_name(name, action.path)
        return respond([action.path, wanted], lambda *page: action.decide(wanted, *page), action.in_book)

    for action in ACTIONS:
        view = partial(act, action)
        for rule in (action.path, f"{action.path}/<name>"):
            app.add_url_rule(rule, action.path, view, methods=["GET", "POST"], provide_automatic_options=False)

    def respond(asked: list[str], decide: Callable[..., Outcome], in_book: bool = False) -> Answer:
        """Decide, unless this very request has been decided before; then log the event and answer."""
        if request.method == "HEAD":  # Flask offers it beside GET; it would log an event for an answer without a body
            raise MethodNotAllowed(["GET", "POST"])
        key = idempotency_key()
        if key is None and not in_book:
            return deliver(compose(decide(), key))
        asked_by = json.dumps([*asked, copied_headers().get("Host")])
        try:
            with guild_book.page() as page:
                known = page.find(key, asked_by) if key else None
                entry = known or compose(decide(page) if in_book else decide(), key)
                kept = key is not None or entry.must_send
                if kept and not known:
                    page.keep(entry, key, asked_by)
        except OtherRequest:
            return {"error": "This Idempotency-Key belongs to another request. Take a new key for a new request."}, 422
        except InFlight as in_flight:
            g.event_id, g.logged = str(in_flight), "unknown"
            return {"error": "The first request with this Idempotency-Key is still under way. Ask again soon."}, 409
        except BookUnavailable as error:
            return {"error": f"{error} This request counted and logged nothing: send it again."}, 503
        g.event_id = entry.event_id
        if entry.acknowledged:
            g.logged = "yes"
            return entry.body, entry.status
        return deliver(entry, kept, again=known is not None)

    def deliver(entry: Entry, kept: bool = False, again: bool = False) -> Answer:
        """Log the event of `entry`, which is `kept` in the book or not, and answer."""
        try:
            log_event(entry.event, entry.kafka_key)
        except (NotLogged, Unknown) as failure:
            certain = isinstance(failure, NotLogged)
            # an event without `may_repeat` is not sent again before its lease ends: should the first copy yet arrive,
            # it arrives first, and it is the second that says that it may be a repeat
            if kept and (certain or "may_repeat" in entry.event):
                settle(guild_book.release, entry)
            g.logged = "later" if entry.must_send else "no" if certain and not again else "unknown"
            advice = {
                "later": "It is counted, and its event will be logged once Kafka answers: do not send it again.",
                "no": "Nothing was logged: send the request again.",
                "unknown": "Whether the event was logged cannot be known. A repeat is only safe with the same "
                "Idempotency-Key as the first request.",
            }
            return {"event_id": entry.event_id, "logged": g.logged, "error": f"{failure} {advice[g.logged]}"}, 503
        g.logged = "yes"
        if kept:
            settle(guild_book.acknowledge, entry)
        return entry.body, entry.status

    def settle(note: Callable[[str], None], entry: Entry) -> None:
        try:
            note(entry.event_id)
        except BookUnavailable as error:  # the answer stands; the entry is sent again when its lease ends
            logging.getLogger(__name__).warning("%s could not be settled: %s", entry.event_id, error)

    @app.before_request
    def begin() -> None:
        g.event_id, g.logged = new_event_id(), "no"
        # Flask checks a length that is announced; a body that comes in chunks it only cuts
        try:
            body = request.get_data()
        except ParseException:  # gunicorn reads a body in chunks only when it is asked for it
            raise BadRequest("The body could not be read: its chunks are malformed.") from None
        if len(body) > BODY_BYTES:
            raise RequestEntityTooLarge

    @app.after_request
    def label(response: Response) -> Response:
        response.headers["X-Event-Id"] = g.get("event_id") or new_event_id()
        response.headers["X-Event-Logged"] = g.get("logged", "no")
        if response.status_code in (409, 503):
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException) -> Response:
        response = Response(status=error.code, mimetype="application/json")
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted({*error.valid_methods} - {"HEAD"}))
        body: dict[str, Any] = {"error": error.description}
        if isinstance(error, NotFound):
            routes = sorted({rule.rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"})
            body = {"error": f"There is no route {request.path}.", "routes": routes}
        response.set_data(json.dumps(body) + "\n")
        return response

    return app


def compose(outcome: Outcome, key: str | None) -> Entry:
    """The event of the present request, and the answer that waits for it."""
    common = {
        **copied_headers(),
        "event_id": g.event_id,
        "event_time": datetime.fromtimestamp(clock(), timezone.utc)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z"),
        "idempotency_key": key,
        "may_repeat": True if key else None,
    }
    event = make_event(outcome.event_type, outcome.values, common)
    body = {"event_id": g.event_id, "event_type": outcome.event_type, **outcome.values, **outcome.answer}
    return Entry(event, outcome.kafka_key, outcome.status, body, must_send=outcome.counted)


def copied_headers() -> dict[str, str]:
    """The fields that come from the request's headers; those that are absent, or empty, are not in it."""
    copied = ((name, printable(request.headers.get(header, ""))) for header, name in COPIED_HEADERS.items())
    return {name: text[:HEADER_LENGTH] for name, text in copied if text}


def requested_name(in_path: str | None, path: str) -> str:
    """The name that the request is about: in the path, else in the query string, else in the JSON body."""
    name: Any = in_path or request.args.get("name")
    if name is None and request.get_data():
        try:
            body = json.loads(request.get_data())
        except (ValueError, RecursionError):
            raise BadRequest("The body is not JSON.") from None
        name = body.get("name") if isinstance(body, dict) else None
    name = printable(name).strip() if isinstance(name, str) else ""
    if not name:
        raise BadRequest(f'A name is missing: {path}/<name>, {path}?name=<name>, or a JSON body {{"name": "<name>"}}.')
    if len(name) > NAME_LENGTH:
        raise BadRequest(f"The name has {len(name)} characters; at most {NAME_LENGTH} are allowed.")
    return name


def idempotency_key() -> str | None:
    """The request's Idempotency-Key, if it has one."""
    key: str | None = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= KEY_LENGTH and key.isprintable()):
        raise BadRequest(f"An Idempotency-Key has 1 to {KEY_LENGTH} printable characters.")
    return key


def printable(text: str) -> str:
    """`text` without control characters and lone surrogates: the latter are not text, and SQLite refuses them."""
    if text.isprintable():  # most are, and this is quick
        return text
    return "".join(character for character in text if unicodedata.category(character) not in ("Cc", "Cs"))


def new_event_id() -> str:
    """A UUID of version 7: it begins with the time, so that files hold close ids and others can be skipped."""
    milliseconds = int(clock() * 1000)
    random = secrets.randbits(12) << 64 | secrets.randbits(62)
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | random))


def wsgi() -> Flask:
    """The API of this lab, for a WSGI server. Call it in the worker: nothing in it survives a fork."""
    settings = Settings.from_env()
    event_log = EventLog(settings)
    guild_book = GuildBook(settings.data / "api" / "guild_book.sqlite3", start=GUILDS, now=clock)
    resender = Resender(guild_book, event_log.append)
    resender.start()

    def close() -> None:
        """Every request has been answered: end the background thread, and flush what it was sending."""
        resender.stop(timeout=2.0)
        event_log.close(timeout=2.0)
        guild_book.close()

    app = create_app(event_log.append, guild_book, event_log.answers)
    app.extensions["close"] = close
    return app
