"""Queries: the only place that speaks to Presto, and the questions of the assignment, one in each `.sql` file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from pyhive import presto
from pyhive.exc import DatabaseError

from lab.errors import LabError
from lab.settings import Settings, shown_path

SQL = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class Answer:
    """Rows, and the names of their columns."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    @property
    def value(self) -> Any:
        """The only value of an answer with one row and one column."""
        ((value,),) = self.rows
        return value


@dataclass(frozen=True)
class Question:
    """A question of the assignment: the file's name, its first comment, and the SQL that answers it."""

    name: str
    title: str
    sql: str


def questions() -> list[Question]:
    """All questions, in the order of their file names."""
    found = []
    for path in sorted(SQL.glob("*.sql")):
        title, _, sql = path.read_text().partition("\n")
        found.append(Question(path.stem, title.removeprefix("--").strip(), sql.strip().rstrip(";")))
    return found


def question(name: str) -> Question:
    """The question in the file `name`.sql. Raises LabError where there is none."""
    for one in questions():
        if one.name == name:
            return one
    raise LabError(f"There is no question {name}.", f"ls {shown_path(SQL)}")


@contextmanager
def connect(settings: Settings) -> Iterator[Any]:
    """A PyHive cursor on the lab's catalog and schema. Raises LabError when Presto does not answer."""
    host, port = settings.presto_host_port
    session = requests.Session()
    # Polled 20 times a second: PyHive's own default, once a second, makes each query take seconds.
    connection = presto.connect(
        host,
        port=port,
        username=settings.user,
        catalog="hive",
        schema=settings.schema,
        poll_interval=0.01,
        requests_session=session,
        # Of each request, not of the query: PyHive asks again until the query has ended.
        requests_kwargs={"timeout": 30},
    )
    try:
        yield connection.cursor()
    except requests.RequestException as error:
        raise LabError(
            f"Presto does not answer at {settings.presto} ({type(error).__name__}).", "make step-1"
        ) from None
    except DatabaseError as error:
        raise LabError(f"Presto refused a query: {explain(error)}", "make doctor") from error
    finally:
        session.close()


def ask(settings: Settings, sql: str) -> Answer:
    """The whole answer to one query."""
    with connect(settings) as cursor:
        cursor.execute(sql)
        rows = [tuple(row) for row in cursor.fetchall()]
        return Answer([column[0] for column in cursor.description or []], rows)


def explain(error: DatabaseError) -> str:
    """Presto's own sentence, out of what PyHive raises."""
    cause = error.args[0] if error.args else str(error)
    return str(cause.get("message", cause)) if isinstance(cause, dict) else str(cause)


def table_columns(settings: Settings) -> dict[str, list[str]]:
    """The tables that the metastore knows in the lab's schema, and the columns of each, in order."""
    answer = ask(
        settings,
        "SELECT table_name, column_name FROM information_schema.columns "
        f"WHERE table_schema = '{settings.schema}' ORDER BY table_name, ordinal_position",
    )
    found: dict[str, list[str]] = {}
    for table, column in answer.rows:
        found.setdefault(table, []).append(column)
    return found
