"""Step 4: send traffic with Apache Bench: the course's sample, then a seeded mix of players."""

from __future__ import annotations

import time

from lab import atomic, console
from lab.ledger.account import read_journal
from lab.pipeline import event_log, traffic
from lab.steps.context import Evidence, Lab

TITLE = "run Apache Bench"
WHY = """
Apache Bench (ab) plays the players: -n says how many requests, -H who sends them. What it reports is compared with
what was planned, and with how far the topic has grown.
"""

MIX = 200


def do(lab: Lab) -> None:
    lab.require("api", 3)
    console.say("The sample of the course; the first report in full, then one line for each command:")
    send(lab, list(traffic.SAMPLE), first_in_full=True)
    console.say(f"\nThen {MIX} requests by twenty players, chosen with seed {traffic.SAMPLE_SEED}:")
    send(lab, traffic.mix(MIX, traffic.SAMPLE_SEED))


def send(lab: Lab, lines: list[traffic.Line], first_in_full: bool = False) -> None:
    """Send a plan, and note in the lab's home what was planned, what `ab` counted and how the topic grew."""
    before = event_log.end_offsets(lab.settings.kafka, lab.settings.topic)
    total = traffic.Report(0, 0, 0)
    for number, line in enumerate(lines):
        argv = line.command(lab.settings.api)
        console.command(argv)
        text = lab.run(argv, 60 + line.requests, quiet=True)
        report = traffic.read_report(text)
        total += report
        if first_in_full and number == 0:
            console.output(text.strip())
        else:
            others = f", {report.non_2xx} not 2xx" if report.non_2xx else ""
            console.say(f"  {report.complete} complete{others}")
    after = event_log.end_offsets(lab.settings.kafka, lab.settings.topic)
    known, unknown = traffic.expected(lines)
    record = {
        "planned": known + unknown,
        "planned_404": unknown,
        "complete": total.complete,
        "failed": total.failed,
        "non_2xx": total.non_2xx,
        "topic_grew": sum(after.values()) - sum(before.values()),
        "at": time.time(),
    }
    atomic.write_json(lab.settings.home / "traffic.json", record)


def send_repeatedly(lab: Lab, requests: int, every: float, seed: int, burst: int = 20) -> None:
    """Send `requests` in all, in bursts that begin `every` seconds after one another (0: at once)."""
    lab.require("api", 3)
    parts = [traffic.mix(requests, seed)]
    if every > 0:
        parts = list(traffic.bursts(parts[0], burst))
    for number, lines in enumerate(parts):
        begun = time.monotonic()
        send(lab, lines)
        left = every - (time.monotonic() - begun)
        if left > 0 and number + 1 < len(parts):
            time.sleep(left)  # the rhythm of the traffic is what was asked for


def evidence(lab: Lab) -> list[Evidence]:
    lab.require("api", 3)
    sent = atomic.read_json(lab.settings.home / "traffic.json")
    if sent is None:
        return [Evidence("requests sent", "none yet", False, "make step-4")]
    answered = read_journal(lab.settings.logs / "api-journal.log").answered
    planned = sent["planned"]
    grew = f"{sent['topic_grew']}" + (" (others were sending too)" if sent["topic_grew"] > planned else "")
    return [
        Evidence(f"ab: complete, of {planned} planned last", str(sent["complete"]), sent["complete"] == planned),
        Evidence(
            f"ab: not 2xx, of {sent['planned_404']} planned",
            str(sent["non_2xx"]),
            sent["non_2xx"] == sent["planned_404"],
        ),
        Evidence(f"the topic grew by, of {planned}", grew, sent["topic_grew"] >= planned, "make doctor"),
        Evidence("requests that the API has answered in all", str(answered["requests answered"])),
    ]
