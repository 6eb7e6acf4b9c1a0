"""The checks: each a small function whose docstring the student reads, and what it depends on.

A check returns a Finding. It raises Unreachable where what it would look at cannot be seen: that is not the student's
failure, and not a pass either. What depends on a check that was not passed is not asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lab.grading import reading, wire
from lab.grading.examine import Evidence, by_player
from lab.grading.wire import Unreachable

PASSED, PARTLY, FAILED, UNCHECKED, SKIPPED = "passed", "partly", "failed", "could not be checked", "not asked"


@dataclass(frozen=True)
class Finding:
    """What was found: which part of it is as it should be (0 to 1), what was expected, what is there, and a hint."""

    part: float
    expected: str
    actual: str
    hint: str = ""


@dataclass(frozen=True)
class Check:
    """`step` is that of the assignment, where there is one; `needs` are the checks that have to be passed before."""

    name: str
    title: str
    says: str
    step: int | None
    needs: tuple[str, ...]
    look: Callable[[Evidence], Finding]
    of_code: bool = False
    """Whether what it looks at was done by `lab/pipeline`."""


@dataclass(frozen=True)
class Result:
    """A check's outcome, and the points that it brings."""

    check: Check
    status: str
    points: float
    most: float
    finding: Finding


CHECKS: dict[str, Check] = {}


def check(
    title: str, step: int | None = None, needs: tuple[str, ...] = (), of_code: bool = False
) -> Callable[..., Callable[..., Finding]]:
    """Take the decorated function as a check, named as it is; all of `needs` stand before it."""

    def note(look: Callable[[Evidence], Finding]) -> Callable[[Evidence], Finding]:
        name = look.__name__
        assert set(needs) <= CHECKS.keys(), name
        CHECKS[name] = Check(name, title, " ".join((look.__doc__ or "").split()), step, needs, look, of_code)
        return look

    return note


def all_or_nothing(good: bool, expected: str, actual: str, hint: str) -> Finding:
    return Finding(1.0 if good else 0.0, expected, actual, "" if good else hint)


TRUE_ROWS = (
    "SELECT kafka_partition, kafka_offset, landed_by FROM rows "
    'JOIN topic ON kafka_partition = "partition" AND kafka_offset = "offset" AND value = raw'
)
"""The rows that hold what the topic holds at their place."""


# --- the steps ---


@check("The stack is started", step=1)
def stack(evidence: Evidence) -> Finding:
    """The history starts the stack, and Kafka, HDFS, the metastore and Presto answer."""
    if not evidence.replayed.started:
        return Finding(0.0, "a line that starts the stack", "none", "make step-1, or docker-compose up -d")
    wire.ask(evidence.settings, "SELECT 1")
    seen = evidence.seen("after")
    return Finding(1.0, "four engines that answer", f"all four; {len(seen.topics)} topics")


@check("The topic is created", step=2, needs=("stack",))
def topic(evidence: Evidence) -> Finding:
    """The topic that the API logs to is there, under its name."""
    topics, name = evidence.seen("after").topics, evidence.settings.topic
    return all_or_nothing(
        name in topics,
        f"a topic named {name}",
        ", ".join(topics) or "no topic",
        f"kafka-topics --create --topic {name} …, before the API starts",
    )


@check("The API runs", step=3, needs=("topic",), of_code=True)
def api(evidence: Evidence) -> Finding:
    """The API answers each of the examiner's requests as the assignment says: 200, or 404 for what there is not."""
    if evidence.secret is None:
        missing = evidence.unseen.get("secret", "it was not asked")
        return Finding(0.0, "an answer to each request", missing, "flask run, or make step-3, after the topic is there")
    sent = evidence.secret.sent
    wrong = [f"{path}: {answered}, not {expected}" for path, expected, answered in sent if answered != expected]
    right = len(sent) - len(wrong)
    return Finding(
        right / len(sent),
        f"{len(sent)} answers",
        f"{right} right" + (f"; {wrong[0]}" if wrong else ""),
        "make logs NAME=api shows what the API says" if wrong else "",
    )


@check("Traffic is sent", step=4, needs=("api",))
def traffic(evidence: Evidence) -> Finding:
    """Each request that the history's Apache Bench lines send has become an event in the topic."""
    asked, grown = evidence.replayed.asked_requests, evidence.replayed.grown
    return Finding(
        min(1.0, grown / asked) if asked else 0.0,
        f"{asked} events or more, of as many requests" if asked else "requests",
        f"{grown} events" if asked else "no line sends any",
        ""
        if asked and grown >= asked
        else "ab -n 10 http://localhost:5000/purchase_a_sword/sabre; is each route right?",
    )


