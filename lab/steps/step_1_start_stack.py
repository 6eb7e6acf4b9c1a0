"""Step 1: start Kafka, HDFS, the Hive metastore and Presto, side by side."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

from lab import console
from lab.engines import probes, stack
from lab.errors import LabError
from lab.settings import shown_path
from lab.steps.context import Evidence, Lab

TITLE = "start the stack"
WHY = """
Five servers make up the stack: Kafka keeps events, HDFS (a NameNode and a DataNode) keeps files, the Hive metastore
keeps the tables' names, and Presto answers queries. Each is ready once it has answered a real request.
"""


def do(lab: Lab) -> None:
    settings = lab.settings
    if not settings.conf.exists():
        if settings.stack == "compose" and settings.history.exists():
            before = settings.history.with_name("history.before.txt")
            shutil.copy2(settings.history, before)
            console.say(
                f"{settings.history.name} begins anew; what it held, perhaps another lab's, is in {before.name}."
            )
        lab.recorder.start_anew()

    def announce(argv: tuple[str, ...], background: bool) -> None:
        console.command(argv, background)
        with lab.recorder.running(argv, background=background) as entry:
            entry.status = 0

    if settings.stack == "compose":
        announce(("docker", "compose", "up", "--detach"), False)
        console.say("Each engine has a container, and it has answered a real request from within. Now from here:")
    else:
        for engine in sorted(settings.external):
            console.say(f"{engine} runs elsewhere, at {getattr(settings, engine)}: nothing is started for it.")

    def ready(name: str, seconds: float, said: str) -> None:
        console.say(f"  {name} is ready after {seconds:.1f} s: {said}")

    stack.start(settings, announce, ready)
    console.say(f"Logs: {shown_path(settings.logs)}")


def evidence(lab: Lab) -> list[Evidence]:
    lab.require_engines()
    engines = stack.engines(lab.settings)
    memory = stack.resident(lab.settings, [engine.name for engine in engines])

    def ask(engine: stack.Engine) -> Evidence:
        try:
            said = engine.probe(lab.settings)
        except probes.FAILURES as error:
            return Evidence(engine.name, f"does not answer: {error}", False, "make step-1")
        where = getattr(lab.settings, engine.address)
        used = f"; {memory[engine.name] // 2**20} MB" if engine.name in memory else ""
        return Evidence(f"{engine.name} at {where}", f"{said}{used}")

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(ask, engines))
    if not found:
        raise LabError("There is no engine.", "make step-1")
    return found
