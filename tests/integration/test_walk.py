"""The walk on the real engines, in the order in which a student takes it. These tests build on each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest
import requests
from kafka import KafkaProducer
from matplotlib.image import imread

from lab import atomic
from lab.ledger import account, files
from lab.pipeline import event_log, faults, queries, simulation
from lab.pipeline.events import make_event, tables
from lab.report import findings
from lab.settings import ROOT
from tests.integration.conftest import RunningLab
from tests.report.browser import needs_browser, probe, screenshot

pytestmark = pytest.mark.integration


def rows(lab: RunningLab, sql: str) -> list[tuple]:
    return queries.ask(lab.settings, sql).rows


def until(condition, seconds: float = 60.0) -> None:
    """Wait for `condition`; fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.2)


def close_account(lab: RunningLab) -> account.Account:
    taken = account.take(lab.settings)
    assert all(check.ok for check in taken.checks()), taken.checks()
    return taken


def test_a_step_out_of_order_names_the_one_that_is_missing(lab: RunningLab) -> None:
    said = lab.step(2, fails=True)
    assert "step 1 comes first" in said
    assert "make step-1" in said


def test_a_port_that_is_taken_is_named_with_its_holder(lab: RunningLab) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", lab.settings.presto_port))
        holder.listen()
        said = lab.step(1, fails=True)
    assert f"Port {lab.settings.presto_port} is taken by" in said
    assert f"(pid {os.getpid()})" in said
    assert "LAB_PRESTO_PORT=" in said
    assert not lab.processes()


def test_step_1_starts_the_engines_and_each_answers_a_real_request(lab: RunningLab) -> None:
    said = lab.step(1)
    for words in ("a record was written and read back", "a block was written and read back", "SELECT 1 was answered"):
        assert words in said
    assert "$ kafka-server-start" in said


def test_a_second_make_at_the_same_time_is_told_to_wait(lab: RunningLab) -> None:
    from filelock import FileLock

    with FileLock(lab.settings.home / "make.lock"):
        assert "Another make works in this lab" in lab.step(2, fails=True)


def test_steps_before_the_topic_say_that_step_2_is_missing(lab: RunningLab) -> None:
    for number in (3, 5, 6):
        assert "make step-2" in lab.step(number, fails=True)


def test_step_2_creates_the_topic_and_describes_it(lab: RunningLab) -> None:
    said = lab.step(2)
    assert "PartitionCount: 2" in said
    assert "topic id" in said


def test_traffic_without_the_api_is_told_to_start_it(lab: RunningLab) -> None:
    assert "make step-3" in lab.step(4, fails=True)


def test_step_3_runs_the_api_and_health_logs_no_event(lab: RunningLab) -> None:
    lab.step(3)
    assert requests.get(f"{lab.settings.api}/health", timeout=10).json() == {"status": "ok"}
    assert sum(event_log.end_offsets(lab.settings).values()) == 0


def test_a_batch_before_any_event_says_that_step_4_is_missing(lab: RunningLab) -> None:
    assert "make step-4" in lab.step(5, fails=True)


def test_the_sample_traffic_gives_exactly_the_numbers_of_the_assignment(lab: RunningLab) -> None:
    lab.make("traffic", "--sample")
    lab.step(5)
    lab.step(7)
    assert rows(lab, "SELECT count(*) FROM defaults") == [(10,)]
    assert rows(lab, "SELECT count(*), sum(cost) FROM purchases") == [(7, 75)]
    assert rows(lab, "SELECT count(*) FROM sword_purchases") == [(5,)]
    joins = "SELECT count_if(event_type = 'join_guild'), count_if(event_type = 'leave_guild') FROM guilds"
    assert rows(lab, joins) == [(7, 3)]
    assert rows(lab, "SELECT count(*) FROM rejected") == [(6,)]
    members = "SELECT guild_name, max_by(guild_member_cnt, guild_seq) FROM guilds GROUP BY guild_name ORDER BY 1"
    assert rows(lab, members) == [("night_watch", 1), ("ucbears", 3)]
    assert rows(lab, "SELECT max_by(tot_guild_member_cnt, guild_seq) FROM guilds") == [(4,)]
    assert rows(lab, "SELECT count(*) FROM purchases WHERE type IS NULL OR cost IS NULL") == [(0,)]
    memberships = "SELECT host, count(*), count(left_at) FROM memberships GROUP BY host ORDER BY host"
    assert rows(lab, memberships) == [("user1.comcast.com", 5, 2), ("user2.att.com", 2, 1)]
    assert rows(lab, "SELECT count(*) FROM unmatched_leaves") == [(0,)]
    assert close_account(lab).records == 33


