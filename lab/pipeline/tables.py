"""The Hive tables: external, parquet, over the folders that batch and stream land in.

They are made with SQL that Presto hands to the metastore; dropping one drops its name, never the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.pipeline.events import Field, tables
from lab.pipeline.layout import PARTITION_KEYS
from lab.settings import Settings

PRESTO_TYPES = {"string": "varchar", "int": "integer", "bigint": "bigint", "boolean": "boolean", "binary": "varbinary"}

VIEWS = {"sword_purchases": "SELECT * FROM purchases WHERE event_type = 'purchase_sword'"}
"""Tables that are a part of another: a view holds exactly those rows at any moment, a second copy would not."""
VIEW_FILES = Path(__file__).parent / "sql" / "views"
"""Views that work something out of the events, one in each file; the files are in the order of their names."""


def statements(settings: Settings, present: Mapping[str, list[str]]) -> list[str]:
    """The SQL that makes the tables as declared, where `present` says which columns which table has already."""
    made = []
    for table, fields in tables().items():
        if table in present and not set(PARTITION_KEYS) <= set(present[table]):
            made.append(f"DROP TABLE {table}")  # of an earlier layout; its files stay where they are
        if table not in present or not set(PARTITION_KEYS) <= set(present[table]):
            made.append(create_table(settings, table, fields))
        else:
            missing = [field for field in fields if field.column not in present[table]]
            made += [f"ALTER TABLE {table} ADD COLUMN {_column(field)}" for field in missing]
    views = {**VIEWS, **{path.stem: path.read_text().strip() for path in sorted(VIEW_FILES.glob("*.sql"))}}
    return made + [f"CREATE OR REPLACE VIEW {name} AS\n{query}" for name, query in views.items()]


def create_table(settings: Settings, table: str, fields: tuple[Field, ...]) -> str:
    keys = tuple(Field(name, type) for name, type in PARTITION_KEYS.items())
    columns = ",\n  ".join(_column(field) for field in fields + keys)
    location = f"hdfs://{settings.hdfs}{settings.tables}/tables/{table}"
    names = ", ".join(f"'{key.name}'" for key in keys)
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (\n  {columns}\n)\n"
        f"WITH (format = 'PARQUET', external_location = '{location}', partitioned_by = ARRAY[{names}])"
    )


def _column(field: Field) -> str:
    return f'"{field.column}" {PRESTO_TYPES[field.type]}'
