"""Step 2: create the topic that the game's events are logged to."""

from __future__ import annotations

from lab.pipeline import event_log
from lab.steps.context import Evidence, Lab

TITLE = "create the topic"
WHY = """
A topic is a log that is only ever appended to. It is split into partitions, so that several readers can share the
work; within one partition, records keep their order and are numbered by offset.
"""


def do(lab: Lab) -> None:
    lab.require_engines()
    settings = lab.settings
    tool = ["kafka-topics", "--bootstrap-server", settings.kafka]
    # Kafka's own clock: a sender's could be any number, one that no reader can turn into a time among them.
    clock = ["--config", "message.timestamp.type=LogAppendTime"]
    # A record is confirmed once all copies but one have it: one broker may be away.
    clock += ["--config", f"min.insync.replicas={max(1, settings.replication - 1)}"]
    size = ["--partitions", str(settings.partitions), "--replication-factor", str(settings.replication)]
    lab.run([*tool, "--create", "--if-not-exists", "--topic", settings.topic, *size, *clock], 60)
    lab.run([*tool, "--describe", "--topic", settings.topic], 60)


def evidence(lab: Lab) -> list[Evidence]:
    lab.require_engines()
    settings = lab.settings
    ends = event_log.end_offsets(settings)
    enough = len(ends) >= settings.partitions
    return [
        Evidence("topic id", event_log.topic_id(settings)),
        Evidence("partitions", str(len(ends)), enough, f"kafka-topics --alter --topic {settings.topic} in make shell"),
        Evidence("records so far", str(sum(ends.values()))),
    ]
