"""Step 8: ask Presto the questions of the assignment, and close the account."""

from __future__ import annotations

from lab import console
from lab.errors import LabError
from lab.ledger import account
from lab.pipeline import queries
from lab.pipeline.events import tables
from lab.steps.context import Evidence, Lab

TITLE = "query Presto"
WHY = """
PyHive sends each question to Presto, which reads the landed files through the tables' names. At the end the account
is closed: each record of the topic stands in exactly one table.
"""


def do(lab: Lab) -> None:
    lab.require_engines()
    _require_tables(lab)
    for question in queries.questions():
        console.title(question.title)
        console.output(question.sql)
        argv = ["presto", "--execute", question.sql]
        with lab.recorder.running(argv) as entry:
            answer = queries.ask(lab.settings, question.sql)
            entry.status = 0
        console.say()
        console.table(answer.rows, answer.columns)
    console.title("The account")
    console.table(account.take(lab.settings).rows(), ["hop", "what", "count"])


def evidence(lab: Lab) -> list[Evidence]:
    lab.require_engines()
    _require_tables(lab)
    return [
        Evidence(check.what, check.found, check.ok, f"expected {check.expected}; make doctor")
        for check in account.take(lab.settings).checks()
    ]


def _require_tables(lab: Lab) -> None:
    present = queries.table_columns(lab.settings)
    missing = [table for table in tables() if table not in present]
    if missing:
        raise LabError(f"There is no table {missing[0]}: step 7 comes first.", "make step-7")
