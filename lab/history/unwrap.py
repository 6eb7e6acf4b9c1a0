"""Unwrapping: what stands in front of the command proper, as the course types it: sudo, env, a container."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from lab.history.grammar import Word

BEFORE = frozenset(("sudo", "winpty", "time", "nohup", "command", "timeout"))
BEFORE_VALUED = frozenset(("-u", "-g", "-k", "-s"))
COMPOSE_VALUED = frozenset(
    ("-f", "--file", "-p", "--project-name", "--env-file", "--project-directory", "--profile", "-H", "--host", "--ansi")
)
CONTAINER_VALUED = frozenset(
    (
        *("-e", "--env", "-u", "--user", "-w", "--workdir", "--name", "-v", "--volume", "-p", "--publish", "--network"),
        *("--entrypoint", "--index", "-h", "--hostname", "--link", "-m", "--memory"),
    )
)
"""Options that are followed by a value."""


@dataclass
class Unwrapped:
    """The command proper, none where nothing is run; and what stood before it.

    `habits` are those that a learner of this lab has no need of, `variables` the names of those that were set, and
    `detached` says that a container was to go on by itself.
    """

    words: list[Word]
    habits: list[str] = field(default_factory=list)
    variables: list[str] = field(default_factory=list)
    detached: bool = False


def unwrap(words: Sequence[Word]) -> Unwrapped:
    found = Unwrapped(list(words))
    while found.words:
        texts = [word.text for word in found.words]
        if texts[0] == "command" and texts[1:2] in (["-v"], ["-V"]):
            found.words = []
        elif texts[0] in BEFORE:
            found.words = found.words[after_options(texts, 1, BEFORE_VALUED) + (texts[0] == "timeout") :]
            found.habits += [texts[0]] if texts[0] in ("sudo", "winpty") else []
        elif texts[0] == "env" and len(texts) > 1:
            found.words = found.words[1:]
            while found.words and "=" in found.words[0].text:
                found.variables.append(found.words[0].text.partition("=")[0])
                found.words = found.words[1:]
        elif inner := _in_container(texts):
            found.detached = found.detached or bool({"-d", "--detach"} & set(texts[:inner]))
            found.words = found.words[inner:]
            found.habits.append("in a container")
        else:
            break
    return found


def compose_verb(words: Sequence[str]) -> int | None:
    """Where the verb of a call of docker-compose stands, or None where it is no such call."""
    if words[:1] == ["docker-compose"]:
        return after_options(words, 1, COMPOSE_VALUED)
    if words[:2] == ["docker", "compose"]:
        return after_options(words, 2, COMPOSE_VALUED)
    return None


def after_options(words: Sequence[str], at: int, valued: Collection[str]) -> int:
    """Where the first word stands, from `at` on, that is neither an option nor the value of one of `valued`."""
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in valued else 1
    return at


def _in_container(words: Sequence[str]) -> int | None:
    """Where the command begins that is run in a container, or None where none is."""
    at = compose_verb(words)
    if at is None and words[:1] == ["docker"]:
        at = after_options(words, 1, COMPOSE_VALUED)
    if at is None or at >= len(words) or words[at] not in ("exec", "run"):
        return None
    at = after_options(words, at + 1, CONTAINER_VALUED)
    return at + 1 if at < len(words) else None
