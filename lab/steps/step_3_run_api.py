"""Step 3: run the game's API in the background."""

from __future__ import annotations

import time

import requests

from lab.engines import stack
from lab.errors import LabError
from lab.pipeline import event_log
from lab.steps.context import Evidence, Lab

TITLE = "run the Flask API"
WHY = """
The game's phones call this API. It answers 2xx only once Kafka has acknowledged the event, so an event that was
answered is an event that is kept. gunicorn, a real WSGI server, runs the Flask app in two processes.
"""

READY_SECONDS = 30.0


def do(lab: Lab) -> None:
    lab.require_engines()
    event_log.end_offsets(lab.settings)  # says so when step 2 is missing
    if lab.registry.process("api") is None:
        stack.require_free_port(lab.settings.api_port, "LAB_API_PORT")
    log = lab.start("api", ["gunicorn", "--config", "python:lab.pipeline.gunicorn_conf"], grace=20.0)
    deadline = time.monotonic() + READY_SECONDS
    while not _health(lab).ok:
        state = lab.registry.state("api")
        if time.monotonic() > deadline or (state and state.status == "failed"):
            raise LabError(f"The API did not come up; its log: {log}\n{stack.last_lines(log)}")
        time.sleep(0.1)  # between two requests


def evidence(lab: Lab) -> list[Evidence]:
    lab.require("api", 3)
    return [_health(lab)]


def _health(lab: Lab) -> Evidence:
    try:
        answer = requests.get(f"{lab.settings.api}/health", timeout=10)
    except requests.RequestException as error:
        return Evidence("health", f"no answer ({type(error).__name__})", False, "make step-3")
    return Evidence(f"health at {lab.settings.api}/health", f"{answer.status_code}", answer.ok, "make doctor")
