"""Step 7: name what has landed: external Hive tables."""

from __future__ import annotations

from lab import console
from lab.errors import LabError
from lab.ledger import files
from lab.pipeline import metastore, queries
from lab.pipeline.events import tables
from lab.pipeline.tables import VIEWS, statements
from lab.steps import step_6_spark_stream
from lab.steps.context import Evidence, Lab

TITLE = "create the Hive tables"
WHY = """
An external table is a name, columns and folders; the metastore keeps them. No row is copied or moved: what batch
and stream have landed in the folders is in the table, and so is what they will land. Each day of events has folders of
its own, a partition of the table, so that a question about one day reads that day.
"""


def do(lab: Lab) -> None:
    lab.require_engines()
    folders = [f"{lab.settings.tables}/tables/{table}" for table in tables()]
    lab.run(["hdfs", "dfs", "-mkdir", "-p", *folders], 60)
    if lab.settings.schema != "default":  # which each metastore has
        location = f"hdfs://{lab.settings.hdfs}{lab.settings.tables}/schema"
        made = f"CREATE SCHEMA IF NOT EXISTS {lab.settings.schema} WITH (location = '{location}')"
        lab.run(["presto", "--execute", made], 60)
    sql = ";\n".join(statements(lab.settings, queries.table_columns(lab.settings)))
    console.output(sql)
    console.command(["presto", "--execute", "the SQL above"])
    lab.run(["presto", "--execute", sql], 120, quiet=True)
    try:
        outdated = [table for table in tables() if metastore.outdated(lab.settings, table)]
        if outdated:
            console.say(f"New columns, for the partitions too that are there already: {', '.join(outdated)}.")
            with step_6_spark_stream.resting(lab):
                for table in outdated:
                    metastore.bring_up_to_date(lab.settings, table)
        # Folders that are named already are left to the job that lands: it alone knows a newer one.
        metastore.name(lab.settings, files.segments(lab.settings), move=False)
    except metastore.Unreachable as error:
        raise LabError(str(error), "make status") from error


def evidence(lab: Lab) -> list[Evidence]:
    lab.require_engines()
    present = queries.table_columns(lab.settings)
    found = []
    for table, fields in tables().items():
        lacking = [field.column for field in fields if field.column not in present.get(table, [])]
        said = f"{len(present[table])} columns" if table in present else "not there"
        if table in present and lacking:
            said += f", lacks {', '.join(lacking)}"
        found.append(Evidence(table, said, not lacking, "make step-7"))
    for view in VIEWS:
        found.append(Evidence(view, "view" if view in present else "not there", view in present, "make step-7"))
    return found
