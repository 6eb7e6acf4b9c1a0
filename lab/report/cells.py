"""What the cells of the report call: each function shows something that it has just asked or measured."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

import psutil
import requests
from IPython.display import Markdown, display

from lab import atomic
from lab.errors import LabError
from lab.ledger import account, files
from lab.pipeline import events, queries
from lab.report import markdown
from lab.settings import ROOT, Settings

LAB = Settings.from_env()
COMMAND_SECONDS = 120


def say(text: str) -> None:
    """Show Markdown."""
    display(Markdown(text))


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
    say(markdown.table(rows, headers))


def ask(sql: str) -> queries.Answer:
    """Presto's answer."""
    try:
        return queries.ask(LAB, sql)
    except LabError as error:
        if "does not exist" in error.what:
            raise LabError(error.what, "make step-7") from error
        raise


def question(name: str) -> queries.Answer:
    """Presto's answer to a question of the assignment."""
    return ask(queries.question(name).sql)


def query(sql: str) -> None:
    """Show a query, and Presto's answer to it."""
    answer = ask(sql)
    say(f"{markdown.fence(sql, 'sql')}\n\n{markdown.table(answer.rows, answer.columns)}")


def show(name: str) -> None:
    """Show a question of the assignment: its SQL, and Presto's answer to it."""
    query(queries.question(name).sql)


def command(*argv: str) -> None:
    """Run one of the engines' own commands, and show it as typed, with what it printed."""
    say(markdown.fence(f"$ {shlex.join(argv)}\n{_printed(argv)}", "console"))


def kept(name: str, *argv: str) -> None:
    """Show a command that a step has run, and what it printed then."""
    file = LAB.home / "printed" / f"{name}.txt"
    printed = file.read_text(encoding="utf-8").strip() if file.is_file() else "(nothing was kept of what it printed)"
    say(markdown.fence(f"$ {shlex.join(argv)}\n{printed}", "console"))


def stream_says(most: int = 3) -> None:
    """Show the stream's command, and the first lines in which it told of a micro-batch."""
    log = LAB.logs / "stream.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    told = [line for line in lines if "micro-batch" in line][:most]
    say(markdown.fence("\n".join(["$ spark-submit lab/pipeline/stream_job.py &", *told]), "console"))


