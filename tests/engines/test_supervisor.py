"""The supervisor, with small commands in place of engines."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import atomic
from lab.engines.services import Registry, Service, find_process
from lab.errors import LabError

STAYS = (sys.executable, "-c", "import signal; signal.pause()")
DIES = (sys.executable, "-c", "raise SystemExit(3)")
DEAF = (
    sys.executable,
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()",
)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """The services of a home with a space in its name; nothing is left running."""
    registry = Registry(tmp_path / "a home" / "run")
    yield registry
    registry.stop(list(registry.wanted()))
    until(lambda: registry.supervisor() is None)


def service(registry: Registry, argv: tuple[str, ...] = STAYS, **others: object) -> Service:
    return Service("one", argv, str(registry.run.parent / "logs" / "one.log"), **others)  # type: ignore[arg-type]


def pid(registry: Registry) -> int:
    process = registry.process("one")
    return process.pid if process else 0


def test_a_service_that_is_asked_for_runs_and_ends_when_it_is_stopped(registry: Registry) -> None:
    registry.start(service(registry))
    assert pid(registry)
    registry.stop(["one"])
    assert not pid(registry)
    assert registry.state("one").status == "stopped"  # type: ignore[union-attr]


def test_asking_twice_starts_one_process(registry: Registry) -> None:
    registry.start(service(registry))
    first = pid(registry)
    registry.start(service(registry))
    assert pid(registry) == first


def test_a_service_that_is_killed_is_started_again_and_its_death_is_noted(registry: Registry) -> None:
    registry.start(service(registry))
    first = pid(registry)
    registry.process("one").kill()  # type: ignore[union-attr]
    until(lambda: pid(registry) not in (0, first))
    assert len(registry.state("one").deaths) == 1  # type: ignore[union-attr]
    assert "one: died (SIGKILL)" in (registry.run.parent / "logs" / "supervisor.log").read_text()


def test_a_service_that_keeps_dying_is_given_up_and_asking_again_forgives(registry: Registry, monkeypatch) -> None:
    atomic.write_json(registry.want_path("one"), vars(service(registry, DIES)) | {"asked": time.time()})
    registry.ensure_supervisor()
    until(lambda: (state := registry.state("one")) and state.status == "failed", 60)
    state = registry.state("one")
    assert state is not None
    assert (len(state.deaths), state.last_exit) == (6, "exit status 3")
    registry.start(service(registry))
    assert pid(registry)


def test_a_changed_service_is_started_anew(registry: Registry) -> None:
    registry.start(service(registry))
    first = pid(registry)
    registry.start(service(registry, env={"CODE": "2"}))
    assert pid(registry) not in (0, first)
    assert not registry.state("one").deaths  # type: ignore[union-attr]


def test_a_service_that_does_not_listen_to_sigterm_is_killed_after_its_grace(registry: Registry) -> None:
    registry.start(service(registry, DEAF, grace=0.3))
    until(lambda: "up" in Path(service(registry).log).read_text())
    registry.stop(["one"])
    assert not pid(registry)


def test_a_stopped_process_can_be_stopped_for_good(registry: Registry) -> None:
    registry.start(service(registry))
    registry.process("one").send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    registry.stop(["one"])
    assert not pid(registry)


def test_a_new_supervisor_adopts_what_a_killed_one_left(registry: Registry) -> None:
    registry.start(service(registry))
    first = pid(registry)
    supervisor = registry.supervisor()
    assert supervisor is not None
    supervisor.kill()
    until(lambda: registry.supervisor() is None)
    registry.start(service(registry))
    assert pid(registry) == first
    registry.process("one").kill()  # type: ignore[union-attr]
    until(lambda: pid(registry) not in (0, first))


def test_a_process_whose_pid_was_never_written_down_is_found_by_its_mark(registry: Registry) -> None:
    registry.start(service(registry))
    first = pid(registry)
    supervisor = registry.supervisor()
    assert supervisor is not None
    supervisor.kill()
    until(lambda: registry.supervisor() is None)
    registry.state_path("one").unlink()
    registry.ensure_supervisor()
    until(lambda: (state := registry.state("one")) and state.status == "running")
    assert "adopted" in (registry.run.parent / "logs" / "supervisor.log").read_text()
    until(lambda: find_process(first, registry.state("one").created) is None or pid(registry) == first)  # type: ignore[union-attr]


def test_a_recycled_pid_is_not_taken_for_the_service(registry: Registry) -> None:
    import os

    assert find_process(os.getpid(), created=1.0) is None


def test_a_command_that_does_not_exist_is_reported_with_its_log(registry: Registry, monkeypatch) -> None:
    monkeypatch.setattr("lab.engines.services.START_SECONDS", 2.0)
    with pytest.raises(LabError, match=r"one was not started within 2 s; its log: .*one\.log"):
        registry.start(service(registry, ("no-such-command",)))


def test_the_supervisor_ends_when_its_home_is_gone(registry: Registry) -> None:
    import shutil

    registry.start(service(registry))
    first = registry.process("one")
    shutil.rmtree(registry.run.parent)
    until(lambda: first is None or not first.is_running())
