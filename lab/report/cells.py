"""What the cells of the report call: each function shows something that it has just asked or measured."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

import requests
from IPython.display import Markdown, display
from matplotlib import rc_context
from matplotlib.figure import Figure

from lab.errors import LabError
from lab.ledger import account, files
from lab.pipeline import events, queries
from lab.report import markdown
from lab.settings import ROOT, Settings

LAB = Settings.from_env()
COMMAND_SECONDS = 120
BLUE = "#0072B2"  # told apart by the colour-blind, and strong enough on white


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


def query(sql: str) -> None:
    """Show a query, and Presto's answer to it."""
    answer = ask(sql)
    say(f"{markdown.fence(sql, 'sql')}\n\n{markdown.table(answer.rows, answer.columns)}")


def show(name: str) -> None:
    """Show a question of the assignment: its SQL, and Presto's answer to it."""
    query(question(name).sql)


def question(name: str) -> queries.Question:
    return next(one for one in queries.questions() if one.name == name)


def command(*argv: str) -> None:
    """Run one of the engines' own commands, and show it as typed, with what it printed."""
    say(markdown.fence(f"$ {shlex.join(argv)}\n{_printed(argv)}", "console"))


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
    say(
        markdown.fence(
            f"""flowchart LR
  players([players]) -- "{answered:,} requests" --> api[Flask API]
  api -- "{logged:,} events" --> kafka[("Kafka topic<br>{taken.records:,} records")]{past_the_api if others else ""}
  kafka -- "{by.get("batch", 0):,} records" --> batch[Spark batch]
  kafka -- "{by.get("stream", 0):,} records" --> stream[Spark streaming]
  batch & stream --> hdfs[("HDFS<br>{len(landed):,} parquet files")]
  hdfs --- hive["Hive metastore<br>{len(tables)} tables"]
  hive --> presto["Presto<br>{sum(tables.values()):,} rows"]
  presto --> report[this report]""",
            "mermaid",
        )
    )


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


def bars(answer: queries.Answer, label: str, value: str, title: str, unit: str) -> None:
    """Show a bar for each row: its length is the column `value`, counted in `unit`; its name the column `label`."""
    names = [str(row[answer.columns.index(label)]) for row in answer.rows]
    numbers = [float(row[answer.columns.index(value)]) for row in answer.rows]
    alt = f"{title}, in {unit}: " + ", ".join(f"{name} {number:g}" for name, number in zip(names, numbers, strict=True))
    # without a salt of its own, matplotlib would name the parts of the picture differently each time
    with rc_context({"svg.hashsalt": "lab", "font.size": 10}):
        figure = Figure(figsize=(7, 0.8 + 0.32 * len(names)), layout="constrained")
        figure.set_facecolor("white")  # not transparent: dark letters on a dark page cannot be read
        axes = figure.subplots()
        drawn = axes.barh(names, numbers, color=BLUE)
        axes.bar_label(drawn, labels=[f"{number:g}" for number in numbers], padding=3)
        axes.invert_yaxis()
        axes.set_title(title)
        axes.set_xlabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    picture = {"image/svg+xml": drawing.getvalue(), "text/plain": alt}
    display(picture, raw=True, metadata={"image/svg+xml": {"alt": alt}})


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
