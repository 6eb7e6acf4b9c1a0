"""How the API is served: gunicorn's settings, and the API's journal.

    gunicorn --config python:lab.pipeline.gunicorn_conf

The journal, `api-journal.log` in the lab's logs, has a line for each answer but those of the health route:
`time method path status event_id logged seconds`, separated by spaces. `logged` is yes, no, later or unknown; the
`event_id` of an answer that logged nothing is in no event.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from gunicorn.glogging import Logger

from lab.settings import Settings

_settings = Settings.from_env()
_settings.logs.mkdir(parents=True, exist_ok=True)


class Journal(Logger):
    """gunicorn's logger, whose access log is the journal."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Append a line: one write, so that the lines of several workers do not mix."""
        if environ.get("PATH_INFO") == "/health":
            return
        answered = {name.lower(): value for name, value in resp.headers}
        words = (
            datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            environ.get("REQUEST_METHOD", "-"),
            environ.get("RAW_URI", "-")[:1000],
            str(resp.status).split()[0],
            answered.get("x-event-id", "-"),
            answered.get("x-event-logged", "-"),
            f"{request_time.total_seconds():.3f}",
        )
        self.access_log.info("%s", " ".join(words))


def worker_exit(server: Any, worker: Any) -> None:
    """Flush before the worker ends. The worker has answered all that was in flight by then."""
    app = getattr(worker, "wsgi", None)  # absent in a worker that never came up, and in the arbiter
    if app is not None:
        app.extensions["close"]()


wsgi_app = "lab.pipeline.game_api:wsgi()"
bind = f"{_settings.bind}:{_settings.api_port}"
proc_name = "game-api"

# Two processes, for two cores. A request mostly waits for Kafka, so a worker serves many at once, in greenlets: threads
# would take turns at the interpreter's lock more often than they work.
workers = 2
worker_class = "gevent"
worker_connections = 256
# Each worker makes its own connections and greenlets: none would survive a fork.
preload_app = False
# Seconds. An answer takes at most 10; a worker that is asked to end may answer, and flush, before it is killed.
graceful_timeout = 15
timeout = 30
keepalive = 5

accesslog = str(_settings.logs / "api-journal.log")
errorlog = "-"
logger_class = Journal
# Nothing else listens.
control_socket_disable = True
