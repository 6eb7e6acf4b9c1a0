"""Step 5: land what the topic holds, with a Spark batch job."""

from __future__ import annotations

from lab import console
from lab.errors import LabError
from lab.ledger import files
from lab.ledger.account import await_landed
from lab.pipeline import event_log
from lab.steps.context import Evidence, Lab

TITLE = "Spark batch"
WHY = """
The batch job reads the topic from where the last landing ended to where it ends now, parses each event once, and
lands the rows as parquet on HDFS, a folder for each table. What is no event goes to the quarantine, with the reason.
"""


def do(lab: Lab) -> None:
    lab.require_engines()
    if not any(event_log.end_offsets(lab.settings).values()):
        raise LabError("The topic holds no event yet: step 4 comes first.", "make step-4")
    if lab.registry.process("stream"):
        console.say("The stream of step 6 is running and lands each event as it comes: there is nothing for a batch.")
    else:
        lab.keep("batch", lab.run(["spark-submit", "lab/pipeline/batch_job.py"], 300, log=lab.log("batch")))
    lab.run(["hdfs", "dfs", "-ls", "-R", f"{lab.settings.tables}/tables"], 60, quiet=_many(lab))
    if _many(lab):
        console.say("  (more than 30 files: hdfs dfs -ls -R in make shell lists them)")


def _many(lab: Lab) -> bool:
    return len(files.landed_files(lab.settings)) > 30


def evidence(lab: Lab) -> list[Evidence]:
    lab.require_engines()
    settings = lab.settings
    topic_id = event_log.topic_id(settings)
    ends = event_log.end_offsets(settings)
    if lab.registry.process("stream"):
        await_landed(settings, topic_id, ends)
    entries = [entry for entry in files.landed_files(settings) if entry.landed and entry.landed.topic_id == topic_id]
    landed = files.landed_ends(settings, topic_id)
    by_batch = [entry for entry in entries if entry.landed and entry.landed.landed_by == "batch"]
    missing = sum(end - landed.get(partition, 0) for partition, end in ends.items())
    return [
        Evidence("records in the topic", str(sum(ends.values())), sum(ends.values()) > 0, "make step-4"),
        Evidence("of these not landed yet", str(missing), missing <= 0, "make step-5"),
        Evidence("files on HDFS, those of the batch", f"{len(entries)}, {len(by_batch)}", bool(entries), "make step-5"),
    ]
