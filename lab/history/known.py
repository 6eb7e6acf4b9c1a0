"""Known commands: what each means in this lab, told from its words alone. What is not known here is never run.

Each tool of the lab, and each habit of the course, is a small function from words to what runs here instead; it raises
Refused, with the reason, where it finds an option or a value that it does not know.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NoReturn
from urllib.parse import urlsplit

from lab.history.unwrap import compose_verb
from lab.settings import LOOPBACK, Settings

MOST_REQUESTS = 100_000
"""That a whole history may send."""
AB_FLAGS = ("-q", "-l", "-k", "-r", "-d", "-S")
"""Of `ab`: what it prints, and how it looks at answers. They are kept as they are."""


class Refused(Exception):
    """A command that is not run, and why."""


EMPTIES = "it empties everything: the stack begins anew after it"
"""Why a line is ignored after which nothing is left of what the lines before it did."""


class Ignored(Exception):
    """A command that changes nothing that is looked at, and why it is left out."""


@dataclass(frozen=True)
class Meaning:
    """What runs here: `argv`, for a `step` where it belongs to one. `endless`: it goes on until it is stopped.

    `habit` names what was typed in the course's way, where that is not what runs.
    """

    argv: tuple[str, ...]
    step: int | None = None
    habit: str = ""
    endless: bool = False
    requests: int = 0
    """How many it sends to the API."""


Reader = Callable[[Settings, str, list[str]], "Meaning | list[Meaning]"]
KNOWN: dict[str, Reader] = {}


def known(*names: str) -> Callable[[Reader], Reader]:
    def note(reader: Reader) -> Reader:
        KNOWN.update(dict.fromkeys(names, reader))
        return reader

    return note


def meanings(settings: Settings, words: Sequence[str], stdin: str | None = None) -> list[Meaning]:
    """What these words mean. Raises Refused or Ignored. `stdin` is the text that the command is given to read."""
    program, arguments = words[0], list(words[1:])
    if stdin is not None and program in ("presto", "spark-sql", "hive", "beeline"):
        arguments += ["--execute" if program == "presto" else "-e", stdin]
        stdin = None
    if stdin is not None:
        raise Refused("what it reads was typed by hand, not made by the pipeline")
    if program not in KNOWN:
        raise Refused("no command that this lab knows")
    found = KNOWN[program](settings, program, arguments)
    return found if isinstance(found, list) else [found]


class _Options(argparse.ArgumentParser):
    """Options of one tool; another one is a reason to refuse."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise Refused(message)

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        found, others = self.parse_known_args(list(arguments))
        if others:
            raise Refused(f"an option that is not known here: {others[0]}")
        return found


# --- step 1: the stack ---


