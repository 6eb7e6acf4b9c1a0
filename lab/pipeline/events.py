"""The contract: what an event is. The payload, Spark's schema and the tables' columns derive from here.

To add an event type: add an `EventType` to `EVENT_TYPES` below and a route to `game_api`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Field:
    """One value of an event.

    `name` is its key in the JSON payload, `type` one of `string`, `int`, `bigint` and `boolean` (the same word in
    Spark and in Hive). A `required` field is never null in a table.
    """

    name: str
    type: str = "string"
    required: bool = False

    @property
    def column(self) -> str:
        """Its column in a table: Hive's names are lower case."""
        return self.name.lower()


@dataclass(frozen=True)
class EventType:
    """A kind of event, and the table that its rows are landed in."""

    name: str
    table: str
    fields: tuple[Field, ...] = ()


COMMON = (
    Field("event_id", required=True),
    Field("event_time", required=True),  # UTC, ISO 8601 with microseconds
    Field("schema_version", "int", required=True),
    Field("event_type", required=True),
    Field("Host"),
    Field("User-Agent"),
    Field("Accept"),
    Field("game_time"),  # the X-Game-Time header, as it was sent
    Field("idempotency_key"),
    Field("may_repeat", "boolean"),  # the same event may stand elsewhere in the topic: landing looks
)
ITEM = (Field("type", required=True), Field("cost", "int", required=True))
GUILD = (
    Field("guild_name", required=True),
    Field("guild_member_cnt", "int", required=True),
    Field("tot_guild_member_cnt", "int", required=True),
    Field("guild_seq", "bigint", required=True),  # counts all guild events of this game, from 1
)
REJECTED = (Field("wanted", required=True), Field("reason", required=True))

EVENT_TYPES = (
    EventType("default", "defaults"),
    EventType("purchase_sword", "purchases", ITEM),
    EventType("purchase_shield", "purchases", ITEM),
    EventType("join_guild", "guilds", GUILD),
    EventType("leave_guild", "guilds", GUILD),
    EventType("rejected_purchase", "rejected", REJECTED),
    EventType("rejected_leave", "rejected", REJECTED),
)

QUARANTINE = "quarantine"
"""The table of what cannot be read as an event: its bytes, where they stood, and the reason."""
REPEATS = "repeats"
"""The table of events that were landed before: counted, and in no other table."""


def payload_fields() -> tuple[Field, ...]:
    """Every field that any event has, once each, in the order of declaration."""
    fields = {field.name: field for field in COMMON}
    for event_type in EVENT_TYPES:
        for field in event_type.fields:
            known = fields.setdefault(field.name, field)
            if known != field:
                raise ValueError(f"{field.name} is declared twice, and differently: {known} and {field}")
    return tuple(fields.values())


def make_event(event_type: str, values: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """An event as it is logged: the fields of `event_type`, and of `common` those that are not None.

    Raises KeyError for an undeclared type, and ValueError where a value is missing, superfluous or of another type.
    """
    declared = next((known for known in EVENT_TYPES if known.name == event_type), None)
    if declared is None:
        raise KeyError(f"{event_type} is not declared in EVENT_TYPES")
    event = {"event_type": event_type, "schema_version": SCHEMA_VERSION}
    event.update((name, value) for name, value in common.items() if value is not None)
    event.update(values)
    fields = {field.name: field for field in COMMON + declared.fields}
    unknown = sorted(event.keys() - fields.keys())
    missing = sorted(name for name, field in fields.items() if field.required and event.get(name) is None)
    if unknown or missing:
        raise ValueError(f"{event_type}: undeclared fields {unknown}, missing fields {missing}")
    for name, value in event.items():
        if type(value) is not {"string": str, "int": int, "bigint": int, "boolean": bool}[fields[name].type]:
            raise ValueError(f"{event_type}: {name} is {value!r}, not a {fields[name].type}")
    return event


LANDED = (
    Field("raw_event", required=True),
    Field("timestamp", required=True),  # when Kafka stored it, UTC, as text: `2026-01-31 12:00:00.123`
    Field("kafka_topic_id", required=True),
    Field("kafka_partition", "int", required=True),
    Field("kafka_offset", "bigint", required=True),
    Field("landed_by", required=True),  # batch or stream
)
UNREADABLE = (
    Field("raw_bytes", "binary"),
    Field("reason", required=True),
    *(field for field in LANDED if field.name != "raw_event"),
)


def tables() -> dict[str, tuple[Field, ...]]:
    """The columns of each external table, by its name: first those that the course knows, then the lab's own."""
    course = [
        field for name in ("Accept", "Host", "User-Agent", "event_type") for field in COMMON if field.name == name
    ]
    own = [field for field in COMMON if field not in course]
    special: dict[str, dict[str, Field]] = {}
    for event_type in EVENT_TYPES:
        special.setdefault(event_type.table, {}).update((field.name, field) for field in event_type.fields)
    result = {table: (*LANDED[:2], *course, *fields.values(), *own, *LANDED[2:]) for table, fields in special.items()}
    result[REPEATS] = (*LANDED[:2], *course, *own, *LANDED[2:])
    result[QUARANTINE] = UNREADABLE
    return result
