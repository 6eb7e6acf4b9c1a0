"""The supervisor of one lab's home: makes what runs equal to what is wanted, and says what it did.

    python -m lab.engines.supervisor RUN_FOLDER

It adopts processes that an earlier, killed supervisor left behind; restarts what died, five times in ten minutes
at the most; and ends when nothing is wanted any more, or when its home is gone.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from lab import atomic
from lab.engines.services import OWNER, POLL_SECONDS, Registry, Service, State, find_process, is_session_leader

MOST_DEATHS = 5
WITHIN_SECONDS = 600.0
LONGEST_LOG = 20_000_000  # bytes; a longer log is moved aside when its service starts


class Supervisor:
    def __init__(self, run: Path) -> None:
        self.registry = Registry(run)
        self.states: dict[str, State] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stop_asked: dict[str, float] = {}
        self.ending = threading.Event()

    def loop(self) -> None:
        """Run until nothing is wanted and nothing runs."""
        self._adopt()
        while True:
            wanted = self.registry.wanted()
            if self.ending.is_set() or not wanted:
                wanted = {name: dataclasses.replace(service, up=False) for name, service in wanted.items()}
                for name in self.states.keys() - wanted.keys():
                    wanted[name] = Service(name, (), os.devnull, up=False, grace=5.0)
            for service in wanted.values():
                self._reconcile(service)
            if not any(s.up for s in wanted.values()) and all(s.pid == 0 for s in self.states.values()):
                return
            self.ending.wait(POLL_SECONDS) if not self.ending.is_set() else time.sleep(POLL_SECONDS)

    def _adopt(self) -> None:
        """Take over what runs already: by its recorded pid, or by its mark where the pid was never recorded."""
        for name in self.registry.wanted():
            self.states[name] = self.registry.state(name) or State("stopped")
        prefix = f"{self.registry.run.parent}:"
        for process in psutil.process_iter():
            try:
                mark = process.environ().get(OWNER, "")
                created = process.create_time()
            except (psutil.Error, OSError):
                continue  # not ours: another user's, or ended while we looked
            name = mark.removeprefix(prefix)
            if mark.startswith(prefix) and name in self.states and is_session_leader(process.pid):
                state = self.states[name]
                if not find_process(state.pid, state.created):
                    say(f"{name}: adopted pid {process.pid}")
                    state.pid, state.created, state.status, state.fingerprint = process.pid, created, "running", []

    def _reconcile(self, service: Service) -> None:
        state = self.states.setdefault(service.name, State("stopped"))
        alive = self._alive(service.name, state)
        if state.pid and not alive:
            self._bury(service, state)
        if alive and (not service.up or state.fingerprint != service.fingerprint):
            self._ask_to_end(service, state)
        elif not alive and not service.up:
            self._note(service.name, state, status="stopped")
        elif not alive:
            recent = [death for death in state.deaths if death > max(service.asked, time.time() - WITHIN_SECONDS)]
            if len(recent) > MOST_DEATHS:
                if state.status != "failed":
                    say(f"{service.name}: died {len(recent)} times, not started again; log: {service.log}")
                self._note(service.name, state, status="failed")
            elif not recent or time.time() - recent[-1] >= 0.2 * 2 ** len(recent):
                self._spawn(service, state)

    def _alive(self, name: str, state: State) -> bool:
        child = self.children.get(name)
        if child is not None and child.pid == state.pid:
            return child.poll() is None
        return find_process(state.pid, state.created) is not None

    def _spawn(self, service: Service, state: State) -> None:
        self._note(service.name, state, status="starting")
        log = Path(service.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LONGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        environment = {**os.environ, **service.env, OWNER: f"{self.registry.run.parent}:{service.name}"}
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    service.argv,
                    cwd=service.cwd,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            created = psutil.Process(child.pid).create_time()
        except (OSError, psutil.NoSuchProcess) as error:
            state.deaths.append(time.time())
            say(f"{service.name}: could not be started: {error}")
            self._note(service.name, state, last_exit=str(error))
            return
        self.children[service.name] = child
        again = f" (restart {len(state.deaths)})" if state.deaths else ""
        say(f"{service.name}: started as pid {child.pid}{again}")
        self._note(
            service.name, state, status="running", pid=child.pid, created=created, fingerprint=service.fingerprint
        )

    def _ask_to_end(self, service: Service, state: State) -> None:
        asked = self.stop_asked.get(service.name)
        now = time.monotonic()
        if asked is None:
            self.stop_asked[service.name] = now
            self._note(service.name, state, status="stopping")
            signal_process(state.pid, signal.SIGTERM)
            signal_process(state.pid, signal.SIGCONT)  # a stopped process would never see the SIGTERM
        elif now - asked > service.grace:
            say(f"{service.name}: did not end within {service.grace:.0f} s, killed")
            self.stop_asked[service.name] = now
            signal_group(state.pid, signal.SIGKILL)

    def _bury(self, service: Service, state: State) -> None:
        child = self.children.pop(service.name, None)
        code = child.returncode if child else None
        how = "ended" if code is None else f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        signal_group(state.pid, signal.SIGKILL)  # what it started must not outlive it
        if self.stop_asked.pop(service.name, None) is None:
            state.deaths = [*state.deaths[-20:], time.time()]
            say(f"{service.name}: died ({how}); log: {service.log}")
        self._note(service.name, state, pid=0, created=0.0, last_exit=how)

    def _note(self, name: str, state: State, **changes: object) -> None:
        new = dataclasses.replace(state, **changes)  # type: ignore[arg-type]
        if new != state or not self.registry.state_path(name).exists():
            state.__dict__.update(new.__dict__)
            if self.registry.run.exists():
                atomic.write_json(self.registry.state_path(name), dataclasses.asdict(state))


def say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def signal_process(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended already


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signal the process group that `pid` leads: what a service has started itself."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


def main(run: Path) -> None:
    lock = FileLock(run / "supervisor.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return  # another supervisor looks after this home
    supervisor = Supervisor(run)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ending.set())
    me = psutil.Process()
    atomic.write_json(run / "supervisor.json", {"pid": me.pid, "created": me.create_time()})
    try:
        supervisor.loop()
    finally:
        lock.release()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