@functools.cache
def _printed(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=COMMAND_SECONDS, cwd=ROOT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{argv[0]} could not be run: {error}") from error
    if done.returncode != 0:
        raise LabError(f"{shlex.join(argv)} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


@functools.cache
def followed() -> dict[str, Any]:
    """The one event that the report follows: the first sword that was bought, as its row in `purchases`."""
    answer = ask(
        "SELECT * FROM purchases WHERE event_type = 'purchase_sword' "
        "ORDER BY timestamp, kafka_partition, kafka_offset LIMIT 1"
    )
    if not answer.rows:
        raise LabError("Nobody has bought a sword yet: the report has no event to follow.", "make step-4")
    return dict(zip(answer.columns, answer.rows[0], strict=True))


def row(values: dict[str, Any]) -> None:
    """Show one row of a table, a line for each column."""
    table([(name, "null" if value is None else str(value)) for name, value in values.items()], ["column", "value"])


def reads(event: dict[str, Any]) -> list[str]:
    """The command that reads an event's message where it stands in the topic."""
    place = ["--partition", str(event["kafka_partition"]), "--offset", str(event["kafka_offset"])]
    once = ["--max-messages", "1", "--timeout-ms", "20000"]
    return ["kafka-console-consumer", "--bootstrap-server", LAB.kafka, "--topic", LAB.topic, *place, *once]


def came_through(event: dict[str, Any]) -> None:
    """Compare an event's row with its message in the topic. Raises LabError when they differ."""
    message = _printed(tuple(reads(event))).rstrip("\n")
    if event["raw_event"] != message or json.loads(message)["event_id"] != event["event_id"]:
        raise LabError(
            f"The row of {event['event_id']} is not what stands at its offset in the topic: {message[:300]!r}."
        )
    say(f"Its column `raw_event` holds the topic's message, all {len(message)} characters of it, unchanged.")


def file_of(event_id: str) -> str:
    """The file on HDFS in which an event of `purchases` stands."""
    url = ask(f"SELECT \"$path\" FROM purchases WHERE event_id = '{event_id}'").value
    return "/" + str(url).split("://", 1)[1].split("/", 1)[1]


@functools.cache
def closed() -> account.Account:
    """The account of the run, closed when the report first asked for it."""
    return account.take(LAB)


def landed_by() -> dict[str, int]:
    """How many rows the batch job and the stream have landed, in all tables together."""
    each = " UNION ALL ".join(f"SELECT landed_by FROM {table}" for table in events.tables())
    return dict(ask(f"SELECT landed_by, count(*) FROM ({each}) GROUP BY landed_by").rows)


def diagram() -> None:
    """Show the hops, and what was counted at each."""
    taken = closed()
    by = landed_by()
    landed = files.landed_files(LAB)
    answered = taken.answered.get("requests answered", 0)
    logged = taken.answered.get("events acknowledged", 0)
    tables = taken.tables
    others = max(0, taken.records - logged)
    past_the_api = f'\n  others(["written past the API,<br>or not confirmed"]) -- "{others:,} records" --> kafka'
    mermaid = f"""flowchart LR
  players([players]) -- "{answered:,} requests" --> api[Flask API]
  api -- "{logged:,} events" --> kafka[("Kafka topic<br>{taken.records:,} records")]{past_the_api if others else ""}
  kafka -- "{by.get("batch", 0):,} records" --> batch[Spark batch]
  kafka -- "{by.get("stream", 0):,} records" --> stream[Spark streaming]
  batch & stream --> hdfs[("HDFS<br>{len(landed):,} parquet files")]
  hdfs --- hive["Hive metastore<br>{len(tables)} tables"]
  hive --> presto["Presto<br>{sum(tables.values()):,} rows"]
  presto --> report[this report]"""
    # a page without a network cannot draw Mermaid: it gets the same hops as a list
    hops = [
        ("Players", f"{answered:,} requests"),
        ("Flask API", f"{logged:,} events"),
        ("Kafka topic", f"{taken.records:,} records" + (f", {others:,} of them past the API" if others else "")),
        ("Spark", f"{by.get('batch', 0):,} by batch, {by.get('stream', 0):,} by the stream"),
        ("HDFS", f"{len(landed):,} parquet files"),
        ("Hive metastore", f"{len(tables)} tables"),
        ("Presto", f"{sum(tables.values()):,} rows"),
    ]
    items = "".join(f"<li><b>{name}</b>{count}</li>" for name, count in hops)
    words = "; ".join(f"{name}: {count}" for name, count in hops)
    shown = {"text/markdown": markdown.fence(mermaid, "mermaid"), "text/html": f'<ol class="hops">{items}</ol>'}
    display({**shown, "text/plain": words}, raw=True)


def files_by_table() -> None:
    """Show how many files, and bytes, each table has on HDFS."""
    found = files.landed_files(LAB)
    rows = []
    for name in events.tables():
        sizes = [entry.size for entry in found if entry.segment.table == name]
        rows.append((name, len(sizes), sum(sizes)))
    table(rows, ["table", "files", "bytes"])


def the_account() -> None:
    """Show the count at each hop, and whether the counts agree as they must."""
    taken = closed()
    table(taken.rows(), ["hop", "what", "count"])
    checks = [(one.what, one.expected, one.found, "yes" if one.ok else "**NO**") for one in taken.checks()]
    lines = markdown.table([row[:3] for row in checks], ["what must hold", "expected", "found"]).splitlines()
    ends = ["holds", "---", *(row[3] for row in checks)]
    say("\n".join(f"{line} {end} |" for line, end in zip(lines, ends, strict=True)))


def pivot(name: str) -> None:
    """Show a question whose last column is JSON, names with numbers: each name gets a column."""
    answer = question(name)
    maps = [json.loads(row[-1]) for row in answer.rows]
    keys = sorted({key for one in maps for key in one}, key=lambda key: (-sum(one.get(key, 0) for one in maps), key))
    rows = [(*row[:-1], *(one.get(key, 0) for key in keys)) for row, one in zip(answer.rows, maps, strict=True)]
    say(f"{markdown.fence(queries.question(name).sql, 'sql')}\n\n{markdown.table(rows, [*answer.columns[:-1], *keys])}")


def sql_of(name: str) -> None:
    """Show a question's SQL, where its answer is only the input of what follows."""
    say(markdown.fence(queries.question(name).sql, "sql"))


def table_definition(name: str) -> None:
    """Show a table as the metastore has it, in Presto's words."""
    (definition,) = ask(f"SHOW CREATE TABLE {name}").rows[0]
    say(markdown.fence(definition, "sql"))


def step_seconds() -> None:
    """Show how long each step took last, and how much memory the lab then had: from the notes that the steps left."""
    noted = atomic.read_json(LAB.home / "steps.json") or {}
    rows = [
        (int(number), one["title"], f"{one['seconds']:.1f}", f"{one['memory'] / 2**30:.2f}")
        for number, one in sorted(noted.items())
    ]
    table(rows, ["step", "what", "seconds", "memory afterwards, GiB"])


def settings() -> None:
    """Show this lab's settings that shape its data."""
    shown = ("topic", "partitions", "replication", "tables", "schema", "spark_master", "trigger_seconds")
    table([(f"LAB_{name.upper()}", str(getattr(LAB, name))) for name in shown], ["setting", "value"])


def machine() -> None:
    """Show the machine that all this ran on."""
    memory = psutil.virtual_memory().total / 2**30
    rows = [
        ("system", f"{platform.system()} {platform.machine()}"),
        ("processors", str(psutil.cpu_count())),
        ("memory", f"{memory:.0f} GiB"),
    ]
    table(rows, ["what", "here"])


def versions() -> None:
    """Show the versions, as the running engines and the installed packages tell them."""
    host = LAB.hdfs.partition(":")[0]
    namenode = f"http://{host}:{LAB.namenode_http_port}/jmx?qry=Hadoop:service=NameNode,name=NameNodeInfo"
    try:
        (bean,) = requests.get(namenode, timeout=10).json()["beans"]
    except (requests.RequestException, ValueError) as error:
        raise LabError(f"HDFS does not answer at {host}:{LAB.namenode_http_port}: {error}", "make step-1") from error
    presto = ask("SELECT node_version FROM system.runtime.nodes ORDER BY coordinator DESC LIMIT 1").value
    packages = ["pyspark", "kafka-python", "flask", "pyhive", "jupytext"]
    rows = [("HDFS", bean["SoftwareVersion"]), ("Presto", presto)]
    table(rows + [(package, importlib.metadata.version(package)) for package in packages], ["what", "version"])
