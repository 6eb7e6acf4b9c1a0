"""The plan: what becomes of each line of a history, said before anything runs.

A line is replayed as it is, translated from a habit of the course to what does the same here, ignored because it
changes nothing that is looked at, or refused; each with the reason. Nothing is run here, and no file is read but the
scripts that stand beside the history.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab import console
from lab.history import known
from lab.history.grammar import MOST_COMMANDS, Command, Grammar, Redirect, Unread, Word
from lab.history.known import Ignored, Refused
from lab.history.read import Typed, commands, read
from lab.history.unwrap import unwrap
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

FILTERS = frozenset(
    (
        *("head", "tail", "less", "more", "grep", "wc", "jq", "sort", "uniq", "cat", "tee", "cut", "awk", "sed"),
        "column",
    )
)
"""What a command's output may be piped into: it changes nothing but what was seen."""
MOST_PLANNED = 200_000
"""That a whole history may come to, with its loops."""
WHOLE = 2_000
"""The width of a text that is shown where no terminal cuts it off."""
MOST_SCRIPT_BYTES = 2**20
MOST_CALLS = 1000
"""Of scripts, in a whole history."""
FOREIGN = re.compile(
    r"\s*(?:(?:hive|presto(?::\w+)?|spark-sql|scala|mysql|sqlite|cqlsh)\s?> ?|>>> |\.\.\. |In \[\d*\]: )"
)
"""The prompts of other programs, pasted."""
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
    last_at: int | None = None
    """The latest time that the history names, as a Unix time."""

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
    planned: list[Planned] = []
    last_at: int | None = None
    for one in typed:
        last_at = max(last_at or 0, one.at) if one.at is not None else last_at
        if len(planned) < MOST_PLANNED:
            planned.extend(reader.line(one))
        else:
            planned.append(
                Planned(one.line, one.text, REFUSED, f"here and after it: {MOST_PLANNED:,} commands are enough")
            )
            break
    return Plan(tuple(_begun_anew(planned)), last_at)


def _begun_anew(planned: list[Planned]) -> list[Planned]:
    """The same without what stands before a line that empties everything, where all its steps are taken again."""
    for at in range(len(planned) - 1, 0, -1):
        if planned[at].why != known.EMPTIES:
            continue
        before, after = ({step for one in part for step in steps_of(one)} for part in (planned[:at], planned[at:]))
        if before <= after:
            why = f"line {planned[at].line} empties everything, and what is done is done again after it"
            return [
                replace(one, fate=IGNORED, why=why, argv=(), step=None) if steps_of(one) else one
                for one in planned[:at]
            ] + planned[at:]
    return planned


@dataclass
class _Reader:
    settings: Settings
    folder: Path | None
    variables: dict[str, Word] = field(default_factory=dict)
    grammar: Grammar = field(default_factory=Grammar)
    aliases: dict[str, list[Word]] = field(default_factory=dict)
    scripts: dict[str, list[Typed]] = field(default_factory=dict)
    calls: int = 0
    requests: int = 0

    def line(self, typed: Typed) -> Iterator[Planned]:
        for number, planned in enumerate(self.text(typed.text, typed.line, 0)):
            if number == MOST_COMMANDS:
                yield Planned(typed.line, typed.text, REFUSED, f"it comes to more than {number} commands")
                return
            yield planned

    def text(self, text: str, line: int, depth: int) -> Iterator[Planned]:
        """What a text comes to: a line, a script's, or that of `bash -c`."""
        if _is_rubbish(text):
            yield Planned(line, text, IGNORED, "it is no text")
            return
        if FOREIGN.match(text):
            yield Planned(line, text, IGNORED, "it was typed in another program")
            return
        runs = False
        for one in self.grammar.commands(text, self.variables):
            runs = True
            if isinstance(one, Unread):
                yield Planned(line, one.text, REFUSED, one.reason)
                continue
            try:
                yield from self.command(one, line, depth)
            except Ignored as ignored:
                yield Planned(line, _typed(one), IGNORED, str(ignored))
            except Refused as refused:
                yield Planned(line, _typed(one), REFUSED, str(refused))
        if not runs:
            yield Planned(line, text, IGNORED, "a comment, or a variable: nothing is run by it")

    def command(self, command: Command, line: int, depth: int) -> Iterator[Planned]:
        found = unwrap(self.without_alias(command.words))
        if not found.words:
            raise Ignored("nothing is run by it")
        words, typed = found.words, _word(found.words[0])
        program = typed.rsplit("/", 1)[-1]  # what runs is the lab's own, wherever the one that was typed lies
        if program == "alias":
            self.remember_aliases(words[1:])
            raise Ignored("another name for a command")
        shell = program in ("bash", "sh", ".", "source")
        if shell or (program.endswith(".sh") and program not in known.KNOWN):
            yield from self.script(program if shell else typed, words, line, depth)
            return
        if program in known.IGNORED:
            _pipes_into_filters(command)
            raise Ignored(known.IGNORED[program])
        if program not in known.KNOWN and known.SQL.match(program):
            raise Refused("SQL, outside of a client that would run it")
        for name in (*command.assigned, *found.variables):
            if name not in known.ASSIGNABLE:
                raise Refused(f"the variable {name}: it could change what runs")
        stdin = _plumbing(command)
        containers = program in ("docker", "docker-compose")  # of which no word is run here
        arguments = [word.text if containers else _word(word) for word in words[1:]]
        for meant in known.meanings(self.settings, [program, *arguments], stdin):
            self.requests += meant.requests
            if self.requests > known.MOST_REQUESTS:
                raise Refused(f"more than {known.MOST_REQUESTS:,} requests in all")
            why = [*found.habits, meant.habit] if meant.habit else found.habits
            yield Planned(
                line,
                _typed(command),
                TRANSLATED if why else REPLAYED,
                ", ".join(why),
                meant.argv,
                meant.step,
                command.background or found.detached or meant.endless,
            )

    def remember_aliases(self, words: list[Word]) -> None:
        for word in words:
            name, _, value = word.text.partition("=")
            if value and not word.problem:
                self.aliases[name] = [Word(one) for one in value.split()]

    def without_alias(self, words: Sequence[Word]) -> list[Word]:
        return [*self.aliases.get(words[0].text, words[:1]), *words[1:]]

    def script(self, program: str, words: list[Word], line: int, depth: int) -> Iterator[Planned]:
        """`bash -c TEXT`, `bash FILE`, `./FILE.sh`: read like typed lines."""
        if depth == MOST_SCRIPTS:
            raise Refused(f"scripts that call scripts, more than {MOST_SCRIPTS} deep")
        options = [word.text for word in words[1:] if word.text.startswith("-")]
        others = [word for word in words[1:] if not word.text.startswith("-")]
        if program in ("bash", "sh") and others and any(re.fullmatch(r"-[a-z]*c", one) for one in options):
            yield from self.text(_word(others[0]), line, depth + 1)
            return
        if program in (".", "source") and others and not others[0].text.endswith(".sh"):
            raise Ignored("it sets up a shell")
        name = program if program.endswith(".sh") else _word(others[0]) if others else ""
        if not name:
            raise Ignored("a shell within the shell")
        self.calls += 1
        if self.calls > MOST_CALLS:
            raise Refused(f"more than {MOST_CALLS} calls of scripts")
        if name not in self.scripts:
            lines = commands(self.content(name), self.grammar)
            self.scripts[name] = [one for one in lines if not one.text.startswith("#")]
        if not self.scripts[name]:
            raise Ignored(f"the script {name} is empty")
        for one in self.scripts[name]:
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
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
            raise Refused(f"the script {name} cannot be read: {error}") from None