def test_a_batch_with_nothing_new_lands_nothing(lab: RunningLab) -> None:
    before = files.landed_files(lab.settings)
    lab.step(5)
    assert files.landed_files(lab.settings) == before


def test_a_course_s_own_queries_run_unchanged(lab: RunningLab) -> None:
    usual = [
        "select * from purchases limit 5",
        "select count(*) from purchases",
        "select distinct(host) from purchases",
        "select host, count(*) as n from hive.default.purchases group by host order by n desc",
        "select timestamp, host, type, cost from sword_purchases where host = 'user1.comcast.com'",
        "select type, sum(cost) from purchases where event_type = 'purchase_sword' group by type",
        "select raw_event, accept, \"user-agent\" from purchases where timestamp like '20%'",
        "select guild_name, guild_member_cnt, tot_guild_member_cnt from guilds where event_type = 'join_guild'",
        "select host, event_type, guild_name from guilds order by timestamp desc limit 3",
    ]
    for sql in usual:
        assert rows(lab, sql), sql
    course = ["raw_event", "timestamp", "accept", "host", "user-agent", "event_type"]
    present = queries.table_columns(lab.settings)
    assert present["purchases"][:8] == present["sword_purchases"][:8] == [*course, "type", "cost"]
    assert present["guilds"][:9] == [*course, "guild_name", "guild_member_cnt", "tot_guild_member_cnt"]
    shown = lab.script("presto", "--execute", "describe purchases")
    assert '"cost","integer"' in shown


def test_the_tables_are_external_and_parquet(lab: RunningLab) -> None:
    (definition,) = rows(lab, "SHOW CREATE TABLE purchases")[0]
    assert "external_location = 'hdfs://" in definition
    assert "format = 'PARQUET'" in definition


def test_the_stream_takes_over_where_the_batch_ended(lab: RunningLab) -> None:
    lab.step(4)
    lab.step(6)
    close_account(lab)
    by = Counter(dict(rows(lab, "SELECT landed_by, count(*) FROM purchases GROUP BY landed_by")))
    assert by["batch"] == 7
    assert by["stream"] > 0


