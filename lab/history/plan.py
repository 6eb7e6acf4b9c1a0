"""The plan: what becomes of each line of a history, said before anything runs.

A line is replayed as it is, translated from a habit of the course to what does the same here, ignored because it
changes nothing that is looked at, or refused; each with the reason. Nothing is run here, and no file is read but the
scripts that stand beside the history.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import console
from lab.history import grammar, known
from lab.history.grammar import Command, Redirect, Unread, Word
from lab.history.known import Ignored, Refused
from lab.history.read import Typed, commands, read
from lab.settings import Settings

REPLAYED, TRANSLATED, IGNORED, REFUSED = "replayed", "translated", "ignored", "refused"
STEPS = {
    1: "the stack is started",
    2: "the topic is created",
    3: "the API runs",
    4: "traffic is sent",
    5: "a batch lands events",
    6: "a stream lands events",
    7: "the tables are made",
    8: "Presto is asked",
}

FILTERS = {
    "head",
    "tail",
    "less",
    "more",
    "grep",
    "wc",
    "jq",
    "sort",
    "uniq",
    "cat",
    "tee",
    "cut",
    "awk",
    "sed",
    "column",
}
"""What a command's output may be piped into: it changes nothing but what was seen."""
MOST_SCRIPT_BYTES = 2**20
MOST_SCRIPTS = 3
"""How deep scripts may call scripts, and containers may hold shells."""


@dataclass(frozen=True)
class Planned:
    """One command and its fate: `argv` runs here, for `step` where it belongs to one; `why` says why it does not."""

    line: int
    typed: str
    fate: str
    why: str = ""
    argv: tuple[str, ...] = ()
    step: int | None = None
    background: bool = False


@dataclass(frozen=True)
class Plan:
    """Every command of a history in order."""

    commands: tuple[Planned, ...]

    def of_step(self, step: int) -> list[Planned]:
        """What is there for a step."""
        return [one for one in self.commands if step in steps_of(one)]

    def missing(self) -> list[int]:
        return [step for step in STEPS if not self.of_step(step)]

    def counts(self) -> Counter[str]:
        return Counter(one.fate for one in self.commands)


def steps_of(planned: Planned) -> set[int]:
    """The steps that a command is there for; `make`, and a step that does more than one, are there for several."""
    if planned.fate not in (REPLAYED, TRANSLATED):
        return set()
    if planned.argv == ("make", "lab"):
        return set(STEPS)
    steps = {planned.step} if planned.step else set()
    if planned.argv[0] == "make":
        steps |= {known.TARGETS[target] for target in planned.argv[1:] if target in known.TARGETS}
    return steps


def plan(settings: Settings, history: Path) -> Plan:
    """The plan of a history file. Scripts that it calls are read from its folder.

    Raises LabError when it cannot be read.
    """
    return plan_of(settings, read(history), history.resolve().parent)


def plan_of(settings: Settings, typed: Iterable[Typed], folder: Path | None = None) -> Plan:
    reader = _Reader(settings, folder)
    return Plan(tuple(planned for one in typed for planned in reader.line(one)))