@check("A batch lands events", step=5, needs=("traffic",), of_code=True)
def batch(evidence: Evidence) -> Finding:
    """Events of the topic stand in parquet files on HDFS, with their own bytes, landed by a batch job."""
    landed = evidence.seen("before").landed
    counts = Counter(dict(landed.ask(f"SELECT landed_by, count(*) FROM ({TRUE_ROWS}) GROUP BY 1")))
    rows = landed.value("SELECT count(*) FROM rows")
    return all_or_nothing(
        counts["batch"] > 0,
        "events of the topic, landed by a batch job",
        f"{counts['batch']} of {rows} rows, in {sum(map(len, landed.files.values()))} files",
        "spark-submit lab/pipeline/batch_job.py, after traffic and before the stream",
    )


@check("A stream lands events", step=6, needs=("api",), of_code=True)
def stream(evidence: Evidence) -> Finding:
    """A stream runs at the end of the history, and lands the events of the examiner's players as they come."""
    before = evidence.seen("before").topic
    ends = Counter(record.partition for record in before)
    fresh = [one for one in evidence.seen("after").topic if one.offset >= ends[one.partition]]
    by = {(partition, offset): by for partition, offset, by in evidence.seen("after").landed.ask(TRUE_ROWS)}
    streamed = sum(by.get((one.partition, one.offset)) == "stream" for one in fresh)
    return Finding(
        streamed / len(fresh) if fresh else 0.0,
        f"{len(fresh)} new events, landed by a stream",
        f"{streamed}",
        "" if fresh and streamed == len(fresh) else "spark-submit lab/pipeline/stream_job.py &, and let it run",
    )


COLUMNS = {
    "purchases": ("raw_event", "timestamp", "accept", "host", "user-agent", "event_type", "type", "cost"),
    "sword_purchases": ("raw_event", "timestamp", "accept", "host", "user-agent", "event_type", "type", "cost"),
    "guilds": (
        *("raw_event", "timestamp", "accept", "host", "user-agent", "event_type"),
        *("guild_name", "guild_member_cnt", "tot_guild_member_cnt"),
    ),
}


@check("The tables are made", step=7, needs=("stack",))
def tables(evidence: Evidence) -> Finding:
    """The metastore knows purchases, sword_purchases and guilds, with the columns of the assignment."""
    there = evidence.seen("after").tables
    wrong: dict[str, str] = {}
    for name, columns in COLUMNS.items():
        if name not in there:
            wrong[name] = f"there is no {name}"
            continue
        known = set(there[name].columns)
        if there[name].is_view:  # its columns stand in its text; Presto says them
            known = {row[0] for row in wire.ask(evidence.settings, f'DESCRIBE "{name}"')}
        if lacking := [column for column in columns if column not in known]:
            wrong[name] = f"{name} has no column {', '.join(lacking)}"
    return Finding(
        1 - len(wrong) / len(COLUMNS),
        f"{', '.join(COLUMNS)} with their columns",
        "; ".join(wrong.values()) or "all of them",
        "make step-7" if wrong else "",
    )


@check("Presto is asked", step=8, needs=("tables",))
def queries(evidence: Evidence) -> Finding:
    """Presto itself remembers that it was asked about the game's tables, and that it could answer."""
    least = evidence.rubric.least_queries
    about = re.compile(r"\b(?:" + "|".join(COLUMNS) + r")\b", re.IGNORECASE)
    asked = [
        one
        for one in evidence.replayed.queries
        if about.search(one.sql) and re.match(r"\s*(?:select|with)\b", one.sql, re.I)
    ]
    answered = {" ".join(one.sql.split()).lower() for one in asked if one.state == "FINISHED"}
    return Finding(
        min(1.0, len(answered) / least),
        f"{least} different queries about {', '.join(COLUMNS)}",
        f"{len(answered)} answered, {sum(one.state != 'FINISHED' for one in asked)} failed",
        "presto --execute 'SELECT … FROM purchases …'" if len(answered) < least else "",
    )


# --- the whole ---


@check("The pipeline is followed", needs=("api", "stream", "tables"))
def followed(evidence: Evidence) -> Finding:
    """Players whom only the examiner knows are counted by Presto exactly as they have played."""
    if evidence.secret is None:
        raise Unreachable(evidence.unseen.get("secret", "no traffic of the examiner's was sent"))
    told = by_player(evidence.settings, evidence.secret)
    wrong = [f"{what}: {found}, not {expected}" for what, (expected, found) in told.items() if expected != found]
    return Finding(
        1 - len(wrong) / len(told),
        f"{len(told)} counts as they were played",
        f"{len(told) - len(wrong)}" + (f"; {wrong[0]}" if wrong else ""),
        "make ledger names the hop at which numbers part" if wrong else "",
    )


