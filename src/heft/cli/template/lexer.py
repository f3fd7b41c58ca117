"""From a template's text to its tokens (pkg.go.dev/text/template, "Actions")."""

from __future__ import annotations

import re

from heft.cli.failures import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT, FIELD, VARIABLE, WORD, STRING, NUMBER, MARK = (
    "text field variable word string number mark".split()
)

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
      | (?P<number>[+-]?\d+(?:\.\d+)?)
      | (?P<field>\.[^\W\d]\w*)
      | (?P<variable>\$\w*)
      | (?P<word>[^\W\d]\w*)
      | (?P<mark>:=|[.|(),=])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_SPACE = " \t\r\n"


class Token:
    """A piece of a template: plain text between actions, or a part of an action.

    `spaced` says whether space stands before it, which tells `.A.B` from `.A .B`.
    """

    __slots__ = ("kind", "spaced", "value")

    def __init__(self, kind: str, value: str, *, spaced: bool = False) -> None:
        self.kind = kind
        self.value = value
        self.spaced = spaced


Action = list[Token]


def bad(message: str) -> Failure:
    """Make the error for a template that cannot be read, in Docker's words."""
    return Failure(f"failed to parse template: template: :1: {message}")


def pieces(template: str) -> Iterator[Token | Action]:
    """Give texts, and actions as lists of tokens. Raises `Failure`."""
    rest, trims = template, False
    while rest:
        text, opening, rest = rest.partition("{{")
        if trims:
            text = text.lstrip(_SPACE)
        if not opening:
            yield Token(TEXT, text)
            return
        if rest.startswith("- "):
            text, rest = text.rstrip(_SPACE), rest[2:]
        if text:
            yield Token(TEXT, text)
        inside, rest, trims = _action(rest)
        if inside is not None:
            yield inside


def _action(rest: str) -> tuple[Action | None, str, bool]:
    """Read up to the end of an action; give it (None: a comment), what follows, and if it trims."""
    if rest.lstrip().startswith("/*"):
        comment, end, rest = rest.partition("*/")
        closing, braces, rest = rest.partition("}}")
        if not end or not braces:
            raise bad(f"unclosed comment: {comment[:20]}")
        return None, rest, closing.endswith("-")
    tokens: Action = []
    while True:
        if rest.lstrip().startswith("}}"):
            return tokens, rest.partition("}}")[2], False
        if rest[:1].isspace() and rest.lstrip().startswith("-}}"):
            return tokens, rest.partition("}}")[2], True
        match = _TOKEN.match(rest)
        if match is None or match.lastgroup is None:
            raise bad("unclosed action" if "}}" not in rest else f"unexpected {rest[:10]!r}")
        kind = match.lastgroup
        value = match[kind]
        spaced = match.start(kind) > 0
        tokens.append(Token(kind, _unquoted(value) if kind == STRING else value, spaced=spaced))
        rest = rest[match.end() :]


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    return _ESCAPE.sub(_unescaped, text[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)