@dataclass
class _Reader:
    settings: Settings
    folder: Path | None
    variables: dict[str, Word] = field(default_factory=dict)

    def line(self, typed: Typed) -> Iterator[Planned]:
        for number, planned in enumerate(self.text(typed.text, typed.line, 0)):
            if number == grammar.MOST_COMMANDS:
                yield Planned(typed.line, typed.text, REFUSED, f"it comes to more than {number} commands")
                return
            yield planned

    def text(self, text: str, line: int, depth: int) -> Iterator[Planned]:
        """What a text comes to: a line, a script's, or that of `bash -c`."""
        if _is_rubbish(text):
            yield Planned(line, text, IGNORED, "it is no text")
            return
        for one in grammar.commands(text, self.variables):
            if isinstance(one, Unread):
                yield Planned(line, one.text, REFUSED, one.reason)
                continue
            try:
                yield from self.command(one, line, depth)
            except Ignored as ignored:
                yield Planned(line, _typed(one), IGNORED, str(ignored))
            except Refused as refused:
                yield Planned(line, _typed(one), REFUSED, str(refused))

    def command(self, command: Command, line: int, depth: int) -> Iterator[Planned]:
        words, habits, background = _unwrapped(list(command.words))
        background = background or command.background
        program = _word(words[0])
        if program in ("bash", "sh", ".", "source") or program.endswith(".sh"):
            yield from self.script(program, words, line, depth)
            return
        if program in known.IGNORED:
            _pipes_into_filters(command)
            raise Ignored(known.IGNORED[program])
        if program not in known.KNOWN and known.SQL.match(program):
            raise Refused("SQL, outside of a client that would run it")
        for name in command.assigned:
            _may_be_assigned(name)
        stdin = _plumbing(command)
        meant = known.meaning(self.settings, [_word(word) for word in words], stdin)
        habits += [meant.habit] if meant.habit else []
        yield Planned(
            line,
            _typed(command),
            TRANSLATED if habits else REPLAYED,
            ", ".join(habits),
            meant.argv,
            meant.step,
            background or meant.endless,
        )

    def script(self, program: str, words: list[Word], line: int, depth: int) -> Iterator[Planned]:
        """`bash -c TEXT`, `bash FILE`, `./FILE.sh`: read like typed lines."""
        if depth == MOST_SCRIPTS:
            raise Refused(f"scripts that call scripts, more than {MOST_SCRIPTS} deep")
        arguments = [_word(word) for word in words[1:]]
        if program in ("bash", "sh") and arguments[:1] == ["-c"] and len(arguments) > 1:
            yield from self.text(arguments[1], line, depth + 1)
            return
        name = program if program.endswith(".sh") else next((one for one in arguments if not one.startswith("-")), "")
        if not name:
            raise Ignored("a shell within the shell")
        content = self.content(name)
        for one in commands(content):
            for planned in self.text(one.text, line, depth + 1):
                yield replace(planned, typed=f"{name}:{one.line}  {planned.typed}")

    def content(self, name: str) -> str:
        """A script's text. Raises Refused where it is not in the history's own folder."""
        relative = Path(name)
        if self.folder is None or relative.is_absolute() or ".." in relative.parts:
            raise Refused(f"a script outside of what was handed in: {name}")
        path = self.folder / relative
        try:
            if not path.resolve().is_relative_to(self.folder):
                raise Refused(f"a script outside of what was handed in: {name}")
            if not path.is_file():
                raise Refused(f"the script {name} is not there: it has to be handed in with the history")
            if path.stat().st_size > MOST_SCRIPT_BYTES:
                raise Refused(f"the script {name} is larger than {MOST_SCRIPT_BYTES >> 20} MiB")
            return path.read_text("utf-8", "replace")
        except (OSError, ValueError) as error:
            raise Refused(f"the script {name} cannot be read: {error}") from None


def _unwrapped(words: list[Word]) -> tuple[list[Word], list[str], bool]:
    """The words without what stands in front of the command proper, the habits that were found there, and `-d`."""
    habits: list[str] = []
    background = False
    while True:
        texts = [word.text for word in words]
        if texts[0] in ("sudo", "winpty", "time", "nohup", "command"):
            words = words[_after_options(texts, 1, valued={"-u", "-g"}) :]
            habits += [texts[0]] if texts[0] in ("sudo", "winpty") else []
        elif texts[0] == "env" and len(words) > 1:
            words = words[1:]
            while words and "=" in words[0].text:
                _may_be_assigned(words[0].text.partition("=")[0])
                words = words[1:]
        elif inner := _in_container(texts):
            background = background or any(word in ("-d", "--detach") for word in texts[:inner])
            words = words[inner:]
            habits.append("in a container")
        else:
            break
        if not words:
            raise Ignored("nothing is run by it")
    return words, habits, background


