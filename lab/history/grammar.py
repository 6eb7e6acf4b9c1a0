"""Grammar: what a line of a history says, by bash's own grammar (tree-sitter-bash). Nothing is run or expanded here.

A word keeps its problem with it: what cannot be known without a shell (a substitution, a pattern) is only a problem
of those commands whose words matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import tree_sitter
import tree_sitter_bash

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))

MOST_ROUNDS = 100
"""Of a loop whose rounds are known before it runs."""
ENDLESS_ROUNDS = 3
"""Of a loop that would go on until somebody ends it."""
MOST_COMMANDS = 10_000
"""That one line may come to, with all its loops."""
MOST_CHARACTERS = 20_000
"""Of a word, with the variables in it."""
MOST_DEPTH = 20
"""Of loops within loops, brackets within brackets, and pipes after pipes."""

PATIENCE = 10**10
"""How much may be parsed that is no command: the sum of the squares of the lengths in bytes. A minute's work."""
SHORT = 500
"""Texts of so many bytes are read whatever came before."""

_KEYWORD = re.compile(r"\s*(?:(?:for|while|until|if|case|select|function)\s|[\w-]+\s*\(\)|\{\s|\()")
_ENDS_OPEN = re.compile(r"(?:\||&&|\\)\s*\Z")


@dataclass(frozen=True)
class Word:
    """A word of a command as bash would hand it over; where that is not known, `problem` says why."""

    text: str
    problem: str = ""


@dataclass(frozen=True)
class Redirect:
    """`operator` with its descriptor (`2>`), and where it leads; `<<` and `<<<` lead to the text itself."""

    operator: str
    target: Word


@dataclass(frozen=True)
class Command:
    """A simple command; `into` is what its output is piped into."""

    words: tuple[Word, ...]
    assigned: Mapping[str, Word] = field(default_factory=dict)
    redirects: tuple[Redirect, ...] = ()
    background: bool = False
    into: Command | None = None


@dataclass(frozen=True)
class Unread:
    """A part of a line that is no command which could be run here, and why."""

    text: str
    reason: str


class Grammar:
    """Bash's grammar, with patience for so much that follows none.

    What is no shell command at all can cost the parser time by the square of its length. When that would be more than
    what is left of `PATIENCE`, only short texts are read on.
    """

    def __init__(self) -> None:
        self._left = PATIENCE

    def is_open(self, text: str) -> bool:
        """Whether a command goes on in the next line: it is not whole, and looks as if it had been meant so."""
        if _ENDS_OPEN.search(text):
            return not text.endswith("\n")  # an empty line follows: nothing does
        if "<<" not in text and has_open_quote(text):
            return True
        return bool("<<" in text or _KEYWORD.match(text)) and self._parsed(text) is None

    def commands(self, text: str, variables: dict[str, Word]) -> Iterator[Command | Unread]:
        """The simple commands that a line comes to, in their order, and what of it is none.

        Loops are written out, for so many rounds at most. `variables` are those that lines before have set; they are
        changed as the line says.
        """
        root = self._parsed(text)
        if root is None:
            yield Unread(text, "a quote is not closed" if has_open_quote(text) else "it is no whole shell command")
            return
        try:
            yield from _Walk(variables).children(root, 0)
        except _TooMuch as error:
            yield Unread(text, str(error))

    def _parsed(self, text: str) -> tree_sitter.Node | None:
        """The tree of a text, or None where it does not follow the grammar."""
        source = text.encode("utf-8", "replace")
        if len(source) > SHORT and len(source) ** 2 > self._left:
            return None
        root = _PARSER.parse(source).root_node
        if root.has_error:
            self._left -= len(source) ** 2
            return None
        return root


def has_open_quote(text: str) -> bool:
    """Whether a quote that begins a word is not closed; the one of `don't` begins none."""
    opened, begun, escaped = "", 0, False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and opened != "'":
            escaped = True
        elif opened:
            opened = "" if character == opened else opened
        elif character in "'\"":
            opened, begun = character, index
    return bool(opened) and (begun == 0 or text[begun - 1] in " \t\n=($'\"")