def _word(word: Word) -> str:
    if word.problem:
        raise Refused(word.problem)
    if any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in word.text):
        raise Refused("it holds control characters")
    return word.text


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
    if redirect.operator == "<" and target == "/dev/null":
        return
    if redirect.operator.lstrip("012") not in (">", ">>", "&>", "&>>"):
        raise Refused(f"a redirection that is not known here: {redirect.operator}")
    allowed = target.startswith(("/dev/null", "/tmp/", "/w205/")) or not target.startswith(("/", "~"))
    if not allowed or ".." in Path(target).parts:
        raise Refused(f"it would write outside of its folder: {target}")


def _is_rubbish(text: str) -> bool:
    """Whether a text was typed by nobody: a tenth of it are characters that no keyboard has."""
    odd = sum(
        1 for one in text if one == "\ufffd" or (unicodedata.category(one) in ("Cc", "Co", "Cn") and one not in "\t\n")
    )
    return odd * 10 > len(text)


def _typed(command: Command) -> str:
    return shlex.join(word.text for word in command.words)


def shown(text: str, width: int = 90) -> str:
    """A typed text on one line, of this width at most, without what a terminal would obey."""
    plain = "".join(
        " " if one in "\n\t" else one if unicodedata.category(one) not in ("Cc", "Cf", "Co", "Cn", "Cs") else "\ufffd"
        for one in text[: 2 * width]
    )
    return plain if len(plain) <= width else plain[: width - 1] + "…"


def show(of: Plan, source: str) -> None:
    """Print each command's fate, and what is there for each step."""
    typed, said = (60, 80) if console.out.is_terminal else (WHOLE, WHOLE)
    console.table(
        [(one.line, one.fate, shown(one.typed, typed), shown(_said(one), said)) for one in of.commands],
        ["line", "fate", "typed", "here"],
    )
    console.say()
    console.table(
        [(step, what, _lines(of.of_step(step)) or "missing") for step, what in STEPS.items()],
        ["step", "what", "lines"],
    )
    counts = of.counts()
    told = ", ".join(f"{counts[fate]} {fate}" for fate in (REPLAYED, TRANSLATED, IGNORED, REFUSED))
    console.say(f"\n{source}: {told}.")


def _lines(planned: Sequence[Planned]) -> str:
    """The first few lines at which these stand."""
    return ", ".join(str(one.line) for one in planned[:8]) + (" …" if len(planned) > 8 else "")


def _said(planned: Planned) -> str:
    if not planned.argv:
        return planned.why
    run = shlex.join(planned.argv) + (" &" if planned.background else "")
    return f"{run}  ({planned.why})" if planned.why else run