def _in_container(texts: list[str]) -> int | None:
    """Where the command begins that is run in a container, or None where none is."""
    at = 0
    if texts[:1] == ["docker-compose"]:
        at = 1
    elif texts[:2] == ["docker", "compose"]:
        at = 2
    elif texts[:1] == ["docker"]:
        at = 1
    else:
        return None
    at = _after_options(texts, at, valued={"-f", "--file", "-p", "--project-name"})
    if at >= len(texts) or texts[at] not in ("exec", "run"):
        return None
    at = _after_options(texts, at + 1, valued={"-e", "--env", "-u", "--user", "-w", "--workdir", "--name", "-v", "-p"})
    return at + 1 if at < len(texts) else None


def _after_options(texts: list[str], at: int, valued: set[str]) -> int:
    while at < len(texts) and texts[at].startswith("-"):
        at += 2 if texts[at] in valued else 1
    return at


def _word(word: Word) -> str:
    if word.problem:
        raise Refused(word.problem)
    if any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in word.text):
        raise Refused("it holds control characters")
    return word.text


def _may_be_assigned(name: str) -> None:
    if name not in known.ASSIGNABLE:
        raise Refused(f"the variable {name}: it could change what runs")


def _plumbing(command: Command) -> str | None:
    """The text that a command is given to read; its output may go to files of its own, or through filters."""
    stdin = None
    part: Command | None = command
    while part is not None:
        for redirect in part.redirects:
            if redirect.operator in ("<<", "<<<"):
                stdin = _word(redirect.target)
            else:
                _may_lead(redirect)
        part = part.into
    _pipes_into_filters(command)
    return stdin


def _pipes_into_filters(command: Command) -> None:
    part = command.into
    while part is not None:
        if _word(part.words[0]) not in FILTERS:
            raise Refused(f"its output would be piped into {_word(part.words[0])}")
        part = part.into


def _may_lead(redirect: Redirect) -> None:
    target = _word(redirect.target)
    if redirect.operator.lstrip("012") in (">&",) and target in ("1", "2"):
        return
    if redirect.operator.lstrip("012") not in (">", ">>", "&>"):
        raise Refused(f"a redirection that is not known here: {redirect.operator}")
    if target != "/dev/null" and (target.startswith(("/", "~")) or ".." in Path(target).parts):
        raise Refused(f"it would write outside of its folder: {target}")


def _is_rubbish(text: str) -> bool:
    """Whether a text was typed by nobody: a tenth of it are characters that no keyboard has."""
    odd = sum(
        1 for one in text if one == "\ufffd" or (unicodedata.category(one) in ("Cc", "Co", "Cn") and one not in "\t\n")
    )
    return odd * 10 > len(text)


def _typed(command: Command) -> str:
    return " ".join(word.text for word in command.words)


def shown(text: str, width: int = 90) -> str:
    """A typed text on one line, of this width at most, without what a terminal would obey."""
    plain = "".join(
        " " if one in "\n\t" else one if unicodedata.category(one) not in ("Cc", "Cf", "Co", "Cn", "Cs") else "\ufffd"
        for one in text[: 2 * width]
    )
    return plain if len(plain) <= width else plain[: width - 1] + "…"


def show(of: Plan, source: str) -> None:
    """Print each command's fate, and what is there for each step."""
    console.table(
        [(one.line, one.fate, shown(one.typed, 60), shown(_said(one), 80)) for one in of.commands],
        ["line", "fate", "typed", "here"],
    )
    console.say()
    console.table(
        [
            (step, what, ", ".join(str(one.line) for one in of.of_step(step)[:8]) or "missing")
            for step, what in STEPS.items()
        ],
        ["step", "what", "lines"],
    )
    counts = of.counts()
    told = ", ".join(f"{counts[fate]} {fate}" for fate in (REPLAYED, TRANSLATED, IGNORED, REFUSED))
    console.say(f"\n{source}: {told}.")


def _said(planned: Planned) -> str:
    if not planned.argv:
        return planned.why
    run = known.shown(planned.argv) + (" &" if planned.background else "")
    return f"{run}  ({planned.why})" if planned.why else run