@known("docker-compose", "docker")
def compose(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """`docker-compose up -d` is step 1. What runs in a container is read by `plan`, without the container."""
    words = [program, *arguments]
    verb = compose_verb(words)
    if verb is not None and words[verb : verb + 1] in (["up"], ["start"], ["restart"]):
        return Meaning(("make", "step-1"), 1, "the stack in containers")
    if verb is not None and words[verb : verb + 1] == ["down"]:
        raise Ignored(EMPTIES)
    raise Ignored("containers are looked after by step 1")


@known("kafka-storage", "kafka-server-start", "presto-server")
def engine(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """The lab's own way to start an engine: step 1 does it for all of them."""
    return Meaning(("make", "step-1"), 1)


# --- step 2: the topic ---


@known("kafka-topics", "kafka-topics.sh")
def topics(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Topics are made, listed and described; another broker's address, or ZooKeeper's, becomes the lab's own."""
    options = _Options()
    for name in ("--create", "--list", "--describe", "--if-not-exists", "--if-exists", "--alter"):
        options.add_argument(name, action="store_true")
    for name in ("--bootstrap-server", "--zookeeper", "--topic"):
        options.add_argument(name)
    for name in ("--partitions", "--replication-factor"):
        options.add_argument(name, type=int)
    options.add_argument("--config", action="append", default=[])
    found = options.read(arguments)
    if [found.create, found.list, found.describe, found.alter].count(True) != 1:
        raise Refused("it should say one of --create, --alter, --list and --describe")
    argv = [name for name in ("--create", "--alter", "--list", "--describe") if getattr(found, name[2:])]
    if found.topic:
        argv += ["--topic", _name(found.topic, "topic")]
    if found.create or found.alter:
        if not found.topic:
            raise Refused("it names no topic")
        argv += ["--if-not-exists"] if found.create else []
        argv += ["--partitions", _number(found.partitions or 1, 1, 100, "partitions")]
    if found.create:
        argv += ["--replication-factor", "1"]
        for one in found.config:
            if not re.fullmatch(r"[a-z.]+=[\w.-]+", one):
                raise Refused(f"a setting of a form that is not known here: {one}")
            argv += ["--config", one]
    habit = "another broker's address" if found.zookeeper or found.bootstrap_server != settings.kafka else ""
    step = 2 if found.create and found.topic == settings.topic else None
    return Meaning(("kafka-topics", "--bootstrap-server", settings.kafka, *argv), step, habit)


@known("kafka-console-consumer", "kafka-console-consumer.sh")
def consumer(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Reads a topic to its end, or to so many messages."""
    options = _Options()
    for name in ("--bootstrap-server", "--topic", "--group"):
        options.add_argument(name)
    options.add_argument("--from-beginning", action="store_true")
    for name in ("--max-messages", "--timeout-ms", "--partition"):
        options.add_argument(name, type=int)
    options.add_argument("--property", action="append", default=[])
    found = options.read(arguments)
    most = ["--max-messages", _number(found.max_messages, 1, 10**6, "messages")] if found.max_messages else []
    return _read_topic(
        settings, found.topic, most, "" if found.bootstrap_server == settings.kafka else "another broker"
    )


@known("kafkacat", "kcat")
def kafkacat(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """`kafkacat -C` is Kafka's own console consumer here, and `-L` its list of topics."""
    options = _Options()
    for name in ("-C", "-L", "-P", "-e", "-q", "-u", "-J"):
        options.add_argument(name, action="store_true", dest=name[1:])
    for name in ("-b", "-t", "-o", "-p", "-f", "-K"):
        options.add_argument(name, dest=name[1:])
    options.add_argument("-c", type=int, dest="c")
    found = options.read(arguments)
    if found.P:
        raise Refused("what it would send was made by hand, not by the API")
    if found.L:
        return Meaning(("kafka-topics", "--bootstrap-server", settings.kafka, "--describe"), None, "kafkacat")
    most = ["--max-messages", _number(found.c, 1, 10**6, "messages")] if found.c else []
    return _read_topic(settings, found.t, most, "kafkacat")


def _read_topic(settings: Settings, topic: str | None, most: list[str], habit: str) -> Meaning:
    if not topic:
        raise Refused("it names no topic")
    argv = ("kafka-console-consumer", "--bootstrap-server", settings.kafka, "--topic", _name(topic, "topic"))
    return Meaning((*argv, "--from-beginning", *most, "--timeout-ms", "10000"), None, habit)


@known("kafka-get-offsets", "kafka-consumer-groups")
def offsets(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Shows offsets."""
    options = _Options()
    options.add_argument("--bootstrap-server")
    if program == "kafka-get-offsets":
        options.add_argument("--topic", required=True)
        argv = ("--topic", _name(options.read(arguments).topic, "topic"))
        return Meaning((program, "--bootstrap-server", settings.kafka, *argv))
    options.add_argument("--list", action="store_true", required=True)
    options.read(arguments)
    return Meaning((program, "--bootstrap-server", settings.kafka, "--list"))


# --- step 3: the API ---


@known("flask", "gunicorn", "python", "python3")
def api(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Whatever starts the API in the course starts the lab's own here."""
    own = program == "gunicorn" and arguments == ["--config", "python:lab.pipeline.gunicorn_conf"]
    flask = arguments if program == "flask" else arguments[2:] if arguments[:2] == ["-m", "flask"] else []
    script = next((PurePosixPath(word).name for word in arguments if word.endswith(".py")), "")
    parts = set(re.split(r"[^a-z]+", script.lower()))
    is_api = parts & {"api", "flask", "app", "game", "server"} and "spark" not in parts
    if program == "gunicorn" or "run" in flask or is_api:
        return Meaning(("make", "step-3"), 3, "" if own else "the API, started by hand")
    if program in ("python", "python3") and not script:
        raise Ignored("Python, to try something")
    raise Refused("a program that the lab does not know")


# --- step 4: traffic ---


@known("ab")
def traffic(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """`ab`, to the lab's own API only."""
    options = _Options()
    options.add_argument("-n", type=int, default=1)
    options.add_argument("-c", type=int, default=1)
    options.add_argument("-H", action="append", default=[])
    for flag in AB_FLAGS:
        options.add_argument(flag, action="store_true", dest=f"flag{flag}")
    for name in ("-v", "-s"):
        options.add_argument(name, type=int)
    options.add_argument("url")
    found = options.read(arguments)
    argv = ["ab", *(flag for flag in AB_FLAGS if getattr(found, f"flag{flag}"))]
    argv += ["-n", _number(found.n, 1, MOST_REQUESTS, "requests"), "-c", _number(found.c, 1, 100, "at once")]
    if found.c > found.n:
        raise Refused("it would send more at once than in all")
    for header in found.H:
        argv += ["-H", _header(header)]
    url, habit = _own_url(settings, found.url)
    return Meaning((*argv, url), 4, habit, requests=found.n)


@known("curl", "wget")
def curl(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """One request to the lab's own API."""
    options = _Options()
    options.add_argument("-H", "--header", action="append", default=[], dest="H")
    for name in ("-s", "-v", "-i", "-k", "-L", "-S", "--silent", "--include"):
        options.add_argument(name, action="store_true", dest=f"flag{name}")
    options.add_argument("-X", "--request", default="GET", dest="X")
    options.add_argument("url")
    found = options.read(arguments)
    if found.X != "GET":
        raise Refused("the API knows GET only")
    url, _ = _own_url(settings, found.url)
    headers = [word for header in found.H for word in ("-H", _header(header))]
    return Meaning(("ab", "-n", "1", "-c", "1", *headers, url), 4, program, requests=1)


def _own_url(settings: Settings, url: str) -> tuple[str, str]:
    """The URL at the lab's own address, and the habit where it was another of the API's."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused(f"no address: {url}") from None
    if parts.scheme != "http" or parts.username is not None or host not in ("localhost", LOOPBACK, "0.0.0.0"):
        raise Refused(f"it would send to {host or 'nowhere'}: only the lab's own API is sent to")
    if port not in (5000, settings.api_port):
        raise Refused(f"it would send to port {port or 80}: only the lab's own API is sent to")
    path = parts.path or "/"
    if not re.fullmatch(r"/[\w./%~+,:@-]*", path, re.ASCII) or parts.query or parts.fragment:
        raise Refused(f"no route of the API: {path}")
    own = f"{settings.api}{path}"
    return own, "" if own == url else "the API's address"


def _header(header: str) -> str:
    if not re.fullmatch(r"[\w-]{1,50}: ?[ -~]{0,300}", header, re.ASCII):
        raise Refused("a header that is none")
    return header


# --- steps 5, 6, 7: Spark, and the tables ---


@known("spark-submit")
def spark(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """The lab's own jobs; a job of the course is the lab's own with the same purpose, where its name tells it."""
    options = _Options()
    for name in ("--master", "--name", "--deploy-mode", "--packages", "--driver-memory", "--executor-memory"):
        options.add_argument(name)
    options.add_argument("job")
    found = options.read(arguments)
    name = found.job.removeprefix("./")
    own = {"lab/pipeline/batch_job.py": 5, "lab/pipeline/stream_job.py": 6}
    if name in own:
        return Meaning((program, name), own[name], endless=own[name] == 6)
    stem = PurePosixPath(name).name.lower()
    if not stem.endswith(".py"):
        raise Refused("no job in Python")
    if "stream" in stem:
        tables = ("step-7",) if "hive" in stem or "table" in stem else ()
        return Meaning(("make", "step-6", *tables), 6, f"a streaming job of the course: {stem}")
    if "hive" in stem or "table" in stem:
        return Meaning(("make", "step-7"), 7, f"tables, made by a job: {stem}")
    if re.search(r"batch|extract|filter|separate|transform|write|sword|purchase|guild|event|land", stem):
        return Meaning((program, "lab/pipeline/batch_job.py"), 5, f"a batch job of the course: {stem}")
    raise Refused(f"a job whose purpose its name does not tell: {stem}")


HDFS_LOOKS = frozenset(("-ls", "-du", "-count", "-stat", "-test", "-cat", "-tail"))
HDFS_FLAGS = frozenset(("-R", "-h", "-s", "-e", "-d"))


@known("hdfs", "hadoop")
def hdfs(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """What looks at HDFS; the lab's own way to start its servers is step 1, and to make folders a part of step 7."""
    if program == "hdfs" and arguments[:1] in (["namenode"], ["datanode"]):
        return Meaning(("make", "step-1"), 1)
    if arguments[:1] not in (["dfs"], ["fs"]):
        raise Refused("no command of `hdfs dfs`")
    verb, paths = arguments[1] if len(arguments) > 1 else "", [word for word in arguments[2:] if word[:1] != "-"]
    flags = [word for word in arguments[2:] if word[:1] == "-"]
    for path in paths:
        if not re.fullmatch(r"/?[\w./=-]+", path, re.ASCII) or ".." in path:
            raise Refused(f"no path that is read here: {path}")
    if verb in HDFS_LOOKS and set(flags) <= HDFS_FLAGS:
        return Meaning(("hdfs", "dfs", verb, *flags, *paths), None, "hadoop fs" if program == "hadoop" else "")
    if verb == "-mkdir" and flags == ["-p"] and paths and all(path.startswith(f"{settings.tables}/") for path in paths):
        return Meaning(("hdfs", "dfs", verb, *flags, *paths), 7)
    raise Refused(f"it would change HDFS by hand: {verb}")


@known("hive", "beeline")
def hive(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Hive's tables are made by step 7, whatever they were made with; its metastore is started by step 1."""
    if arguments[:2] == ["--service", "metastore"]:
        return Meaning(("make", "step-1"), 1)
    options = _Options()
    for name in ("-e", "-u", "-n"):
        options.add_argument(name)
    found = options.read(arguments)
    if found.e is not None and not any(map(MAKES.match, statements(found.e))):
        raise Refused("Hive is asked for nothing here: Presto is, in step 8")
    return Meaning(("make", "step-7"), 7, "tables, made in Hive's client")


# --- step 8: queries ---

SQL = re.compile(r"(?:select|with|show|describe|desc|create|insert|drop|alter|use|explain)\Z", re.IGNORECASE)
ASKS = re.compile(r"(?:select|with|show|describe|desc|values|explain(?!\s+analyze))\b", re.IGNORECASE)
MAKES = re.compile(
    r"create\b.*\btable\b.*\b(?:location|external_location)\b|create\s+external\s+table\b"
    r"|create\s+(?:or\s+replace\s+)?view\b.*\bfrom\b",
    re.IGNORECASE | re.DOTALL,
)
"""What makes a table over files that have landed; any other would hold what the pipeline has not brought."""
TOKENS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|(--[^\n]*|/\*.*?\*/)|(;)|.", re.DOTALL)


def statements(text: str) -> list[str]:
    """The statements of an SQL text, without comments."""
    found = [""]
    for token in TOKENS.finditer(text):
        if token[2]:
            found.append("")
        else:
            found[-1] += " " if token[1] else token[0]
    return [statement.strip() for statement in found if statement.strip()]


@known("presto")
def presto(settings: Settings, program: str, arguments: list[str]) -> list[Meaning]:
    """Queries run as they are; what makes tables is step 7. A session without a query in it is asked the lab's own."""
    options = _Options()
    for name in ("--server", "--catalog", "--schema", "--user"):
        options.add_argument(name)
    options.add_argument("--execute")
    options.add_argument("-f", "--file")
    options.add_argument("--output-format", choices=["ALIGNED", "CSV", "CSV_HEADER", "TSV", "JSON", "VERTICAL"])
    found = options.read(arguments)
    if found.execute is None:
        where = "in a file" if found.file else "typed in Presto's client"
        return [Meaning(("make", "step-8"), 8, f"queries, {where}")]
    habit = "another server's address" if found.server not in (None, settings.presto) else ""
    asked = [one for one in statements(found.execute) if not re.match(r"use\b", one, re.IGNORECASE)]
    for one in asked:
        if not (ASKS.match(one) or MAKES.match(one)):
            raise Refused(f"it neither asks, nor makes a table over the landed files: {one[:40]}")
    meant: list[Meaning] = []
    if any(map(MAKES.match, asked)):
        meant.append(Meaning(("make", "step-7"), 7, habit))
    queries = [one for one in asked if ASKS.match(one)]
    if queries:
        shape = ("--output-format", found.output_format) if found.output_format else ()
        meant.append(Meaning(("presto", "--execute", ";\n".join(queries), *shape), 8, habit))
    if not meant:
        raise Ignored("it asks nothing")
    return meant


@known("spark-sql")
def spark_sql(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """Tables are made by step 7. Nothing else is asked of it: its statements can run programs and read any file."""
    options = _Options()
    options.add_argument("-e")
    found = options.read(arguments)
    if found.e is not None and not any(map(MAKES.match, statements(found.e))):
        raise Refused("Spark's client can do more than ask: queries are Presto's, in step 8")
    return Meaning(("make", "step-7"), 7, "tables, made in Spark's client")


# --- the lab's own make ---

MOST_WEEKS = 52
"""Of the simulation: step 4 sends another one each time."""
TARGETS = {f"step-{number}": number for number in range(1, 9)}
LOOKS = re.compile(
    r"status|logs|check|help|watch|doctor|ledger|shell|plan|submit|report(-check)?|setup|drill(-[a-z-]+)?|stop"
    r"|grade|autograder|land-quarantine|test|lint|bench|lock"
)


@known("make")
def make(settings: Settings, program: str, arguments: list[str]) -> Meaning:
    """The lab's own targets; no other file, folder or variable than theirs."""
    for word in arguments:
        if word.startswith("-") and word not in ("-s", "--silent"):
            raise Refused(f"an option of make: {word}")
    targets = [word for word in arguments if "=" not in word and not word.startswith("-")]
    if {"clean", "distclean"} & set(targets):
        raise Ignored(EMPTIES)
    if targets and all(map(LOOKS.fullmatch, targets)):
        raise Ignored("it looks at the lab, or tidies up: not needed here")
    given: dict[str, float] = {}
    for one in (word for word in arguments if "=" in word):
        match = re.fullmatch(r"(N|EVERY|SEED|WEEK)=(\d{1,6}(?:\.\d)?)", one)
        if match is None:
            raise Refused(f"a variable that is not one of the lab's, or a value that is too large: {one}")
        given[match[1]] = float(match[2])
    if not targets or targets == ["lab"]:
        return Meaning(("make", "lab"))
    if targets == ["traffic"]:
        requests = int(given.get("N", 100))
        if given.get("EVERY", 0) > 10:
            raise Refused("bursts more than ten seconds apart")
        if not 0 < given.get("WEEK", 1) <= MOST_WEEKS:
            raise Refused(f"a week of the simulation is 1 to {MOST_WEEKS}")
        variables = [word for word in arguments if "=" in word]
        return Meaning(("make", "traffic", *variables), 4, requests=requests)
    if all(target in TARGETS for target in targets):
        return Meaning(("make", *targets), TARGETS[targets[0]])
    raise Refused(f"no target that is replayed: {' '.join(targets)}")


# --- what is left out ---

IGNORED = {
    **dict.fromkeys(("ls", "pwd", "cat", "head", "tail", "less", "more", "grep", "find", "tree", "wc", "file", "du",
                     "df", "ps", "top", "htop", "which", "whoami", "date", "history", "man", "env", "printenv", "id",
                     "uname", "uptime", "free", "jq", "sort", "uniq", "diff", "stat", "type", "netstat", "lsof", "ping",
                     "nproc", "tee", "cut", "awk", "sed"), "it only looks"),
    **dict.fromkeys(("cd", "pushd", "popd", "exit", "logout", "clear", "reset", "screen", "tmux", "fg", "bg", "jobs",
                     "set", "sleep", "watch", "wait", "true", ":", "read", "kill", "pkill", "killall",
                     "shutdown", "reboot", "su", "ssh", "scp", "gcloud", "unset"), "it moves about, or waits"),
    **dict.fromkeys(("vim", "vi", "nano", "emacs", "code", "subl", "atom", "gedit", "notepad"), "it edits a file"),
    **dict.fromkeys(("cp", "mv", "rm", "mkdir", "rmdir", "touch", "chmod", "chown", "ln", "tar", "zip", "unzip", "gzip",
                     "gunzip", "echo", "printf"), "it looks after files"),
    **dict.fromkeys(("git", "gh", "hub", "svn"), "it looks after versions"),
    **dict.fromkeys(("pip", "pip3", "conda", "apt", "apt-get", "brew", "yum", "npm"), "it installs what is there"),
    **dict.fromkeys(("jupyter", "jupytext", "jupyter-notebook", "ipython", "pyspark", "spark-shell"),
                    "what was typed in it is not in this history"),
}  # fmt: skip


def _name(text: str, what: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,100}", text):
        raise Refused(f"no name of a {what}: {text}")
    return text


def _number(value: int, least: int, most: int, what: str) -> str:
    if not least <= value <= most:
        raise Refused(f"{value} {what}: between {least} and {most} are possible")
    return str(value)


ASSIGNABLE = frozenset(("FLASK_APP", "FLASK_ENV", "FLASK_DEBUG", "PYTHONUNBUFFERED", "TERM"))
"""Variables that a command may be given; they change nothing here. Others, such as LD_PRELOAD, are refused."""