def test_a_batch_beside_the_stream_lands_nothing_and_says_so(lab: RunningLab) -> None:
    assert "The stream of step 6 is running" in lab.step(5)
    refused = subprocess.run(
        [ROOT / "scripts" / "spark-submit", "lab/pipeline/batch_job.py"],
        env=lab.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert refused.returncode != 0
    assert "Another job of this lab is landing events" in refused.stdout


def test_a_leave_without_a_join_is_listed_and_ends_nobody_else_s_membership(lab: RunningLab) -> None:
    for player, what in (("a", "leave"), ("a", "join"), ("b", "leave"), ("a", "leave"), ("a", "leave"), ("a", "join")):
        answer = requests.get(
            f"{lab.settings.api}/{what}_guild/joestars", headers={"Host": f"{player}.pair"}, timeout=10
        )
        assert answer.status_code == 200
    close_account(lab)
    players = "guild_name = 'joestars' AND host IN ('a.pair', 'b.pair')"
    unmatched = f"SELECT host, count(*) FROM unmatched_leaves WHERE {players} GROUP BY host ORDER BY host"
    assert rows(lab, unmatched) == [("a.pair", 2), ("b.pair", 1)]
    ended = f"SELECT left_at IS NOT NULL, left_at > joined_at FROM memberships WHERE {players} ORDER BY joined_seq"
    assert rows(lab, ended) == [(True, True), (False, None)]


def test_the_ledger_closes_and_names_what_is_missing(lab: RunningLab) -> None:
    said = lab.make("ledger")
    assert "purchase_sword" in said
    found = json.loads(lab.make("ledger", "--json"))
    assert all(check["ok"] for check in found["checks"])
    assert found["records"] == sum(found["tables"].values())
    journal = lab.settings.logs / "api-journal.log"
    kept = journal.read_text()
    journal.write_text(kept + "2026-01-01T00:00:00Z GET /purchase_a_sword/sabre 200 never-logged yes 0.001\n")
    assert "from the API to the tables: " in lab.make("ledger", fails=True)
    assert "never-logged" in lab.make("ledger", "--json", fails=True)
    journal.write_text(kept)


def test_rows_that_land_later_are_in_the_tables_without_another_step(lab: RunningLab) -> None:
    before = close_account(lab)
    lab.make("traffic", "--requests", "30", "--seed", "7")
    after = close_account(lab)
    assert after.records == before.records + 30


def test_all_eight_steps_can_be_repeated(lab: RunningLab) -> None:
    for number in range(1, 9):
        said = lab.step(number)
        assert f"Step {number} is done" in said
    close_account(lab)


def test_step_8_prints_the_answers_and_the_account(lab: RunningLab) -> None:
    said = lab.step(8)
    for question in queries.questions():
        assert question.title in said
    assert "records of the topic, each in a table" in said


def test_the_report_is_fresh_until_an_event_comes_and_then_names_its_cells(lab: RunningLab) -> None:
    lab.make("report")
    ((count, spent),) = rows(lab, "SELECT count(*), sum(cost) FROM purchases")
    assert f"- **{count:,} purchases** by" in lab.settings.report.read_text()
    assert f"brought **{spent:,} coins**" in lab.settings.report.read_text()
    assert "is, to the byte, what a run gives now" in lab.make("report-check")

    requests.get(f"{lab.settings.api}/purchase_a_sword/rapier", headers={"Host": "late.x"}, timeout=10)
    close_account(lab)
    said = lab.make("report-check", fails=True)
    assert re.search(r"say\(findings.found\(ask\)\) +the data has changed since: ", said), said
    assert re.search(r"the_account\(\) +the data has changed since: ", said), said


@needs_browser
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "desktop"])
def test_a_browser_shows_the_report_s_page_with_all_its_plots(lab: RunningLab, tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    shutil.copy(lab.settings.report.with_suffix(".html"), page)
    figures = sorted(path.name for path in lab.settings.report.with_suffix("").iterdir())
    found = probe(page, width)
    assert len(found["images"]) == len(figures) >= 6
    assert all(one["wide"] > 500 and 200 < one["shown"] <= width and one["alt"] for one in found["images"])
    assert (found["page"], found["loaded"]) == (width, [])
    screenshot(page, width, 4000, tmp_path / "shot.png")
    shot = imread(tmp_path / "shot.png")
    assert shot.shape[:2] == (4000, width)
    assert shot[:, :, :3].std() > 0.05, "an empty page is of one colour"


def test_the_analysis_finds_what_is_true_of_the_simulated_players(lab: RunningLab) -> None:
    """Step 4 was taken twice, so two weeks have passed. The plan says exactly what each table must hold of them."""

    def ask(sql: str) -> queries.Answer:
        return queries.ask(lab.settings, sql)

    lines = [line for number in (1, 2) for line in simulation.week(number)]
    bought = [line for line in lines if line.path.startswith("/purchase") and line.known]
    by_day = Counter(line.game_time[:10] for line in bought for _ in range(line.requests))
    told = rows(lab, queries.question("15_day_by_day").sql)
    assert {day: purchases for day, _, purchases, *_ in told if day in by_day} == by_day

    truth = simulation.TRUTH
    within = findings.guilds(ask).within
    assert within is not None
    assert within.low <= truth.member_factor <= within.high, within
    first, share, _ = findings.busiest(ask) or (0, 0.0, 0)
    assert abs(first - truth.evening[0]) <= 1
    assert share > 0.4
    assert findings.rows_of(ask, "19_wished_for")[0][0] == truth.wish
    best = [row[0] for row in findings.rows_of(ask, "07_restock")]
    assert set(best[:3]) == set(sorted(truth.favourites, key=lambda item: -truth.favourites[item])[:3])
    curves = findings.memberships(ask)
    stays = {guild: curves[guild].after(3) for guild in truth.leaves}
    faithful, restless = list(truth.leaves)[:2], list(truth.leaves)[-2:]
    assert min(stays[one] for one in faithful) > max(stays[one] for one in restless), stays
    wrong = {row[0].split(".")[0] for row in findings.rows_of(ask, "14_purchases_that_look_wrong")}
    assert {f"player{odd.player:02}" for odd in simulation.ODDITIES} <= wrong


def test_check_says_that_all_steps_are_done(lab: RunningLab) -> None:
    said = lab.make("check")
    assert len(re.findall(r"\bdone\b", said)) == 8


def test_malformed_messages_are_set_aside_with_the_reason_and_the_stream_goes_on(lab: RunningLab) -> None:
    typed = json.dumps({"event_type": "purchase_sword", "cost": "many"})
    strange = json.dumps(
        {"event_id": "x", "event_time": "2026-01-01T00:00:00Z", "schema_version": 1, "event_type": "y"}
    )
    tool = ["kafka-console-producer", "--bootstrap-server", lab.settings.kafka, "--topic", "events"]
    lab.script(*tool, stdin=f'{{"half\nnot json\n[1]\n{typed}\n{strange}\n')
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka)
    producer.send("events", b"not json either", timestamp_ms=-9_000_000_000_000_000_000).get(10)
    producer.close()
    close_account(lab)
    reasons = Counter(dict(rows(lab, "SELECT reason, count(*) FROM quarantine GROUP BY reason")))
    assert reasons["not a JSON object of the declared types"] == 5
    assert reasons["unknown event_type: y"] == 1
    assert (b'{"half',) in rows(lab, "SELECT raw_bytes FROM quarantine") or rows(
        lab, "SELECT 1 FROM quarantine WHERE raw_bytes = to_utf8('{\"half')"
    )
    assert lab.registry.process("stream") is not None