class _TooMuch(Exception):
    """A line that says more than is read of one."""


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


Found = Command | Unread


@dataclass
class _Walk:
    """Goes through a line's tree, statement by statement, and knows the variables at each."""

    variables: dict[str, Word]
    done: int = 0

    # --- statements ---

    def count(self) -> None:
        """One more command, or one more round of a loop."""
        self.done += 1
        if self.done > MOST_COMMANDS:
            raise _TooMuch(f"it comes to more than {MOST_COMMANDS} commands")

    def children(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """The statements in a node, each in the background where `&` follows it."""
        if depth > MOST_DEPTH:
            raise _TooMuch("it is nested too deep")
        for child in node.named_children:
            follows = child.next_sibling
            for one in self.statement(child, depth):
                if follows is not None and follows.type == "&" and isinstance(one, Command):
                    one = replace(one, background=True)
                yield one

    def statement(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        match node.type:
            case "comment":
                return
            case "command":
                yield self.command(node)
            case "redirected_statement":
                yield from self.redirected(node, depth)
            case "pipeline":
                yield from self.pipeline(node, depth)
            case "variable_assignment" | "variable_assignments" | "declaration_command":
                yield from self.assignments(node)
            case "list":
                yield from self.chain(node, depth)
            case "subshell" | "compound_statement" | "do_group" | "negated_command":
                yield from self.children(node, depth + 1)
            case "for_statement":
                yield from self.loop(node, depth)
            case "while_statement":
                yield from self.endless(node, depth)
            case kind:
                yield Unread(_text(node), f"{_name(kind)}: only a shell can know what it does")

    def chain(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """`a && b || c`: the tree leans to the left, as deep as the chain is long."""
        later: list[tree_sitter.Node] = []
        while node.type == "list":
            later.append(node)
            node = node.named_children[0]
        yield from self.statement(node, depth)
        for part in reversed(later):
            last = part.named_children[-1]
            if "||" in (child.type for child in part.children):
                yield Unread(_text(last), "it runs only when what is before it fails")
            else:
                yield from self.statement(last, depth)

    def loop(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """`for x in a b c; do …; done`, written out."""
        name = _text(node.child_by_field_name("variable") or node)
        values = [value for child in node.children_by_field_name("value") for value in self.rounds(child)]
        body = node.child_by_field_name("body")
        if body is None or not values or len(values) > MOST_ROUNDS or any(value.problem for value in values):
            yield Unread(_text(node), "the rounds of this loop are not known, or too many")
            return
        for value in values:
            self.count()
            self.variables[name] = value
            yield from self.statement(body, depth + 1)

    def rounds(self, node: tree_sitter.Node) -> list[Word]:
        """What a loop goes through: words, and numbers that are written as `{1..5}` or `$(seq 1 5)`."""
        numbers = re.fullmatch(r"\{(\d{1,6})\.\.(\d{1,6})\}|[$`]\(?seq (?:(\d{1,6}) )?(\d{1,6})[)`]", _text(node))
        if numbers is None:
            return self.words(node)
        first, last = int(numbers[1] or numbers[3] or 1), int(numbers[2] or numbers[4])
        return [Word(str(number)) for number in range(first, min(last, first + MOST_ROUNDS) + 1)]

    def endless(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """`while true; do …; done`, for a few rounds."""
        condition, body = node.child_by_field_name("condition"), node.child_by_field_name("body")
        always = condition is not None and _text(condition).strip(" ;") in ("true", ":", "[ 1 ]", "[ true ]")
        if body is None or not always or not _text(node).startswith("while"):
            yield Unread(_text(node), "only a shell can know how long this loop goes on")
            return
        for _ in range(ENDLESS_ROUNDS):
            self.count()
            yield from self.statement(body, depth + 1)

    def assignments(self, node: tree_sitter.Node) -> Iterator[Unread]:
        if node.type == "declaration_command" and _text(node.children[0]) not in ("export", "declare", "typeset"):
            yield Unread(_text(node), "it belongs into a function")
            return
        for one in [node] if node.type == "variable_assignment" else node.named_children:
            if one.type == "variable_assignment":
                name, value = self.assignment(one)
                self.variables[name] = value

    def assignment(self, node: tree_sitter.Node) -> tuple[str, Word]:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        if any(child.type == "+=" for child in node.children):
            return _text(name or node), Word("", "what is added to a variable is not followed here")
        return _text(name or node), self.word(value) if value is not None else Word("")

    # --- commands ---

    def pipeline(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """Each command of the first part is piped into the rest, which are simple commands."""
        first, *rest = node.named_children
        if len(rest) > MOST_DEPTH:
            yield Unread(_text(node), f"a pipe of more than {MOST_DEPTH} commands")
            return
        into: Command | None = None
        for part in reversed(rest):
            found = list(self.statement(part, depth + 1))
            if len(found) != 1 or not isinstance(found[0], Command):
                yield Unread(_text(node), "a part of the pipe is no simple command")
                return
            into = replace(found[0], into=into)
        for one in self.statement(first, depth + 1):
            yield replace(one, into=into) if isinstance(one, Command) else one

    def redirected(self, node: tree_sitter.Node, depth: int) -> Iterator[Found]:
        """A redirect belongs to the last command of a chain or a pipe, and to each of a loop or of brackets."""
        body = node.child_by_field_name("body")
        if body is None:
            yield Unread(_text(node), "it writes a file and runs nothing")
            return
        redirects: list[Redirect] = []
        words: list[Word] = []
        for redirect in node.children_by_field_name("redirect"):
            redirects += self.redirects(redirect)
            words += self.words_after(redirect)
            if any(child.type in ("pipeline", "list", "command", "&&", "||", "|") for child in redirect.children):
                yield Unread(_text(node), "a command follows on the line of a here-document")
                return
        found = list(self.statement(body, depth + 1))
        each = body.type not in ("command", "list", "pipeline")
        for number, one in enumerate(found):
            if isinstance(one, Command) and (each or number == len(found) - 1):
                yield _with(one, redirects, words)
            else:
                yield one

    def command(self, node: tree_sitter.Node) -> Found:
        self.count()
        words: list[Word] = []
        assigned: dict[str, Word] = {}
        redirects: list[Redirect] = []
        for child in node.named_children:
            if child.type == "command_name":
                words += self.words(child.named_children[0]) if child.named_children else [Word(_text(child))]
            elif child.type == "variable_assignment":
                name, value = self.assignment(child)
                assigned[name] = value
            elif child.type.endswith("_redirect"):
                redirects += self.redirects(child)
                words += self.words_after(child)
            else:
                words += self.words(child)
        if not words:
            return Unread(_text(node), "it names no command")
        return Command(tuple(words), assigned, tuple(redirects))

    def redirects(self, node: tree_sitter.Node) -> Iterator[Redirect]:
        if node.type == "heredoc_redirect":
            start = next(child for child in node.named_children if child.type == "heredoc_start")
            body = next((child for child in node.named_children if child.type == "heredoc_body"), None)
            quoted = _text(start)[:1] in ("'", '"', "\\")
            expands = body is not None and any(child.type != "heredoc_content" for child in body.named_children)
            problem = "the text of the here-document is only known to a shell" if expands and not quoted else ""
            yield Redirect("<<", Word(_text(body) if body is not None else "", problem))
            for child in node.named_children:
                if child.type in ("file_redirect", "herestring_redirect"):
                    yield from self.redirects(child)
        elif node.type == "herestring_redirect":
            yield Redirect("<<<", self.word(node.named_children[-1]))
        else:
            targets = node.children_by_field_name("destination")
            descriptor = node.child_by_field_name("descriptor")
            operator = next(child.type for child in node.children if not child.is_named)
            yield Redirect(
                (_text(descriptor) if descriptor is not None else "") + operator,
                self.word(targets[0]) if targets else Word("", "it leads nowhere"),
            )

    def words_after(self, node: tree_sitter.Node) -> list[Word]:
        """The words that stand behind a redirect: `make > log step-1` is `make step-1`."""
        later = node.children_by_field_name("destination")[1:] + node.children_by_field_name("argument")
        return [word for one in later for word in self.words(one)]

    # --- words ---

    def words(self, node: tree_sitter.Node) -> list[Word]:
        """A word of a command; a variable without quotes may come to several, or to none."""
        word = self.word(node)
        if node.type in ("simple_expansion", "expansion") and not word.problem:
            return [Word(one) for one in word.text.split()]
        return [word]

    def word(self, node: tree_sitter.Node) -> Word:
        found = self._word(node)
        if len(found.text) > MOST_CHARACTERS:
            return Word(found.text[:20], f"it has more than {MOST_CHARACTERS:,} characters")
        return found

    def _word(self, node: tree_sitter.Node) -> Word:
        text = _text(node)
        match node.type:
            case "word" | "number" | "test_operator" | "variable_name" | "string_content":
                return _plain(text)
            case "raw_string":
                return Word(text[1:-1])
            case "ansi_c_string":
                return _ansi_c(text)
            case "string":
                return self.quoted(node)
            case "concatenation":
                parts = [self.word(child) for child in node.children]
                return Word("".join(part.text for part in parts), next((p.problem for p in parts if p.problem), ""))
            case "simple_expansion" | "expansion":
                name = text[1:].strip("{}")
                return self.variables.get(name, Word(text, f"the value of {text} is not known"))
            case kind:
                if not node.is_named:
                    return Word(text)
                return Word(text, f"{_name(kind)}: only a shell can know its value")

    def quoted(self, node: tree_sitter.Node) -> Word:
        """A string in double quotes: what stands between its expansions is taken as it is."""
        source, base = node.text or b"", node.start_byte
        parts: list[str] = []
        problem = ""
        at = 1
        for child in node.named_children:
            if child.type == "string_content":
                continue
            parts.append(_unescaped(source[at : child.start_byte - base]))
            value = self.word(child)
            parts.append(value.text)
            problem = problem or value.problem
            at = child.end_byte - base
        parts.append(_unescaped(source[at : len(source) - 1]))
        return Word("".join(parts), problem)


_NAMES = {
    "command_substitution": "a command within a command",
    "process_substitution": "a process in place of a file",
    "arithmetic_expansion": "arithmetic",
    "brace_expression": "braces",
    "if_statement": "a condition",
    "case_statement": "a choice",
    "test_command": "a test",
    "function_definition": "a function",
    "c_style_for_statement": "a loop that counts",
    "unset_command": "unset",
}


def _name(kind: str) -> str:
    return _NAMES.get(kind, kind.replace("_", " "))


def _with(command: Command, redirects: list[Redirect], words: list[Word]) -> Command:
    """The command with redirects, and words behind them; in a pipe they belong to its last one."""
    if command.into is not None:
        return replace(command, into=_with(command.into, redirects, words))
    return replace(command, words=(*command.words, *words), redirects=(*command.redirects, *redirects))


def _plain(text: str) -> Word:
    """A word without quotes."""
    bare = re.sub(r"\\.", "", text, flags=re.DOTALL)
    problem = ""
    if re.search(r"[*?\[]", bare):
        problem = "a pattern: which files it names is only known to a shell"
    elif re.search(r"\{[^}]*(?:,|\.\.)[^}]*\}", bare):
        problem = "braces: only a shell can know their value"
    elif bare.startswith("~"):
        problem = "a home folder"
    return Word(re.sub(r"\\(\n|.)", lambda found: found[1].strip("\n"), text, flags=re.DOTALL), problem)


def _unescaped(text: bytes) -> str:
    return re.sub(r'\\([$`"\\])|\\\n', lambda found: found[1] or "", text.decode("utf-8", "replace"))


_ANSI = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
}


def _ansi_c(text: str) -> Word:
    """`$'…'`, as bash reads it; what is seldom (octal, unicode) stays a problem."""
    problem = ""

    def one(found: re.Match[str]) -> str:
        nonlocal problem
        if found[1]:
            return chr(int(found[1], 16))
        if found[2] in _ANSI:
            return _ANSI[found[2]]
        problem = "an escape that is not read here"
        return found[0]

    return Word(re.sub(r"\\(?:x([0-9a-fA-F]{1,2})|(.))", one, text[2:-1], flags=re.DOTALL), problem)
