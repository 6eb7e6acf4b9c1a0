"""The usual API of the course, as the baseline: Flask's own server, and an event that is sent and forgotten.

python -m benchmarks.rivals.course_api PORT
"""

from __future__ import annotations

import json
import sys

from flask import Flask, request
from kafka import KafkaProducer

from lab.settings import LOOPBACK, Settings

app = Flask(__name__)
settings = Settings.from_env()
producer = KafkaProducer(bootstrap_servers=settings.kafka)


def log_to_kafka(topic: str, event: dict[str, object]) -> None:
    event.update(request.headers)
    producer.send(topic, json.dumps(event).encode())


@app.route("/purchase_a_sword/<name>")
def purchase_a_sword(name: str) -> str:
    log_to_kafka(settings.topic, {"event_type": "purchase_sword", "type": name, "cost": 6})
    return "Sword Purchased!\n"


if __name__ == "__main__":
    app.run(host=LOOPBACK, port=int(sys.argv[1]))