def test_an_event_that_reaches_the_topic_twice_lands_once_and_the_other_is_counted(lab: RunningLab) -> None:
    answer = requests.get(
        f"{lab.settings.api}/purchase_a_sword/katana", headers={"Idempotency-Key": "once"}, timeout=10
    )
    event_id = answer.headers["X-Event-Id"]
    again = requests.get(f"{lab.settings.api}/purchase_a_sword/katana", headers={"Idempotency-Key": "once"}, timeout=10)
    assert (again.status_code, again.headers["X-Event-Id"]) == (200, event_id)
    first = next(record for record in event_log.last_events(lab.settings, 5) if event_id.encode() in record.value)
    tool = ["kafka-console-producer", "--bootstrap-server", lab.settings.kafka, "--topic", "events"]
    stray = json.loads(first.value)
    del stray["may_repeat"]  # as another producer would write it
    lab.script(*tool, stdin=json.dumps(stray) + "\n")
    close_account(lab)
    assert rows(lab, f"SELECT count(*) FROM purchases WHERE event_id = '{event_id}'") == [(1,)]
    assert rows(lab, f"SELECT count(*) FROM repeats WHERE event_id = '{event_id}'") == [(1,)]


def test_a_day_is_a_partition_and_a_question_about_it_reads_its_files_only(lab: RunningLab) -> None:
    yesterday = datetime.now(timezone.utc) - timedelta(days=1)
    common = {"event_id": str(uuid.uuid4()), "event_time": yesterday.isoformat(timespec="microseconds"), "Host": "late"}
    event = make_event("purchase_sword", {"type": "katana", "cost": 10}, common)
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka)
    producer.send("events", json.dumps(event).encode()).get(10)
    producer.close()
    close_account(lab)
    day = f"{yesterday:%Y-%m-%d}"
    assert rows(lab, f"SELECT host, event_id FROM purchases WHERE day = '{day}'") == [("late", common["event_id"])]
    ((path,),) = rows(lab, f"SELECT DISTINCT \"$path\" FROM purchases WHERE day = '{day}'")
    assert f"/purchases/day={day}/segment=0/" in path
    (plan,) = rows(lab, f"EXPLAIN (TYPE IO, FORMAT JSON) SELECT count(*) FROM purchases WHERE day = '{day}'")[0]
    constraints = json.loads(plan)["inputTableColumnInfos"][0]["columnConstraints"]
    assert {one["columnName"] for one in constraints} == {"day", "segment"}


