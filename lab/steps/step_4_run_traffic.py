"""Step 4: send traffic with Apache Bench: the course's sample, then a simulated week of the game."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab import atomic, console
from lab.ledger.account import read_journal
from lab.pipeline import event_log, simulation, traffic
from lab.steps.context import Evidence, Lab

TITLE = "run Apache Bench"
WHY = """
Apache Bench (ab) plays the players: -n says how many requests, -H who sends them. What it reports is compared with
what was planned, and with how far the topic has grown.
"""


def do(lab: Lab) -> None:
    lab.require("api", 3)
    console.say("The sample of the course; the first report in full, then one line for each command:")
    send(lab, list(traffic.SAMPLE), first_in_full=True)
    send_week(lab, weeks_sent(lab) + 1)


def send_week(lab: Lab, number: int) -> None:
    """Send a week of the simulation, and show a line for each of its days. It is one command of the history."""
    lines = simulation.week(number)
    requests = sum(line.requests for line in lines)
    console.say(
        f"\nThen week {number} of the game, as {simulation.TRUTH.players} simulated players play it: {requests} "
        "requests. Each says what the game's clock showed."
    )
    argv = ["make", "traffic", f"WEEK={number}"]
    console.command(argv)
    with lab.recorder.running(argv) as entry, counted(lab, lines, weeks=number) as tally:
        for day, group in itertools.groupby(lines, key=lambda line: line.game_time[:10]):
            of_day = list(group)
            first = of_day[0].command(lab.settings.api)
            console.say(f"  {day}: {sum(line.requests for line in of_day)} requests, the first of them:")
            console.command(first)
            for line in of_day:
                command = line.command(lab.settings.api)
                tally.add(lab.run(command, 60 + line.requests, quiet=True, recorded=False))
        entry.status = 0


def weeks_sent(lab: Lab) -> int:
    """How many weeks of the simulation have been sent in this lab."""
    sent = atomic.read_json(lab.settings.home / "traffic.json") or {}
    return int(sent.get("weeks", 0))


def send(lab: Lab, lines: list[traffic.Line], first_in_full: bool = False) -> None:
    """Send a plan, and show a line for each command."""
    with counted(lab, lines) as tally:
        for number, line in enumerate(lines):
            argv = line.command(lab.settings.api)
            console.command(argv)
            text = lab.run(argv, 60 + line.requests, quiet=True)
            report = tally.add(text)
            if first_in_full and number == 0:
                console.output(text.strip())
                lab.keep("ab", text)
            else:
                others = f", {report.non_2xx} not 2xx" if report.non_2xx else ""
                console.say(f"  {report.complete} complete{others}")


@dataclass
class Tally:
    """What `ab` has reported so far."""

    total: traffic.Report = field(default_factory=lambda: traffic.Report(0, 0, 0))

    def add(self, text: str) -> traffic.Report:
        """Count what `ab` printed. Raises LabError when it did not finish."""
        report = traffic.read_report(text)
        self.total += report
        return report


@contextmanager
def counted(lab: Lab, lines: list[traffic.Line], weeks: int = 0) -> Iterator[Tally]:
    """Note in the lab's home what was planned, what `ab` counted meanwhile and how the topic grew."""
    before = event_log.end_offsets(lab.settings)
    weeks = max(weeks, weeks_sent(lab))
    tally = Tally()
    yield tally
    after = event_log.end_offsets(lab.settings)
    known, unknown = traffic.expected(lines)
    record = {
        "planned": known + unknown,
        "planned_404": unknown,
        "complete": tally.total.complete,
        "failed": tally.total.failed,
        "non_2xx": tally.total.non_2xx,
        "topic_grew": sum(after.values()) - sum(before.values()),
        "weeks": weeks,
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
