"""What has landed: the parquet files on HDFS, read by the examiner itself, and counted in SQL.

The files of a table are those that the metastore names; where it knows no table, those of the newest generation of
each folder (a compacted folder lies beside the one that it replaces, which queries may still read).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from lab.grading import wire
from lab.grading.wire import File, Record, Table, Unreachable
from lab.settings import Settings

MOST_BYTES = 512 * 2**20
GENERATION = re.compile(r"(?P<segment>.*/segment=\d+)/(?P<generation>\d+)/[^/]+")
ATTEMPTS = 5
NO_ROWS = (
    "SELECT NULL::VARCHAR AS table_name, NULL::INTEGER AS kafka_partition, NULL::BIGINT AS kafka_offset, "
    "NULL::VARCHAR AS landed_by, NULL::BLOB AS raw WHERE false"
)
RAW = {"raw_event": "encode(raw_event)", "raw_bytes": "raw_bytes"}
"""The columns in which a table may keep what the topic held, and how that becomes bytes."""


@dataclass
class Landed:
    """Rows by table, in a database of the examiner's own: `topic` (partition, offset, value) beside the tables.

    `rows` holds of each row of any table (table_name, kafka_partition, kafka_offset, landed_by, raw: its bytes).
    """

    database: duckdb.DuckDBPyConnection
    files: dict[str, list[File]] = field(default_factory=dict)

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Raises Unreachable where the rows are not of a kind that this can be asked of."""
        try:
            return self.database.execute(sql, values or None).fetchall()
        except duckdb.Error as error:
            raise Unreachable(f"What has landed cannot be counted: {str(error).splitlines()[0]}") from error

    def value(self, sql: str, *values: object) -> Any:
        return self.ask(sql, *values)[0][0]


def read(settings: Settings, tables: Mapping[str, Table], topic: list[Record]) -> Landed:
    """Read all that stands below the lab's folder of tables. Raises Unreachable."""
    root = f"{settings.tables}/tables"
    for attempt in range(ATTEMPTS):
        there = wire.files(settings, root)
        with tempfile.TemporaryDirectory(prefix="lab-examiner-") as folder:
            try:
                landed = _load(settings, shown(there, root, tables), Path(folder))
            except Unreachable:
                if attempt + 1 == ATTEMPTS or wire.files(settings, root) == there:
                    raise
                continue  # a compaction has moved what was to be read
        break
    landed.database.execute('CREATE TABLE topic ("partition" INTEGER, "offset" BIGINT, value BLOB)')
    if topic:
        landed.database.executemany(
            "INSERT INTO topic VALUES (?, ?, ?)", [(r.partition, r.offset, r.value) for r in topic]
        )
    return landed


def shown(there: list[File], root: str, tables: Mapping[str, Table]) -> dict[str, list[File]]:
    """Which of the files a query sees, by table."""
    found: dict[str, list[File]] = {}
    newest: dict[str, int] = {}
    for file in there:
        match = GENERATION.fullmatch(file.path)
        if match:
            newest[match["segment"]] = max(newest.get(match["segment"], 0), int(match["generation"]))
    for file in there:
        name = file.path.removeprefix(f"{root}/").split("/")[0]
        parts = file.path.removeprefix(root).split("/")
        if any(part.startswith(("_", ".")) for part in parts):
            continue  # staged: no query reads such names
        table = tables.get(name)
        if table is not None and not table.is_view and table.partitions:
            if file.path.rsplit("/", 1)[0] in table.partitions:
                found.setdefault(name, []).append(file)
            continue
        match = GENERATION.fullmatch(file.path)
        if match is None or int(match["generation"]) == newest[match["segment"]]:
            found.setdefault(name, []).append(file)
    return found


def _load(settings: Settings, shown: Mapping[str, list[File]], folder: Path) -> Landed:
    """The rows of these files, each table's in a table of its own, and `rows` over all. Raises Unreachable."""
    size = sum(file.size for some in shown.values() for file in some)
    if size > MOST_BYTES:
        raise Unreachable(f"more than {MOST_BYTES >> 20} MiB have landed: that is not looked at")
    database = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False, "memory_limit": "1GB"})
    unions = [NO_ROWS]
    for number, (name, some) in enumerate(sorted(shown.items())):
        paths = []
        for index, file in enumerate(some):
            path = folder / f"{number}-{index}.parquet"
            path.write_bytes(wire.content(settings, file))
            paths.append(str(path))
        table = '"' + name.replace('"', '""') + '"'
        try:
            database.execute(f"CREATE TABLE {table} AS SELECT * FROM read_parquet(?, union_by_name = true)", [paths])
        except duckdb.Error as error:
            database.close()
            raise Unreachable(f"The files of {name} are no parquet that can be read: {str(error)[:200]}") from error
        columns = {row[0] for row in database.execute(f"DESCRIBE {table}").fetchall()}
        if {"kafka_partition", "kafka_offset"} <= columns:
            by = "landed_by" if "landed_by" in columns else "NULL"
            raw = next((sql for column, sql in RAW.items() if column in columns), "NULL")
            text = "'" + name.replace("'", "''") + "'"
            place = "kafka_partition::INTEGER, kafka_offset::BIGINT"
            unions.append(f"SELECT {text}, {place}, {by}::VARCHAR, {raw} FROM {table}")
    database.execute(f"CREATE VIEW rows AS {' UNION ALL '.join(unions)}")
    return Landed(database, dict(shown))