def test_a_killed_supervisor_is_replaced_and_adopts_what_runs(lab: RunningLab) -> None:
    before = {name: lab.registry.process(name).pid for name in ("kafka", "presto", "api", "stream")}
    supervisor = lab.registry.supervisor()
    assert supervisor is not None
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(10)
    lab.step(1)
    lab.registry.ensure_supervisor()
    until(lambda: lab.registry.supervisor() is not None)
    assert {name: lab.registry.process(name).pid for name in before} == before


def test_nothing_listens_beyond_loopback(lab: RunningLab) -> None:
    listening = {
        connection.laddr.ip
        for process in lab.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


def test_a_new_event_type_is_one_declaration_and_one_route(lab: RunningLab, tmp_path: Path) -> None:
    """README's own example, applied to a copy of the checkout, on the lab that holds data already."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "lab", copy / "lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    (copy / ".venv").symlink_to(ROOT / ".venv")
    (copy / ".lab").symlink_to(ROOT / ".lab")
    readme = (ROOT / "README.md").read_text()
    for file, anchor in (("events.py", '    EventType("join_guild"'), ("game_api.py", '@offer("/join_guild"')):
        addition = re.search(rf"`lab/pipeline/{file}`.*?```python\n(.*?)```", readme, re.DOTALL)
        assert addition, f"README shows no addition to {file}"
        path = copy / "lab" / "pipeline" / file
        assert anchor in path.read_text()
        path.write_text(path.read_text().replace(anchor, addition[1] + anchor, 1))
    contract = copy / "lab" / "pipeline" / "events.py"
    known = 'ITEM = (Field("type", required=True), '
    assert known in contract.read_text()
    contract.write_text(contract.read_text().replace(known, known + 'Field("colour"), '))  # and a field of its own
    other = RunningLab(lab.settings, lab.environment, copy)
    before = close_account(lab)
    common = {"event_id": str(uuid.uuid4()), "event_time": datetime.now(timezone.utc).isoformat(), "Host": "early"}
    early = {**make_event("purchase_sword", {"type": "hatchet", "cost": 3}, common), "event_type": "purchase_axe"}
    early["colour"] = "red"
    producer = KafkaProducer(bootstrap_servers=lab.settings.kafka)
    producer.send("events", json.dumps(early).encode()).get(10)
    producer.close()
    close_account(lab)
    unknown = "SELECT count(*) FROM quarantine WHERE reason LIKE 'unknown event_type: purchase_axe'"
    assert rows(lab, unknown) == [(1,)]
    quarantined = rows(lab, "SELECT count(*) FROM quarantine")[0][0]
    for number in (6, 3, 7):
        other.step(number)
    atomic.write_text(faults.die_at(lab.settings), "before-quarantine-cleared")
    other.make("land-quarantine", fails=True)
    assert rows(lab, unknown) == [(1,)]  # it stands in both now, until the job is run again
    assert rows(lab, "SELECT count(*) FROM purchases WHERE host = 'early'") == [(1,)]
    assert "records of the topic, each in a table" in lab.make("ledger", fails=True)
    other.make("land-quarantine")
    other.make("land-quarantine")  # nothing is landed twice
    close_account(lab)
    hatchets = rows(lab, "SELECT type, landed_by, colour FROM purchases WHERE host = 'early'")
    assert hatchets == [("hatchet", "quarantine", "red")]
    assert rows(lab, "SELECT DISTINCT colour FROM purchases WHERE host <> 'early'") == [(None,)]  # of older files too
    assert rows(lab, "SELECT count(*) FROM quarantine") == [(quarantined - 1,)]
    answer = requests.get(f"{lab.settings.api}/purchase_an_axe/battle_axe", timeout=10)
    assert answer.status_code == 200, answer.text
    taken = close_account(lab)
    assert taken.records > before.records
    assert rows(
        lab, "SELECT type, count(*) FROM purchases WHERE event_type = 'purchase_axe' GROUP BY type ORDER BY type"
    ) == [
        ("battle_axe", 1),
        ("hatchet", 1),
    ]
    for number in (3, 6):
        lab.step(number)  # back to the released code


def test_the_history_is_what_bash_reads_back(lab: RunningLab) -> None:
    script = f"history -c; history -r {json.dumps(str(lab.settings.history))}; history"
    read = subprocess.run(
        ["bash", "--norc", "-c", f"HISTSIZE=-1; set -o history; {script}"], capture_output=True, text=True, check=True
    )
    for words in (
        "kafka-topics --bootstrap-server",
        "ab -q -l -n 10",
        "spark-submit lab/pipeline/batch_job.py",
        "presto --execute",
    ):
        assert words in read.stdout, words
    assert re.match(r"#\d{10}\n", lab.settings.history.read_text())


def test_status_and_doctor_find_nothing_wrong(lab: RunningLab) -> None:
    said = lab.make("status")
    for name in ("kafka", "namenode", "datanode", "metastore", "presto", "api", "stream"):
        assert name in said
    lab.make("doctor")
    watched = lab.make("watch")
    assert all(hop in watched for hop in ("API", "topic", "purchases", "quarantine"))


def test_memory_stays_within_the_limits(lab: RunningLab) -> None:
    from lab.engines import stack

    used = stack.resident(lab.settings, [*(engine.name for engine in stack.engines(lab.settings)), "api", "stream"])
    engines = sum(size for name, size in used.items() if name not in ("api", "stream"))
    assert engines < 2 * 2**30, used
    assert sum(used.values()) < 3 * 2**30, used


def test_stop_and_start_keep_the_data(lab: RunningLab) -> None:
    before = close_account(lab)
    lab.make("stop")
    assert not lab.processes()
    for number in (1, 3, 6):
        lab.step(number)
    after = close_account(lab)
    assert after.records >= before.records
    assert all(after.tables[table] >= before.tables[table] for table in tables())


def test_a_folder_that_is_no_lab_is_neither_used_nor_removed(lab: RunningLab, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    other = RunningLab(lab.settings, {**lab.environment, "LAB_HOME": str(tmp_path)})
    for command in (("step", "2"), ("stop",), ("clean",)):
        assert "is not a lab's home" in other.make(*command, fails=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_clean_removes_the_lab_and_leaves_nothing_running(lab: RunningLab) -> None:
    lab.make("clean")
    assert not lab.settings.home.exists()
    assert not lab.processes()