@check("The account closes", needs=("batch", "stream"))
def ledger(evidence: Evidence) -> Finding:
    """Each record of the topic stands in exactly one row, with its own bytes; and no row stands for anything else."""
    ask = evidence.seen("after").landed.value
    missing = evidence.seen("after").unlanded
    doubled = ask("SELECT count(*) - count(DISTINCT (kafka_partition, kafka_offset)) FROM rows")
    strange = ask(
        'SELECT count(*) FROM rows LEFT JOIN topic ON kafka_partition = "partition" AND kafka_offset = "offset" '
        "WHERE value IS NULL OR raw IS NULL OR value <> raw"
    )
    unnamed = sum(
        len(files) for name, files in evidence.seen("after").landed.files.items() if not _named(evidence, name)
    )
    wrong = {
        "records in no table": missing,
        "rows too many": doubled,
        "rows that the topic does not hold": strange,
        "files without the place of their rows": unnamed,
    }
    return all_or_nothing(
        not any(wrong.values()),
        f"each of {len(evidence.seen('after').topic)} records in one row",
        ", ".join(f"{count} {what}" for what, count in wrong.items() if count) or "so it is",
        "make ledger names the first hop at which numbers part",
    )


def _named(evidence: Evidence, table: str) -> bool:
    found = evidence.seen("after").landed.ask("SELECT count(*) FROM rows WHERE table_name = ?", table)
    return bool(found[0][0])


# --- the report ---


@check("The report is a notebook")
def report_opens(evidence: Evidence) -> Finding:
    """report.md is there, and opens as a notebook with text and code in it."""
    text = reading.text_of(evidence.submission.report)
    if text is None:
        return Finding(0.0, "report.md", "it is not there", "make report")
    cells = reading.cells(text)
    kinds = Counter(cells)
    return all_or_nothing(
        kinds["markdown"] > 0 and kinds["code"] > 0,
        "a notebook with text and code",
        ", ".join(f"{count} cells of {kind}" for kind, count in kinds.items()) or "an empty one",
        "jupytext opens report.md; make report writes it",
    )


@check("The report explains the pipeline", needs=("report_opens",))
def report_explains(evidence: Evidence) -> Finding:
    """The report explains each hop of the pipeline, in sentences."""
    prose = reading.prose(reading.text_of(evidence.submission.report) or "")
    missing = [hop for hop, words in evidence.rubric.hops.items() if not reading.explains(prose, words)]
    hops = len(evidence.rubric.hops)
    return Finding(
        1 - len(missing) / hops if hops else 1.0,
        f"{hops} hops, each explained in {reading.LEAST_WORDS} words or more",
        f"{hops - len(missing)}" + (f"; not {', '.join(missing)}" if missing else ""),
        "say what each piece is for, and what can go wrong" if missing else "",
    )


@check("The report's numbers are those of the run", needs=("report_opens", "ledger"))
def report_numbers(evidence: Evidence) -> Finding:
    """The numbers in the report are those that the replayed history comes to."""
    sentences = reading.sentences(reading.text_of(evidence.submission.report) or "")
    landed = evidence.seen("before").landed
    wrong = []
    for fact in evidence.rubric.facts:
        value = landed.value(fact.sql)
        if not reading.tells(sentences, fact.words, value):
            wrong.append(f"{fact.what}: {value} in the replayed run")
    facts = len(evidence.rubric.facts)
    return Finding(
        1 - len(wrong) / facts if facts else 1.0,
        f"{facts} numbers as the replayed run has them",
        f"{facts - len(wrong)}" + (f"; not {wrong[0]}" if wrong else ""),
        "make report, after the last traffic, and hand in both together" if wrong else "",
    )


def results(evidence: Evidence) -> list[Result]:
    """Ask all checks, in their order."""
    found: dict[str, Result] = {}
    for name, one in CHECKS.items():
        most = evidence.rubric.points[name]
        stopped = [need for need in one.needs if found[need].status not in (PASSED, PARTLY)]
        if stopped:
            because = CHECKS[stopped[0]].title
            found[name] = Result(one, SKIPPED, 0.0, most, Finding(0.0, one.says, f"“{because}” comes first"))
            continue
        if one.of_code and evidence.untried:
            untried = Finding(0.0, one.says, evidence.untried, "make grade, where bubblewrap is")
            found[name] = Result(one, UNCHECKED, 0.0, most, untried)
            continue
        try:
            finding = one.look(evidence)
        except Unreachable as error:
            found[name] = Result(one, UNCHECKED, 0.0, most, Finding(0.0, one.says, str(error), "make grade, once more"))
            continue
        status = PASSED if finding.part >= 1 else PARTLY if finding.part > 0 else FAILED
        found[name] = Result(one, status, round(most * finding.part, 2), most, finding)
    return list(found.values())
