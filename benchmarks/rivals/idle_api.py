"""The limit: a Flask route that does nothing, for the server and the settings that the lab's own API runs with.

gunicorn --config python:lab.pipeline.gunicorn_conf … benchmarks.rivals.idle_api:app
"""

from __future__ import annotations

from flask import Flask

app = Flask(__name__)
app.extensions["close"] = lambda: None  # what the lab's gunicorn_conf calls when a worker ends


@app.route("/purchase_a_sword/<name>")
def nothing(name: str) -> str:
    return "Nothing.\n"
