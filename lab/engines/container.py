"""One server in a container: what docker-compose.yml runs there, and asks whether it is healthy.

    python -m lab.engines.container run kafka        becomes that engine, in the foreground
    python -m lab.engines.container run client       keeps up what steps have started: the API, the stream
    python -m lab.engines.container healthy kafka    asks it a real request; exit status 0 when it answered

An engine is configured from the same templates as on a machine of its own; LAB_HOST and LAB_BIND say how others reach
it. The client is the container in which steps, jobs and the engines' commands run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading

import requests

from lab.engines import probes, stack
from lab.engines.services import Registry
from lab.errors import LabError
from lab.settings import Settings

CLIENT = "client"
END_SECONDS = 45.0


def become(settings: Settings, name: str) -> None:
    """Configure the engine, format what it keeps its data in the first time, and become its process."""
    stack.configure(settings)
    engine = find(settings, name)
    stack.format_once(engine.data_folder, engine.format_command, settings, stack.command_environment(settings))
    environment = {**os.environ, **stack.command_environment(settings)}
    print(f"{engine.name} in {settings.home}: {' '.join(engine.command)}", flush=True)
    os.execvpe(engine.command[0], engine.command, environment)


def keep_up(settings: Settings) -> None:
    """Start again what steps had started when this container ended; return once all of it has ended on SIGTERM."""
    registry = Registry(settings.run)
    asked_to_end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_end.set())
    if any(service.up for service in registry.wanted().values()):
        registry.ensure_supervisor()
    print(complaint(settings) or "Steps, jobs and commands run here: docker compose exec lab make step-1", flush=True)
    asked_to_end.wait()
    supervisor = registry.supervisor()
    if supervisor is not None:
        supervisor.terminate()  # it stops what it looks after; what was wanted stays wanted
        supervisor.wait(END_SECONDS)


def healthy(settings: Settings, name: str) -> str:
    """What the server answered. Raises one of `probes.FAILURES` when it does not answer as it should."""
    if name != CLIENT:
        return find(settings, name).probe(settings)
    if wrong := complaint(settings):
        raise LabError(wrong)
    api = Registry(settings.run).wanted().get("api")
    if api is None or not api.up:
        return "no step has started the API yet"
    answer = requests.get(f"{settings.api}/health", timeout=5)
    answer.raise_for_status()
    return "the API is well"


def complaint(settings: Settings) -> str:
    """Why the client could not write what a run leaves in the checkout; empty where it can."""
    folder = settings.history.parent
    if not os.access(folder, os.W_OK):
        owner = folder.stat()
        wanted = f"LAB_UID={owner.st_uid} LAB_GID={owner.st_gid} docker compose up --build"
        return f"User {os.getuid()} may not write into the checkout. Its owner may: {wanted}"
    if settings.home.exists() and not os.access(settings.home, os.W_OK):
        return f"{settings.home} is what another user's lab has left. Without it: docker compose down --volumes"
    return ""


def find(settings: Settings, name: str) -> stack.Engine:
    for engine in stack.engines(settings):
        if engine.name == name:
            return engine
    raise LabError(f"There is no engine {name}.", "docker compose config --services")


def main() -> None:
    parser = argparse.ArgumentParser(description="One server of the lab, in a container.")
    parser.add_argument("verb", choices=("run", "healthy"))
    parser.add_argument("name")
    asked = parser.parse_args()
    settings = Settings.from_env()
    try:
        if asked.verb == "healthy":
            print(healthy(settings, asked.name))
        elif asked.name == CLIENT:
            keep_up(settings)
        else:
            become(settings, asked.name)
    except (LabError, *probes.FAILURES) as error:
        sys.exit(f"{asked.name}: {error}")


if __name__ == "__main__":
    main()
